"""`FitStep`: activation, drawing, loss, gradients, update: nothing is allocated and nothing asked of the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from splatbench.losses import Objective
from splatbench.optim import Adam, Adan

from .parameters import FUNCTIONS, Parametrisation

_BLOCK = 128


class FitStep:
    """One step of fitting N Gaussians to a picture on a GPU.

    Calling it launches, in this order: activation of the raw parameters; three kernels that draw; the loss and its
    gradient; two kernels of gradients by means, covariances and colours; gradients by the raw parameters; the
    optimiser's update. Gaussians that are not drawn keep their shape: their gradients are 0, whatever the parameters.
    Nothing waits for the device, so a `splatbench.graph.CapturedStep` can record it:

        fit = FitStep(parameters, parametrisation, target, objective, optimiser)
        step = CapturedStep(fit)
        for _ in range(iterations):
            step()
            scheduler.step()
            fit.refresh()

    Args:
        parameters: raw tensors, float32, contiguous, on one CUDA device; updated in place: [N, 2] for the means; [N, 3]
            for kind "cholesky", or [N, 2] and [N] or [N, 1] for "scales"; [N, C] colours, drawn as they are.
        parametrisation: what they mean.
        target: [H, W, C] uint8 or float32 in [0, 1], on the same device.
        objective: the loss.
        optimiser: of exactly these parameters; torch's schedulers may work on it.
        blend: "sum" or "topk"; `drawing` holds further arguments of `splatbench.render.gpu.Workspace` (compat, k, ...).

    Raises:
        ValueError: tensors, devices or settings that do not fit together.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        parametrisation: Parametrisation,
        target: Tensor,
        objective: Objective,
        optimiser: Adam | Adan,
        blend: str = "sum",
        **drawing: Any,
    ) -> None:
        # here, because Triton comes with PyTorch's CUDA builds alone
        from splatbench.losses.gpu import LossWorkspace
        from splatbench.optim_gpu import DeviceOptimiser
        from splatbench.render.gpu import Workspace

        self.parametrisation, self.target, self.objective = parametrisation, target.contiguous(), objective
        if target.ndim != 3:
            raise ValueError(f"FitStep: expected a target [H, W, C], got {list(target.shape)}")
        self._set_parameters(parameters)
        device, n, channels = self.target.device, len(self._xy), self._colors.shape[1]
        self._table = torch.tensor(
            [[a.shift, a.gain, a.offset] for a in parametrisation.activations], dtype=torch.float64, device=device
        )
        height, width = target.shape[:2]
        self._drawing = Workspace(n, (height, width), channels, device=device, blend=blend, **drawing)
        self._loss = LossWorkspace(tuple(target.shape), objective, device)
        self._optimiser = DeviceOptimiser(optimiser)
        if {id(p) for p in parameters} != {id(p) for p in self._optimiser.parameters}:
            raise ValueError("FitStep: the optimiser must hold exactly the parameters that are fitted")
        self.image, self._d_image = (torch.empty(target.shape, device=device) for _ in range(2))
        self.means, self._d_means = (torch.empty((n, 2), device=device) for _ in range(2))
        self.covariance, self._d_covariance = (
            torch.empty((n, 3), dtype=torch.float64, device=device) for _ in range(2)
        )
        for p in parameters:
            p.grad = torch.zeros_like(p)
        self.loss = torch.zeros((), device=device)

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """One step. Returns the loss before it, on the device; the same tensor every time."""
        for part in self.parts().values():
            part()
        return self.loss

    def parts(self) -> dict[str, Callable[[], None]]:
        """What a step does, in this order; by name, so that parts can be measured."""
        return {
            "activation": self._activate,
            "drawing": self._draw,
            "loss": self._compare,
            "gradients of drawing": self._differentiate,
            "gradients of activation": self._pull_back,
            "update": self._optimiser.step,
        }

    @torch.no_grad()
    def draw(self) -> Tensor:
        """The picture of the parameters as they are, [H, W, C] float32, not clamped; the same tensor every time."""
        self._activate()
        self._draw()
        return self.image

    def refresh(self) -> None:
        """Carries learning rates that changed to the device. Not to be recorded in a graph."""
        self._optimiser.refresh()

    def _activate(self) -> None:
        self._launch("activate", self.means, self.covariance)

    def _draw(self) -> None:
        self._drawing.forward(self.means, self.covariance, self._colors.detach(), self.image)

    def _compare(self) -> None:
        from splatbench.losses.gpu import loss_and_gradient

        loss_and_gradient(self.image, self.target, self._d_image, self.loss, self._loss)

    def _differentiate(self) -> None:
        assert self._colors.grad is not None
        self._drawing.backward(self._d_image, self._d_means, self._d_covariance, self._colors.grad)

    def _pull_back(self) -> None:
        double = 2.0 if self.parametrisation.double_offdiagonal_gradient else 1.0
        grads = [p.grad for p in (self._xy, self._first, self._third)]
        self._launch("pull_back", self._d_means, self._d_covariance, *grads, double)

    def _launch(self, kernel: str, *arguments: Any) -> None:
        """`arguments` follow the raw parameters and the table."""
        from . import kernels

        n = len(self._xy)
        getattr(kernels, kernel)[(max(1, -(-n // _BLOCK)),)](
            self._xy, self._first, self._third, self._table, *arguments, n,
            SCALES=self.parametrisation.kind == "scales",
            FUNCTIONS=tuple(FUNCTIONS.index(a.function) for a in self.parametrisation.activations),
            BLOCK=_BLOCK, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip

    def _set_parameters(self, parameters: Sequence[Tensor]) -> None:
        scales = self.parametrisation.kind == "scales"
        if len(parameters) != (4 if scales else 3):
            wanted = "means, scales, angles, colours" if scales else "means, Cholesky factors, colours"
            raise ValueError(f"FitStep: expected parameters {wanted}; got {len(parameters)} tensors")
        self._xy, self._first, *angles, self._colors = parameters
        self._third = angles[0] if scales else self._first
        n, channels = len(self._xy), self.target.shape[-1]
        shapes: list[tuple[str, Tensor, list[tuple[int, ...]]]] = [
            ("means", self._xy, [(n, 2)]),
            ("scales" if scales else "Cholesky factors", self._first, [(n, 2 if scales else 3)]),
            ("colours", self._colors, [(n, channels)]),
        ]
        if scales:
            shapes.append(("angles", self._third, [(n,), (n, 1)]))
        for name, value, allowed in shapes:
            if tuple(value.shape) not in allowed or value.dtype != torch.float32 or not value.is_contiguous():
                raise ValueError(
                    f"FitStep: {name} must be float32 {list(allowed[0])}, contiguous; "
                    f"got {value.dtype} {list(value.shape)}"
                )
            if value.device != self.target.device:
                raise ValueError(f"FitStep: {name} are on {value.device}, the target on {self.target.device}")

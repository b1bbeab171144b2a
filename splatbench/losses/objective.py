"""`Objective`: w1 L1 + w2 L2 + w3 (1 - SSIM) of a picture and an image; the gradient is made with the value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from splatbench.render.ops import triton_kernels

from .cpu import CpuLoss
from .plain import plain_loss


@dataclass(frozen=True)
class Objective:
    """l1 L1 + l2 L2 + ssim (1 - SSIM), between a rendered picture and an image.

    L1 and L2 are the mean absolute and the mean squared error over pixels and channels. SSIM (Wang et al. 2004,
    equation 13) has a Gaussian window of 11 x 11 pixels with sigma 1.5, C1 = 0.01^2, C2 = 0.03^2 for values in [0, 1],
    and is averaged over its map and the channels.

    Args:
        l1, l2, ssim: the weights, finite and not negative, at least one above 0.
        window: where the window may lie. "same": around every pixel, with zeros beyond the picture (as fused-ssim has
            it). "valid": inside the picture (as pytorch-msssim has it), which then needs at least 11 x 11 pixels.
        clamp: limits the picture to [0, 1] first; the gradient passes at exactly 0 and 1 and is 0 outside.

    Raises:
        ValueError: a setting out of range.
    """

    l1: float = 0.0
    l2: float = 0.0
    ssim: float = 0.0
    window: Literal["same", "valid"] = "same"
    clamp: bool = False

    def __post_init__(self) -> None:
        weights = {"l1": self.l1, "l2": self.l2, "ssim": self.ssim}
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"Objective: the weight {name} must be finite and not negative, got {weight}")
        if not any(weights.values()):
            raise ValueError("Objective: all weights are 0 and nothing is left to minimise; give l1, l2 or ssim")
        if self.window not in ("same", "valid"):
            raise ValueError(f'Objective: window must be "same" or "valid", got {self.window!r}')

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """The loss.

        Args:
            image: [H, W, C] float32, the rendered picture.
            target: the same shape, on the same device; uint8 (divided by 255) or float32 in [0, 1].

        Returns:
            A scalar, float32, differentiable (once) with respect to `image`. Not finite where the picture is not.

        Raises:
            ValueError: shapes, types or devices that do not fit together, or a picture smaller than the window.
        """
        return self.against(target)(image)

    def against(self, target: Tensor | np.ndarray) -> TargetLoss:
        """The objective against one image, for many pictures.

        Args:
            target: [H, W, C], uint8 or float32 in [0, 1]; may be an `np.memmap`. It is kept as it is.

        Raises:
            ValueError: a target of another type or shape, or smaller than the window.
        """
        return TargetLoss(self, target)


class TargetLoss:
    """An `Objective` against one image. Made by `Objective.against`."""

    def __init__(self, objective: Objective, target: Tensor | np.ndarray) -> None:
        self.objective, self.target = objective, target
        self._check_target()
        self._cpu: CpuLoss | None = None
        if isinstance(target, np.ndarray):
            self._cpu = CpuLoss(objective, np.asarray(target))
        elif target.device.type == "cpu":
            self._cpu = CpuLoss(objective, target.detach().numpy())

    def __call__(self, image: Tensor) -> Tensor:
        """The loss of a picture: see `Objective.__call__`."""
        target = self.target
        if image.shape != target.shape or image.dtype != torch.float32:
            raise ValueError(
                f"loss: expected a float32 image of the target's shape {list(target.shape)}, "
                f"got {image.dtype} {list(image.shape)}"
            )
        place = torch.device("cpu") if isinstance(target, np.ndarray) else target.device
        if image.device != place:
            raise ValueError(f"loss: the image is on {image.device}, the target on {place}")
        if isinstance(target, np.ndarray) or self._cpu is not None:
            return _Loss.apply(image, self._cpu)
        if place.type == "cuda" and triton_kernels():
            from .gpu import fused

            return fused(image, target, self.objective)
        return plain_loss(image, target, self.objective)

    def rows(self, window: np.ndarray, window_row0: int, row0: int, row1: int, grad: np.ndarray) -> np.ndarray:
        """Gradient of rows row0 .. row1 of a picture of which only some rows are there, on the CPU.

        Args:
            window: [h, W, C] float32, rows window_row0 .. window_row0 + h of the picture. With SSIM, rows row0 - 10 ..
                row1 + 10 must be among them (as far as the picture has them), else row0 .. row1.
            grad: [row1 - row0, W, C] float32, contiguous: the gradient of the loss of the whole picture is written.

        Returns:
            Three sums, float64: over |x - t| and (x - t)^2 of these rows, and over 1 - SSIM of these rows of its map.
            Added up over ranges of rows that cover the picture, they give the loss: `value`.

        Raises:
            ValueError: arrays or rows that do not fit, or a target that is not on the CPU.
        """
        if self._cpu is None:
            raise ValueError("loss: rows() works on the CPU, but the target is on another device")
        return self._cpu.rows(window, window_row0, row0, row1, grad)

    def value(self, total: np.ndarray) -> float:
        """The loss of the whole picture from the sums that `rows` returned for its parts, added up."""
        if self._cpu is None:
            raise ValueError("loss: value() belongs to rows(), which works on the CPU; the target is elsewhere")
        return self._cpu.value(total)

    def _check_target(self) -> None:
        shape, dtype = list(self.target.shape), str(self.target.dtype).removeprefix("torch.")
        if len(shape) != 3 or 0 in shape:
            raise ValueError(f"loss: expected a target of shape [H, W, C] that is not empty, got {shape}")
        if dtype not in ("uint8", "float32"):
            raise ValueError(f"loss: expected a uint8 or float32 target, got {dtype}")
        if self.objective.ssim and self.objective.window == "valid" and min(shape[:2]) < 11:
            raise ValueError(
                f'loss: SSIM with window="valid" needs at least 11 x 11 pixels, got {shape[0]} x {shape[1]}; '
                'use window="same", or ssim=0'
            )


class _Loss(torch.autograd.Function):
    """The gradient is made with the value, for an incoming gradient of 1."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, loss: CpuLoss) -> Tensor:
        grad = loss.gradient()
        total = loss.rows(image.detach().numpy(), 0, 0, len(image), grad)
        ctx.save_for_backward(torch.from_numpy(grad))
        return torch.tensor(loss.value(total), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:  # type: ignore[override]
        (grad,) = ctx.saved_tensors
        return (grad if scale.item() == 1.0 else grad * scale), None


def mse(image: Tensor, target: Tensor, clamp: bool = True) -> Tensor:
    """Mean squared error over pixels and channels: `Objective(l2=1, clamp=clamp)(image, target)`."""
    return Objective(l2=1.0, clamp=clamp)(image, target)


def l1(image: Tensor, target: Tensor, clamp: bool = True) -> Tensor:
    """Mean absolute error over pixels and channels; the gradient at a tie is 0. Arguments as for `mse`."""
    return Objective(l1=1.0, clamp=clamp)(image, target)

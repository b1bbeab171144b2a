"""The objective on a GPU: value and gradient by Triton kernels, without a wait for the device.

`fused` works under autograd; `loss_and_gradient` launches and nothing else, for CUDA graphs. On CPU tensors the kernels
are interpreted where the environment variable TRITON_INTERPRET is 1 before this module is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from splatbench.render.gpu.launch import require_device

from . import gpu_kernels as kernels
from .ssim import REACH

if TYPE_CHECKING:
    from .objective import Objective

_FLAT, _COLUMNS, _PARTS = 1024, 128, 1024  # values of a program: flat, of a row, and of the programs' sums
_PER_MULTIPROCESSOR = 4  # programs of `similarity` that fit on one: what their registers allow
_FEWEST_ROWS = 16
_OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}


class LossWorkspace:
    """Memory of one loss on a GPU, and what it is for.

    Args:
        shape: [H, W, C] of a picture, or [B, H, W, C] of a batch, all of one size.
        objective: the loss. Of a batch it is the mean over its pictures.
        device: where the pictures are.

    Raises:
        ValueError: a shape that is no picture, or too small for the window of SSIM.
    """

    def __init__(self, shape: tuple[int, ...], objective: Objective, device: torch.device | str) -> None:
        if len(shape) not in (3, 4) or 0 in shape:
            raise ValueError(f"loss: expected pictures [H, W, C] or [B, H, W, C] that are not empty, got {list(shape)}")
        self.shape, self.objective = tuple(shape), objective
        batch, self.height, width, self.channels = (1, *shape)[-4:]
        self.border = REACH if objective.window == "valid" else 0
        map_height, map_width = self.height - 2 * self.border, width - 2 * self.border
        if objective.ssim and min(map_height, map_width) < 1:
            raise ValueError(
                f'loss: SSIM with window="valid" needs at least 11 x 11 pixels, got {self.height} x {width}; '
                'use window="same", or ssim=0'
            )
        self.wide, self.values = width * self.channels, batch * self.height * width * self.channels
        self.map_values = batch * map_height * map_width * self.channels
        self.rows, self.programs = 0, -(-self.values // _FLAT)
        if objective.ssim:
            blocks = batch * -(-self.wide // _COLUMNS)
            self.rows = _strip_rows(self.height, blocks, torch.device(device))
            self.programs = blocks * -(-self.height // self.rows)
        self.sums = torch.empty((3, self.programs), dtype=torch.float64, device=device)
        self.slopes = torch.empty(3 * self.values if objective.ssim else 0, device=device)


def _strip_rows(height: int, blocks: int, device: torch.device) -> int:
    """Rows of a strip: as many as let all programs run at once. Longer strips repeat fewer rows at their ends."""
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    strips = max(1, multiprocessors * _PER_MULTIPROCESSOR // blocks)
    return max(_FEWEST_ROWS, -(-height // strips))


def loss_and_gradient(
    image: Tensor, target: Tensor, grad_out: Tensor | None, value_out: Tensor, workspace: LossWorkspace
) -> None:
    """Writes the loss and its gradient by the picture. Neither allocates nor waits for the device.

    The same inputs give the same bits: no sum depends on the order in which programs run.

    Args:
        image: float32, contiguous, of the workspace's shape.
        target: the same shape, contiguous; uint8 (divided by 255) or float32 in [0, 1].
        grad_out: the gradient, float32, shaped like `image`; None: not wanted.
        value_out: float32, one value: the loss.
        workspace: memory; used again by the next call.

    Raises:
        ValueError: shapes, types or devices that do not fit together.
    """
    _check(image, target, grad_out, value_out, workspace)
    w, o = workspace, workspace.objective
    by_sign, by_difference = o.l1 / w.values, 2 * o.l2 / w.values
    options: dict[str, Any] = {"CLAMP": o.clamp, **_OPTIONS}
    grad = image if grad_out is None else grad_out
    wanted = grad_out is not None
    if o.ssim:
        grid, pictures = (w.programs,), (w.height, w.wide, w.values)
        options |= {"C": w.channels, "BLOCK": _COLUMNS}
        kernels.similarity[grid](image, target, w.slopes, w.sums, *pictures, w.border, w.rows, GRAD=wanted, **options)
        if wanted:
            factors = by_sign, by_difference, o.ssim / w.map_values
            kernels.gradient[grid](image, target, w.slopes, grad, *pictures, w.rows, *factors, **options)
    else:
        arguments = image, target, grad, w.sums, w.values, by_sign, by_difference
        kernels.pixels[(w.programs,)](*arguments, GRAD=wanted, BLOCK=_FLAT, **options)
    factors = o.l1 / w.values, o.l2 / w.values, o.ssim / max(1, w.map_values)
    kernels.total[(1,)](w.sums, value_out, w.programs, *factors, SSIM=bool(o.ssim), BLOCK=_PARTS, **_OPTIONS)


def fused(image: Tensor, target: Tensor, objective: Objective) -> Tensor:
    """The loss of a picture [H, W, C], or the mean loss of pictures [B, H, W, C], differentiable once.

    Args:
        image: float32.
        target: the same shape, on the same device; uint8 (divided by 255) or float32 in [0, 1].
        objective: the loss.

    Returns:
        A scalar, float32, on the device.

    Raises:
        ValueError: shapes, types or devices that do not fit together, or pictures smaller than the window.
    """
    value: Tensor = _Fused.apply(image, target, objective)
    return value


class _Fused(torch.autograd.Function):
    """The gradient is made with the value, for an incoming gradient of 1."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, objective: Objective) -> Tensor:
        image = image.detach().contiguous()
        value = torch.empty((), device=image.device)
        ctx.grad = torch.empty_like(image) if ctx.needs_input_grad[0] else None
        workspace = LossWorkspace(tuple(image.shape), objective, image.device)
        loss_and_gradient(image, target.contiguous(), ctx.grad, value, workspace)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:  # type: ignore[override]
        return ctx.grad * scale, None, None


def _check(image: Tensor, target: Tensor, grad: Tensor | None, value: Tensor, workspace: LossWorkspace) -> None:
    """Kernels do not check bounds: refuses what they would read or write beyond."""
    wanted, device = workspace.shape, workspace.sums.device
    require_device(kernels.total, "loss: workspace", workspace.sums)
    for name, tensor, types in (
        ("image", image, (torch.float32,)),
        ("target", target, (torch.uint8, torch.float32)),
        ("grad_out", grad, (torch.float32,)),
    ):
        if tensor is None:
            continue
        if tuple(tensor.shape) != wanted or tensor.dtype not in types or not tensor.is_contiguous():
            raise ValueError(
                f"loss: {name} must be contiguous, {list(wanted)}, {' or '.join(str(t) for t in types)}; "
                f"got {list(tensor.shape)}, {tensor.dtype}"
            )
        if tensor.device != device:
            raise ValueError(f"loss: {name} is on {tensor.device}, the workspace on {device}")
    if value.numel() != 1 or value.dtype != torch.float32 or value.device != device:
        raise ValueError(f"loss: value_out must be one float32 on {device}")

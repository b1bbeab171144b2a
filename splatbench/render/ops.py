"""The differentiable operations that fits are made of: pictures of blends `sum` and `topk` on any device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from splatbench.gaussians import COMPAT_FLAGS, TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE

from .drawing import Drawing, SumDrawing, TopkDrawing, TopkRule, as_numpy
from .reference import rasterize_sum_reference
from .reference_topk import rasterize_topk_reference

#: From means, covariance and colours to a picture on the CPU.
_Draw = Callable[[np.ndarray, np.ndarray, np.ndarray], Drawing]


class _Rasterize(torch.autograd.Function):
    """On the CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariance: Tensor,
        colors: Tensor,
        size: tuple[int, int],
        draw: _Draw,
        out: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(means, covariance, colors)
        if out is not None:
            ctx.mark_dirty(out)
        ctx.drawing = draw(as_numpy(means), as_numpy(covariance), as_numpy(colors))
        image = torch.empty((*size, colors.shape[1])) if out is None else out
        ctx.drawing.draw_rows(out=image.detach().numpy())
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        _ = ctx.saved_tensors  # raises where an input was changed in place
        ctx.drawing.backward_rows(0, as_numpy(grad))
        return *(torch.from_numpy(g) for g in ctx.drawing.gradients()), None, None, None


def check_arguments(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    compat: frozenset[str],
    out: Tensor | None = None,
) -> None:
    """Raises ValueError unless the arguments of `rasterize_sum` fit together."""
    *batch, n = means.shape[:-1] or (0,)
    for name, value, shape, dtype in (
        ("means", means, (*batch, n, 2), torch.float32),
        ("covariance", covariance, (*batch, n, 3), torch.float64),
        ("colors", colors, (*batch, n, max(1, colors.shape[-1])), torch.float32),
        ("out", out, (*batch, *size, colors.shape[-1]), torch.float32),
    ):
        if value is not None and (tuple(value.shape) != shape or value.dtype != dtype or len(batch) > 1):
            raise ValueError(f"{name}: expected {dtype} {list(shape)}, got {value.dtype} {list(value.shape)}")
        if value is not None and value.device != means.device:
            raise ValueError(f"{name}: on {value.device}, but the means are on {means.device}")
    if not compat <= set(COMPAT_FLAGS):
        raise ValueError(f"compat: unknown {sorted(compat - set(COMPAT_FLAGS))}; known: {list(COMPAT_FLAGS)}")
    if min(size) < 1:
        raise ValueError(f"size: expected (H, W) of at least 1 x 1, got {size}")
    if out is not None and not out.is_contiguous():
        raise ValueError("out: must be contiguous")


def gradients_wanted(*tensors: Tensor) -> bool:
    """Whether autograd will ask for a gradient of one of them."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


@cache
def triton_kernels() -> ModuleType | None:
    """The kernels for CUDA devices, or None, with a warning, where Triton is not installed."""
    try:
        from . import gpu
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        warnings.warn(
            "Triton is not installed: rendering, losses and covariances on CUDA devices are plain PyTorch, hundreds of "
            "times slower; pip install triton",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return gpu


def _each(
    picture: Callable[[Tensor, Tensor, Tensor], Tensor],
    tensors: tuple[Tensor, ...],
    size: tuple[int, int],
    out: Tensor | None,
) -> Tensor:
    """A batch, picture by picture."""
    images = [picture(*one) for one in zip(*tensors, strict=True)]
    batch = torch.stack(images) if images else tensors[2].new_zeros(0, *size, tensors[2].shape[-1])
    return batch if out is None else out.copy_(batch)


def rasterize_sum(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    *,
    compat: frozenset[str] = frozenset(),
    out: Tensor | None = None,
) -> Tensor:
    """Differentiable picture of blend `sum`: the sum of w colour where w = exp(-1/2 d^T S^-1 d) >= 1/255.

    On the CPU and on CUDA devices by fast kernels, elsewhere by the float64 reference. Gaussians that cannot be drawn
    (singular covariance, NaN or infinite mean or covariance) are left out and get zero gradients.

    Args:
        means: [N, 2] float32, (x, y) in pixels; the centre of the first pixel is at (0.5, 0.5). Or [B, N, 2] for B
            pictures of one size, and the other arguments alike; fill up short sets with means of NaN.
        covariance: [N, 3] float64, (Sxx, Sxy, Syy) in square pixels. The gradient of Sxy is the true derivative.
        colors: [N, C >= 1] float32.
        size: (H, W), each at least 1.
        compat: subset of `splatbench.gaussians.COMPAT_FLAGS`; "tile_cap_256" implies "tiles_3sigma".
        out: [H, W, C] float32, contiguous, on the same device: written and returned.

    Returns:
        [H, W, C] float32 (or [B, H, W, C]), not clamped.

    Raises:
        ValueError: shapes, types or flags that do not fit.
    """
    check_arguments(means, covariance, colors, size, compat, out)
    tensors = means, covariance, colors
    if means.device.type == "cuda" and (gpu := triton_kernels()):
        drawn: Tensor = gpu.rasterize_sum(*tensors, size, compat=compat, out=out)
        return drawn
    if means.ndim == 3:
        return _each(lambda m, s, c: rasterize_sum(m, s, c, size, compat=compat), tensors, size, out)
    if means.device.type == "cpu":
        image: Tensor = _Rasterize.apply(*tensors, size, lambda m, s, c: SumDrawing(m, s, c, size, compat), out)
        return image
    image = rasterize_sum_reference(*tensors, size, compat).float()
    return image if out is None else out.copy_(image)


def rasterize_topk(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    *,
    k: int = TOP_K,
    epsilon: float = TOPK_EPSILON,
    min_response: float = TOPK_MIN_RESPONSE,
    compat: frozenset[str] = frozenset(),
    out: Tensor | None = None,
) -> Tensor:
    """Differentiable picture of blend `topk`: at each pixel the average of the k Gaussians with the largest responses.

    With responses a = exp(-1/2 d^T S^-1 d) >= min_response, and their sum S over these k, a pixel is the sum of
    a colour / (S + epsilon); 0 where there is no Gaussian. Of equal responses the lower index is chosen; the choice has
    no gradient (Zhang et al., "Image-GS", SIGGRAPH 2025; defaults are those of its code, but for min_response: there a
    Gaussian ends with its tiles, see `compat`). Gaussians that cannot be drawn (singular covariance, NaN or infinite
    mean or covariance) are left out and get zero gradients.

    Args:
        means: [N, 2] float32, (x, y) in pixels; the centre of the first pixel is at (0.5, 0.5). Or [B, N, 2] for B
            pictures of one size, and the other arguments alike; fill up short sets with means of NaN.
        covariance: [N, 3] float64, (Sxx, Sxy, Syy) in square pixels. The gradient of Sxy is the true derivative.
        colors: [N, C >= 1] float32.
        size: (H, W), each at least 1.
        k: how many Gaussians a pixel averages, at least 1; at most 128 on a CUDA device.
        epsilon: added to S, at least 1e-30.
        min_response: in (0, 1].
        compat: empty, or {"tiles_3sigma"}: a Gaussian is seen in the tiles that this flag names, with any response, and
            nowhere else; min_response is then ignored.
        out: [H, W, C] float32, contiguous, on the same device: written and returned.

    Returns:
        [H, W, C] float32 (or [B, H, W, C]), not clamped.

    Raises:
        ValueError: shapes, types or values that do not fit, or more than 2^24 Gaussians on the CPU.
    """
    check_arguments(means, covariance, colors, size, compat, out)
    rule, tensors = TopkRule(k, epsilon, min_response, compat), (means, covariance, colors)
    settings = asdict(rule)
    if means.device.type == "cuda" and (gpu := triton_kernels()):
        drawn: Tensor = gpu.rasterize_topk(*tensors, size, **settings, out=out)
        return drawn
    if means.ndim == 3:
        return _each(lambda m, s, c: rasterize_topk(m, s, c, size, **settings), tensors, size, out)
    if means.device.type == "cpu":
        rows_kept = None if gradients_wanted(*tensors) else 0
        draw: _Draw = lambda m, s, c: TopkDrawing(m, s, c, size, rule, rows_kept)  # noqa: E731
        image: Tensor = _Rasterize.apply(*tensors, size, draw, out)
        return image
    image = rasterize_topk_reference(*tensors, size, **settings).float()
    return image if out is None else out.copy_(image)

"""The renderer's public face: pictures of Gaussians2D, and the differentiable operation that fits are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatbench.gaussians import COMPAT_FLAGS, Gaussians2D

from .cpu_bins import TILE_H
from .drawing import SumDrawing
from .reference import rasterize_sum_reference


class _RasterizeSum(torch.autograd.Function):
    """On the CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariance: Tensor,
        colors: Tensor,
        size: tuple[int, int],
        compat: frozenset[str],
        out: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(means, covariance, colors)
        if out is not None:
            ctx.mark_dirty(out)
        ctx.drawing = SumDrawing(_numpy(means), _numpy(covariance), _numpy(colors), size, compat)
        image = torch.empty((*size, colors.shape[1])) if out is None else out
        ctx.drawing.draw_rows(out=image.numpy())
        return image

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        _ = ctx.saved_tensors  # raises where an input was changed in place
        ctx.drawing.backward_rows(0, _numpy(grad))
        return *(torch.from_numpy(g) for g in ctx.drawing.gradients()), None, None, None


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().contiguous().numpy()


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
    if not compat <= set(COMPAT_FLAGS):
        raise ValueError(f"compat: unknown {sorted(compat - set(COMPAT_FLAGS))}; known: {list(COMPAT_FLAGS)}")
    if min(size) < 1:
        raise ValueError(f"size: expected (H, W) of at least 1 x 1, got {size}")
    if out is not None and not out.is_contiguous():
        raise ValueError("out: must be contiguous")


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

    On the CPU by fast kernels, elsewhere by the float64 reference. Gaussians that cannot be drawn (singular covariance,
    NaN or infinite mean or covariance) are left out and get zero gradients.

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
    if means.ndim == 3:
        pictures = zip(means, covariance, colors, strict=True)
        images = [rasterize_sum(*picture, size, compat=compat) for picture in pictures]
        batch = torch.stack(images) if images else colors.new_zeros(0, *size, colors.shape[-1])
        return batch if out is None else out.copy_(batch)
    if means.device.type == "cpu":
        image: Tensor = _RasterizeSum.apply(means, covariance, colors, size, compat, out)
        return image
    image = rasterize_sum_reference(means, covariance, colors, size, compat).float()
    return image if out is None else out.copy_(image)


def _require_sum(g: Gaussians2D) -> None:
    if g.blend != "sum":
        raise NotImplementedError(f"blend {g.blend!r} cannot be drawn yet; this version draws 'sum'")
    if g.opacities is not None:
        raise NotImplementedError("blend 'sum' takes no opacities: multiply them into the colours")


def render(g: Gaussians2D, out: Tensor | None = None) -> Tensor:
    """The picture of Gaussians, without gradients.

    Args:
        g: on the CPU for the fast kernels; on other devices the float64 reference draws.
        out: as for `rasterize_sum`.

    Returns:
        [H, W, C] float32, not clamped.

    Raises:
        NotImplementedError: a blend other than `sum`, or opacities.
    """
    _require_sum(g)
    with torch.no_grad():
        return rasterize_sum(g.means, g.covariance(), g.colors, g.size, compat=g.compat, out=out)


def render_u8(g: Gaussians2D) -> np.ndarray:
    """uint8 [H, W, C]: the picture clamped to [0, 1], times 255, rounded half up. NaN becomes 0."""
    return _to_u8(render(g))


def _to_u8(image: Tensor) -> np.ndarray:
    return image.nan_to_num_(nan=0.0).clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8).cpu().numpy()


def iter_strips(g: Gaussians2D, rows: int = 256) -> Iterator[tuple[int, Tensor]]:
    """The picture strip by strip, for sizes that do not fit in memory: the same bits as `render`.

    Args:
        g: the Gaussians.
        rows: height of a strip, rounded up to a multiple of 256; the last may be lower.

    Yields:
        (first row, [h, W, C] float32), from top to bottom.

    Raises:
        NotImplementedError: a blend other than `sum`, or opacities.
        ValueError: rows below 1.
    """
    _require_sum(g)
    if rows < 1:
        raise ValueError(f"rows: expected at least 1, got {rows}")
    if g.device.type != "cpu":
        image, step = render(g), -(-rows // TILE_H) * TILE_H
        yield from ((row, image[row : row + step]) for row in range(0, g.size[0], step))
        return
    drawing = SumDrawing(_numpy(g.means), _numpy(g.covariance()), _numpy(g.colors), g.size, g.compat)
    step = -(-rows // TILE_H) * TILE_H
    for row in range(0, g.size[0], step):
        yield row, torch.from_numpy(drawing.draw_rows(row, min(row + step, g.size[0])))

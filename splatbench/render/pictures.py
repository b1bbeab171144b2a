"""Pictures of `Gaussians2D` or layers, without gradients: whole, in 8 bits, or strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from splatbench.gaussians import Gaussians2D

from .cpu_bins import TILE_H
from .drawing import Drawing, SumDrawing, TopkDrawing, TopkRule, as_numpy
from .gsplat import rasterize_alpha
from .layers import LayeredPicture
from .ops import rasterize_sum, rasterize_topk


def _check(g: Gaussians2D) -> None:
    if g.blend == "alpha" and g.compat:
        raise ValueError(f"blend 'alpha' knows no compat flags, got {sorted(g.compat)}")
    if g.blend != "alpha" and g.opacities is not None:
        raise ValueError(f"blend {g.blend!r} takes no opacities: multiply them into the colours")


def _shown(g: Gaussians2D, image: Tensor) -> Tensor:
    """What is shown of a blended picture, in its own memory; see `Gaussians2D.gamma`."""
    return image if g.gamma == 1 else image.clamp_(0, 1).pow_(1 / g.gamma)


def render(g: Gaussians2D | LayeredPicture, out: Tensor | None = None) -> Tensor:
    """The picture of Gaussians, without gradients.

    Args:
        g: `sum` and `topk` are drawn by fast kernels on the CPU and on CUDA devices; `alpha` by such kernels on the
            CPU, by gsplat on CUDA devices. Layers draw themselves.
        out: as for `rasterize_sum`.

    Returns:
        [H, W, C] float32, not clamped, unless `g.gamma` does.

    Raises:
        ValueError: opacities or flags that the blend does not know.
    """
    if not isinstance(g, Gaussians2D):
        with torch.no_grad():
            layered = g.render()
        return layered if out is None else out.copy_(layered)
    _check(g)
    with torch.no_grad():
        return _shown(g, _blended(g, out))


def _blended(g: Gaussians2D, out: Tensor | None) -> Tensor:
    if g.blend == "sum":
        return rasterize_sum(g.means, g.covariance(), g.colors, g.size, compat=g.compat, out=out)
    if g.blend == "topk":
        return rasterize_topk(g.means, g.covariance(), g.colors, g.size, **asdict(g.topk), compat=g.compat, out=out)
    opacities = torch.ones_like(g.means[:, 0]) if g.opacities is None else g.opacities
    background = g.colors.new_full(g.colors.shape[1:], g.background)
    image = rasterize_alpha(g.means, g.covariance(), g.colors, opacities, g.size, background)
    return image if out is None else out.copy_(image)


def render_u8(g: Gaussians2D | LayeredPicture) -> np.ndarray:
    """uint8 [H, W, C]: the picture clamped to [0, 1], times 255, rounded half up. NaN becomes 0."""
    image = render(g)
    return image.nan_to_num_(nan=0.0).clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8).cpu().numpy()


def iter_strips(g: Gaussians2D | LayeredPicture, rows: int = 256) -> Iterator[tuple[int, Tensor]]:
    """The picture strip by strip, for sizes that do not fit in memory: the same bits as `render`.

    Args:
        g: the Gaussians. Blend `alpha`, layers, and pictures on other devices than the CPU are drawn whole.
        rows: height of a strip, rounded up to a multiple of 256; the last may be lower.

    Yields:
        (first row, [h, W, C] float32), from top to bottom.

    Raises:
        ValueError: rows below 1; opacities or flags that the blend does not know.
    """
    if rows < 1:
        raise ValueError(f"rows: expected at least 1, got {rows}")
    step = -(-rows // TILE_H) * TILE_H
    if not isinstance(g, Gaussians2D) or g.device.type != "cpu" or g.blend == "alpha":
        image = render(g)
        yield from ((row, image[row : row + step]) for row in range(0, g.size[0], step))
        return
    _check(g)
    drawing = _drawing(g)
    for row in range(0, g.size[0], step):
        yield row, _shown(g, torch.from_numpy(drawing.draw_rows(row, min(row + step, g.size[0]))))


def _drawing(g: Gaussians2D) -> Drawing:
    arrays = as_numpy(g.means), as_numpy(g.covariance()), as_numpy(g.colors)
    if g.blend == "sum":
        return SumDrawing(*arrays, g.size, g.compat)
    return TopkDrawing(*arrays, g.size, TopkRule(**asdict(g.topk), compat=g.compat), rows_kept=0)

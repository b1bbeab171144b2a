"""The renderer's public face: pictures of Gaussians2D, and the differentiable operation that fits are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatbench.gaussians import Gaussians2D

from .cpu import SumRasterizer
from .published import tile_clip
from .threads import thread_count

_free: list[SumRasterizer] = []  # workspaces that no picture is waiting for


class _Lease:
    """A workspace that goes back when nothing can ask for its gradients any more."""

    def __init__(self) -> None:
        threads = thread_count()
        self.rasterizer = _free.pop() if _free else SumRasterizer(threads)
        self.rasterizer.threads = threads

    def __del__(self) -> None:
        _free.append(self.rasterizer)


class _RasterizeSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, covariance: Tensor, colors: Tensor, size: tuple[int, int], compat: frozenset[str], out: Any
    ) -> Tensor:
        arrays = [x.detach().contiguous().numpy() for x in (means, covariance, colors)]
        clip = tile_clip(arrays[0], arrays[1], *size) if compat else None
        lease = _Lease()
        image = torch.empty((*size, 3)) if out is None else out
        lease.rasterizer.forward(*arrays, *size, out=image.numpy(), clip=clip, form="covariance")
        ctx.save_for_backward(means, covariance, colors)
        ctx.lease = lease
        return image

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        grads = ctx.lease.rasterizer.backward(grad.contiguous().numpy())
        return *(torch.from_numpy(g) for g in grads), None, None, None


def rasterize_sum(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    *,
    compat: frozenset[str] = frozenset(),
    out: Tensor | None = None,
) -> Tensor:
    """Differentiable picture of blend `sum`, not clamped."""
    return _RasterizeSum.apply(means, covariance, colors, size, compat, out)


def render(g: Gaussians2D, out: Tensor | None = None) -> Tensor:
    """[H, W, C] float32, not clamped, without gradients."""
    with torch.no_grad():
        return rasterize_sum(g.means, g.covariance(), g.colors, g.size, compat=g.compat, out=out)


def render_u8(g: Gaussians2D) -> np.ndarray:
    """uint8 [H, W, 3]: the picture clamped to [0, 1] and rounded half up."""
    image = render(g).clamp_(0, 1).mul_(255).add_(0.5)
    return image.to(torch.uint8).numpy()


def iter_strips(g: Gaussians2D, rows: int = 256) -> Iterator[tuple[int, Tensor]]:
    """(first row, [h, W, C]) from top to bottom."""
    covariance = g.covariance().numpy()
    clip = tile_clip(g.means.numpy(), covariance, *g.size) if g.compat else None
    arrays = g.means.numpy(), covariance, g.colors.numpy()
    for row0, strip in SumRasterizer().strips(*arrays, *g.size, rows=rows, clip=clip, form="covariance"):
        yield row0, torch.from_numpy(strip)

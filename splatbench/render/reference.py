"""The definition of blend `sum`, in float64 PyTorch: slow, plain, on any device, differentiable by autograd.

    image[y, x] = sum over n of w_n(x, y) colour_n,    w = exp(-1/2 d^T S^-1 d),  d = (x + 1/2, y + 1/2) - mean

where w >= 1/255. It judges the fast kernels, their values and their gradients, and draws where there are none.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from splatbench.gaussians import MIN_WEIGHT

TILE = 16
CAP = 256
#: Covariances with det S <= DEGENERATE Sxx Syy are dropped: rounding has eaten the thin axis (ratio 1 : 2e6).
DEGENERATE = 1e-12
_LIMIT = -math.log(MIN_WEIGHT)  # of 1/2 d^T S^-1 d
_CHUNK = 4096  # Gaussians of a tile at a time


def rasterize_sum_reference(
    means: Tensor, covariance: Tensor, colors: Tensor, size: tuple[int, int], compat: frozenset[str] = frozenset()
) -> Tensor:
    """Picture of blend `sum`, not clamped.

    Args:
        means: [N, 2] (x, y) in pixels.
        covariance: [N, 3] (Sxx, Sxy, Syy) in square pixels. The gradient with respect to Sxy is the true derivative.
        colors: [N, C].
        size: (H, W).
        compat: subset of `splatbench.gaussians.COMPAT_FLAGS`, applied literally.

    Returns:
        [H, W, C] float64. Gaussians with a singular covariance, or with a mean or covariance that is not finite, are
        dropped and get zero gradients.
    """
    keep = drawable(means, covariance)
    means, covariance, colors = means[keep].double(), covariance[keep].double(), colors[keep].double()

    def tile(x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        image = colors.new_zeros(len(y), len(x), colors.shape[1])
        for part in ids.split(_CHUNK):
            w = responses(x, y, means[part], covariance[part], _LIMIT)
            image = image + torch.einsum("nyx,nc->yxc", w, colors[part])
        return image

    return by_tiles(tile, tile_lists(means.detach(), covariance.detach(), size, compat, _LIMIT), size)


def by_tiles(
    tile: Callable[[Tensor, Tensor, Tensor], Tensor], lists: list[list[Tensor]], size: tuple[int, int]
) -> Tensor:
    """The picture put together from tile(x, y, ids) [len(y), len(x), C]: pixel centres, and Gaussians that matter."""
    height, width = size
    rows = []
    for top, row in zip(range(0, height, TILE), lists, strict=True):
        columns = []
        for left, ids in zip(range(0, width, TILE), row, strict=True):
            x = torch.arange(left, min(left + TILE, width), device=ids.device, dtype=torch.float64) + 0.5
            y = torch.arange(top, min(top + TILE, height), device=ids.device, dtype=torch.float64) + 0.5
            columns.append(tile(x, y, ids))
        rows.append(torch.cat(columns, 1))
    return torch.cat(rows, 0)


def responses(x: Tensor, y: Tensor, means: Tensor, covariance: Tensor, limit: float) -> Tensor:
    """[N, len(y), len(x)]: exp(-1/2 d^T S^-1 d) where 1/2 d^T S^-1 d <= limit, else 0."""
    sxx, sxy, syy = (v[:, None, None] for v in covariance.unbind(1))
    det = sxx * syy - sxy * sxy
    dx, dy = (x - means[:, :1])[:, None, :], (y - means[:, 1:])[:, :, None]
    power = 0.5 * (syy / det * dx * dx + sxx / det * dy * dy) - sxy / det * dx * dy
    # the inner `where` keeps the exponential of dropped pairs, and with it 0 * inf, out of the gradient
    inside = power <= limit
    return torch.where(inside, torch.exp(-torch.where(inside, power, 0.0)), 0.0)


def drawable(means: Tensor, covariance: Tensor) -> Tensor:
    """Indices of Gaussians that can be drawn."""
    sxx, sxy, syy = covariance.detach().double().unbind(1)
    det = sxx * syy - sxy * sxy
    finite = torch.isfinite(means.detach()).all(1) & torch.isfinite(covariance.detach()).all(1)
    return (finite & torch.isfinite(det) & (sxx > 0) & (det > DEGENERATE * sxx * syy)).nonzero()[:, 0]


def tile_lists(
    means: Tensor, covariance: Tensor, size: tuple[int, int], compat: frozenset[str], limit: float
) -> list[list[Tensor]]:
    """For each tile of 16 x 16 pixels, by row and column, the Gaussians it sees, ascending.

    Without `compat` these are at least the Gaussians with 1/2 d^T S^-1 d <= limit somewhere in the tile.
    """
    tiles_y, tiles_x = (-(-n // TILE) for n in size)
    u = means - 0.5
    sxx, sxy, syy = covariance.unbind(1)
    if compat:
        half = (sxx + syy) / 2
        largest = half + (half * half - (sxx * syy - sxy * sxy)).clamp_min(0.1).sqrt()
        reach = torch.ceil(3 * largest.sqrt())[:, None].expand(-1, 2)
    else:
        # half sizes of the outline's box, a little larger: w decides
        reach = (2 * limit * covariance[:, [0, 2]]).sqrt() + 1e-6
    end = u.new_tensor([tiles_x, tiles_y])
    if compat:
        first = (u / TILE - reach / TILE).trunc().clamp_min(0).minimum(end)
        last = (u / TILE + reach / TILE + 1).trunc().clamp_min(0).minimum(end)
    else:
        first = ((u - reach) / TILE).floor().clamp_min(0).minimum(end)
        last = ((u + reach) / TILE).floor().add(1).clamp_min(0).minimum(end)
    x0, y0 = first.long().unbind(1)
    x1, y1 = last.long().unbind(1)
    columns = [(x0 <= x) & (x < x1) for x in range(tiles_x)]
    lists = []
    for y in range(tiles_y):
        row = (y0 <= y) & (y < y1)
        found = [(row & column).nonzero()[:, 0] for column in columns]
        lists.append([ids[:CAP] for ids in found] if "tile_cap_256" in compat else found)
    return lists

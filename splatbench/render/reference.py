"""The definition of blend `sum`, in float64 PyTorch: slow, plain, on any device, differentiable by autograd.

    image[y, x] = sum over n of w_n(x, y) colour_n,    w = exp(-1/2 d^T S^-1 d),  d = (x + 1/2, y + 1/2) - mean

where w >= 1/255. It judges the fast kernels, their values and their gradients, and draws where there are none.
"""

from __future__ import annotations

import math

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
    height, width = size
    keep = _regular(means, covariance)
    means, covariance, colors = means[keep].double(), covariance[keep].double(), colors[keep].double()
    tiles = _tile_lists(means.detach(), covariance.detach(), size, compat)
    sxx, sxy, syy = covariance.unbind(1)
    det = sxx * syy - sxy * sxy
    conic = torch.stack([syy / det, -sxy / det, sxx / det], 1)
    rows = []
    for top in range(0, height, TILE):
        y = torch.arange(top, min(top + TILE, height), device=means.device, dtype=torch.float64) + 0.5
        columns = []
        for left in range(0, width, TILE):
            x = torch.arange(left, min(left + TILE, width), device=means.device, dtype=torch.float64) + 0.5
            ids = tiles[top // TILE][left // TILE]
            columns.append(_tile(x, y, means, conic, colors, ids))
        rows.append(torch.cat(columns, 1))
    return torch.cat(rows, 0)


def _tile(x: Tensor, y: Tensor, means: Tensor, conic: Tensor, colors: Tensor, ids: Tensor) -> Tensor:
    """[len(y), len(x), C]: the sum over Gaussians `ids` at pixel centres x, y."""
    image = colors.new_zeros(len(y), len(x), colors.shape[1])
    for part in ids.split(_CHUNK):
        dx = (x - means[part, :1])[:, None, :]
        dy = (y - means[part, 1:])[:, :, None]
        a, b, c = (v[:, None, None] for v in conic[part].unbind(1))
        power = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        # the inner `where` keeps the exponential of dropped pairs, and with it 0 * inf, out of the gradient
        inside = power <= _LIMIT
        w = torch.where(inside, torch.exp(-torch.where(inside, power, 0.0)), 0.0)
        image = image + torch.einsum("nyx,nc->yxc", w, colors[part])
    return image


def _regular(means: Tensor, covariance: Tensor) -> Tensor:
    """Indices of Gaussians that can be drawn."""
    sxx, sxy, syy = covariance.detach().double().unbind(1)
    det = sxx * syy - sxy * sxy
    finite = torch.isfinite(means.detach()).all(1) & torch.isfinite(covariance.detach()).all(1)
    return (finite & torch.isfinite(det) & (sxx > 0) & (det > DEGENERATE * sxx * syy)).nonzero()[:, 0]


def _tile_lists(means: Tensor, covariance: Tensor, size: tuple[int, int], compat: frozenset[str]) -> list[list[Tensor]]:
    """For each tile of 16 x 16 pixels, by row and column, the Gaussians it sees, ascending."""
    tiles_y, tiles_x = (-(-n // TILE) for n in size)
    u = means - 0.5
    sxx, sxy, syy = covariance.unbind(1)
    if compat:
        half = (sxx + syy) / 2
        largest = half + (half * half - (sxx * syy - sxy * sxy)).clamp_min(0.1).sqrt()
        reach = torch.ceil(3 * largest.sqrt())[:, None].expand(-1, 2)
    else:
        # half sizes of the outline's box, a little larger: w decides
        reach = (2 * _LIMIT * covariance[:, [0, 2]]).sqrt() + 1e-6
    limit = u.new_tensor([tiles_x, tiles_y])
    if compat:
        first = (u / TILE - reach / TILE).trunc().clamp_min(0).minimum(limit)
        last = (u / TILE + reach / TILE + 1).trunc().clamp_min(0).minimum(limit)
    else:
        first = ((u - reach) / TILE).floor().clamp_min(0).minimum(limit)
        last = ((u + reach) / TILE).floor().add(1).clamp_min(0).minimum(limit)
    x0, y0 = first.long().unbind(1)
    x1, y1 = last.long().unbind(1)
    columns = [(x0 <= x) & (x < x1) for x in range(tiles_x)]
    lists = []
    for y in range(tiles_y):
        row = (y0 <= y) & (y < y1)
        found = [(row & column).nonzero()[:, 0] for column in columns]
        lists.append([ids[:CAP] for ids in found] if "tile_cap_256" in compat else found)
    return lists

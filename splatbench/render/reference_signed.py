"""The definition of blend `signed`, in float64 PyTorch: slow, plain, on any device, differentiable by autograd.

    image[y, x] = sum over n of w_n(x, y) colour_n,    w = min(0.999, exp(-s)),    s = 1/2 d^T S^-1 d,
    d = (x + 1/2, y + 1/2) - mean,    where s >= 0 and exp(-s) >= 1/255

S is any symmetric matrix with a determinant other than 0 ("Large Images are Gaussians", Zhu et al., AAAI 2025, fits its
elements directly, and its released renderer draws what comes). Where S is indefinite, w does not vanish far away along
the lines s = 0, so its end is part of the definition: a Gaussian is seen by the tiles of 16 x 16 pixels that a square
around its mean touches. With m the mean of the diagonal the half side is ceil(3 sqrt(l)),
l = m + sqrt(max(0.1, m^2 - det S)); where l <= 0 nothing is seen.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from splatbench.gaussians import MIN_WEIGHT

from .reference import TILE, by_tiles

MAX_WEIGHT = 0.999
#: Of the published gradient of colours.
PUBLISHED_COLOR_WEIGHT = 0.99
_LIMIT = -math.log(MIN_WEIGHT)


def rasterize_signed_reference(
    means: Tensor, covariance: Tensor, colors: Tensor, size: tuple[int, int], published_gradient: bool = False
) -> Tensor:
    """Picture of blend `signed`, not clamped.

    Args:
        means: [N, 2] (x, y) in pixels.
        covariance: [N, 3] (Sxx, Sxy, Syy), any sign. The gradient with respect to Sxy is the true derivative.
        colors: [N, C].
        size: (H, W).
        published_gradient: limits weights in the gradient of colours to 0.99, and none in that of means and matrices.

    Returns:
        [H, W, C] float64. Gaussians with a singular matrix, or with a mean or matrix that is not finite, are dropped
        and get zero gradients.
    """
    keep = _regular(means, covariance)
    means, covariance, colors = means[keep].double(), covariance[keep].double(), colors[keep].double()
    lists = _tile_lists(means.detach(), covariance.detach(), size)

    def tile(x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        s = _exponents(x, y, means[ids], covariance[ids])
        inside = (s >= 0) & (s <= _LIMIT)
        # the inner `where` keeps 0 * inf out of the gradient
        response = torch.where(inside, torch.exp(-torch.where(inside, s, 0.0)), 0.0)
        image = torch.einsum("nyx,nc->yxc", response.clamp(max=MAX_WEIGHT), colors[ids])
        if not published_gradient:
            return image
        by_color = torch.einsum("nyx,nc->yxc", response.detach().clamp(max=PUBLISHED_COLOR_WEIGHT), colors[ids])
        by_shape = torch.einsum("nyx,nc->yxc", response, colors[ids].detach())
        differentiated = by_color + by_shape
        return image.detach() + differentiated - differentiated.detach()

    return by_tiles(tile, lists, size)


def _regular(means: Tensor, covariance: Tensor) -> Tensor:
    """Indices of Gaussians that can be drawn."""
    sxx, sxy, syy = covariance.detach().double().unbind(1)
    det = sxx * syy - sxy * sxy
    finite = torch.isfinite(means.detach()).all(1) & torch.isfinite(covariance.detach()).all(1)
    return (finite & torch.isfinite(det) & (det != 0)).nonzero()[:, 0]


def _exponents(x: Tensor, y: Tensor, means: Tensor, covariance: Tensor) -> Tensor:
    """[N, len(y), len(x)]: 1/2 d^T S^-1 d."""
    sxx, sxy, syy = (v[:, None, None] for v in covariance.unbind(1))
    dx, dy = (x - means[:, :1])[:, None, :], (y - means[:, 1:])[:, :, None]
    return (syy * dx * dx - 2 * sxy * dx * dy + sxx * dy * dy) / (2 * (sxx * syy - sxy * sxy))


def _tile_lists(means: Tensor, covariance: Tensor, size: tuple[int, int]) -> list[list[Tensor]]:
    """For each tile, by row and column, the Gaussians that it sees, ascending."""
    sxx, sxy, syy = covariance.unbind(1)
    half = (sxx + syy) / 2
    largest = half + (half * half - (sxx * syy - sxy * sxy)).clamp_min(0.1).sqrt()
    radius = torch.ceil(3 * largest.clamp_min(0).sqrt())[:, None]
    tiles = means.new_tensor([-(-size[1] // TILE), -(-size[0] // TILE)])
    first = (means / TILE - radius / TILE).trunc().clamp_min(0).minimum(tiles)
    last = (means / TILE + radius / TILE + 1).trunc().clamp_min(0).minimum(tiles)
    seen = largest > 0
    columns = [seen & (first[:, 0] <= x) & (x < last[:, 0]) for x in range(int(tiles[0]))]
    rows = [(first[:, 1] <= y) & (y < last[:, 1]) for y in range(int(tiles[1]))]
    return [[(row & column).nonzero()[:, 0] for column in columns] for row in rows]

"""The definition of blend `alpha`, in float64 PyTorch: slow, plain, on any device, differentiable by autograd.

Front to back, in the order of the Gaussians, a pixel with transmittance T (1 at first) meets Gaussians of

    alpha_n = min(0.999, opacity_n exp(-1/2 d^T S_n^-1 d))   where that is at least 1/255, else none,

adds T alpha_n colour_n, and goes on with T (1 - alpha_n), unless that would be 1e-4 or less: then this Gaussian and
all behind it are left out. The background is seen through the T that remains (Kerbl et al., "3D Gaussian Splatting",
ACM TOG 2023; constants of gsplat 1.5).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from splatbench.gaussians import MIN_WEIGHT

from .reference import by_tiles, drawable, responses, tile_lists

MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4


def rasterize_alpha_reference(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    opacities: Tensor,
    size: tuple[int, int],
    background: Tensor | None = None,
) -> Tensor:
    """Picture of blend `alpha`, not clamped.

    Args:
        means: [N, 2] (x, y) in pixels, from front to back.
        covariance: [N, 3] (Sxx, Sxy, Syy) in square pixels. The gradient with respect to Sxy is the true derivative.
        colors: [N, C].
        opacities: [N] in [0, 1].
        size: (H, W).
        background: [C], default black.

    Returns:
        [H, W, C] float64. Gaussians with a singular covariance, or with a mean or covariance that is not finite, are
        dropped and get zero gradients. What an alpha beyond 0.999 comes from has no gradient there.
    """
    keep = drawable(means, covariance)
    means, covariance, colors = means[keep].double(), covariance[keep].double(), colors[keep].double()
    opacities = opacities[keep].double()
    limit = -math.log(MIN_WEIGHT)

    def tile(x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        alpha = opacities[ids, None, None] * responses(x, y, means[ids], covariance[ids], limit)
        alpha = torch.where(alpha >= MIN_WEIGHT, alpha.clamp(max=MAX_ALPHA), 0.0)
        before = torch.cat([torch.ones_like(alpha[:1]), (1 - alpha).cumprod(0)])
        alpha = torch.where(before[1:] > MIN_TRANSMITTANCE, alpha, 0.0)
        image = torch.einsum("nyx,nc->yxc", before[:-1] * alpha, colors[ids])
        return image if background is None else image + (1 - alpha).prod(0)[..., None] * background.double()

    return by_tiles(tile, tile_lists(means.detach(), covariance.detach(), size, frozenset(), limit), size)

"""The definition of blend `topk`, in float64 PyTorch: slow, plain, on any device, differentiable by autograd.

    image[y, x] = sum of a_n colour_n / (S + epsilon) over the k Gaussians with the largest responses at this pixel,
    a_n = exp(-1/2 d^T S_n^-1 d) >= min_response,   S = sum of these a_n

(Zhang et al., "Image-GS", SIGGRAPH 2025). It judges the fast kernels, and draws where there are none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from splatbench.gaussians import TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE

from .reference import by_tiles, drawable, responses, tile_lists


def rasterize_topk_reference(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    k: int = TOP_K,
    epsilon: float = TOPK_EPSILON,
    min_response: float = TOPK_MIN_RESPONSE,
    compat: frozenset[str] = frozenset(),
) -> Tensor:
    """Picture of blend `topk`, not clamped. Of equal responses the lower index is chosen; the choice has no gradient.

    Args:
        means: [N, 2] (x, y) in pixels.
        covariance: [N, 3] (Sxx, Sxy, Syy) in square pixels. The gradient with respect to Sxy is the true derivative.
        colors: [N, C].
        size: (H, W).
        k: how many Gaussians a pixel averages, at least 1.
        epsilon: positive.
        min_response: in (0, 1].
        compat: empty, or {"tiles_3sigma"}: all pixels of the tiles that it names for a Gaussian see it, with any
            response, and no other pixel does; min_response is then ignored.

    Returns:
        [H, W, C] float64. Gaussians with a singular covariance, or with a mean or covariance that is not finite, are
        dropped and get zero gradients.
    """
    keep = drawable(means, covariance)
    means, covariance, colors = means[keep].double(), covariance[keep].double(), colors[keep].double()
    limit = math.inf if compat else -math.log(min_response)

    def tile(x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        a = responses(x, y, means[ids], covariance[ids], limit)
        chosen = a.detach().sort(dim=0, descending=True, stable=True).indices[:k]
        a = a.gather(0, chosen)
        return torch.einsum("kyx,kyxc->yxc", a / (a.sum(0) + epsilon), colors[ids][chosen])

    return by_tiles(tile, tile_lists(means.detach(), covariance.detach(), size, compat, limit), size)

"""The covariance gradient of the released kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _PublishedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, covariance: Tensor) -> Tensor:
        ctx.save_for_backward(covariance)
        return covariance.view_as(covariance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        xx, xy, yy = ctx.saved_tensors[0].unbind(1)
        g_xx, g_xy, g_yy = grad.unbind(1)
        det = xx * yy - xy * xy
        a, b, c = yy / det, -xy / det, xx / det
        g_b = -(2 * xy * (xx * g_xx + yy * g_yy) + (xx * yy + xy * xy) * g_xy)
        published = torch.stack([g_xx - g_b * a * b, g_xy - g_b * (a * c + b * b), g_yy - g_b * b * c], 1)
        # What is not drawn may be singular or infinite, and 0 times infinity is NaN.
        return torch.where((grad != 0).any(1, keepdim=True), published, 0.0)


def published_gradient(covariance: Tensor) -> Tensor:
    """The covariance unchanged, with the gradient that the released kernels pass on to scales and angles.

    With the conic X = S^-1 = [[A, B], [B, C]] and the gradients gA, gB, gC by it, the true gradient of S is
    V = -X [[gA, gB/2], [gB/2, gC]] X, of which the parameters see V11, V12 + V21 and V22. The released code puts gB
    for gB/2: V' = V - gB/2 X J X with J = [[0, 1], [1, 0]].

    Args:
        covariance: [N, 3] float64 (Sxx, Sxy, Syy); Gaussians without a gradient keep none, whatever their covariance.
    """
    same: Tensor = _PublishedGradient.apply(covariance)
    return same

"""The covariance gradient of released kernels: those of Image-GS, which Fast-2DGS uses too, and of Instant-GI."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _PublishedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, covariance: Tensor, offdiagonal: float) -> Tensor:
        ctx.save_for_backward(covariance)
        ctx.offdiagonal = offdiagonal
        return covariance.view_as(covariance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        xx, xy, yy = ctx.saved_tensors[0].unbind(1)
        g_xx, g_xy, g_yy = grad.unbind(1)
        det = xx * yy - xy * xy
        a, b, c = yy / det, -xy / det, xx / det
        g_b = -(2 * xy * (xx * g_xx + yy * g_yy) + (xx * yy + xy * xy) * g_xy)
        g_xy, k = g_xy - g_b * (a * c + b * b), ctx.offdiagonal
        published = torch.stack([g_xx - g_b * a * b, k * g_xy, g_yy - g_b * b * c], 1)
        # What is not drawn may be singular or infinite, and 0 times infinity is NaN.
        return torch.where((grad != 0).any(1, keepdim=True), published, 0.0), None


def published_gradient(covariance: Tensor, offdiagonal: float = 2.0) -> Tensor:
    """The covariance unchanged, with the gradient that the released kernels pass on to scales and angles.

    With the conic X = S^-1 = [[A, B], [B, C]] and the gradients gA, gB, gC by it, the true gradient is
    V = -X [[gA, gB/2], [gB/2, gC]] X, of which the parameters see V11, V12 + V21 and V22. The released code puts gB
    for gB/2: V' = V - gB/2 X J X with J = [[0, 1], [1, 0]]. Image-GS's also counts V12 + V21 twice, which gives
    (V'11, 4 V'12, V'22): at angle 0 four times the true gradient of the angle, and the true one of the scales.
    Instant-GI's gives (V'11, 2 V'12, V'22).

    Args:
        covariance: [N, 3] float64 (Sxx, Sxy, Syy); Gaussians without a gradient keep none, whatever their covariance.
        offdiagonal: how often V'12 + V'21 counts: 2 (Image-GS), 1 (Instant-GI).
    """
    same: Tensor = _PublishedGradient.apply(covariance, offdiagonal)
    return same

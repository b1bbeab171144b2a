"""Blend `signed`: sums of Gaussians whose covariances may be any symmetric matrices, as a differentiable operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .cpu_signed import SignedRasterizer
from .drawing import as_numpy
from .lease import Lease
from .ops import check_arguments
from .reference_signed import rasterize_signed_reference


class _Signed(torch.autograd.Function):
    """On the CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariance: Tensor,
        colors: Tensor,
        size: tuple[int, int],
        published_gradient: bool,
        out: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(means, covariance, colors)
        if out is not None:
            ctx.mark_dirty(out)
        ctx.lease, ctx.published_gradient = Lease(SignedRasterizer), published_gradient
        rasterizer = ctx.lease.rasterizer
        rasterizer.take(*(as_numpy(v) for v in (means, covariance, colors)), np.empty(0, np.float32), size, True)
        image = torch.empty((*size, 3)) if out is None else out
        rasterizer.draw(image.detach().numpy())
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        _ = ctx.saved_tensors  # raises where an input was changed in place
        gradients = ctx.lease.rasterizer.backward(as_numpy(grad), ctx.published_gradient)
        return *(torch.from_numpy(g) for g in gradients), None, None, None


def rasterize_signed(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    *,
    published_gradient: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Differentiable picture of blend `signed`, by fast kernels on the CPU, by the float64 reference elsewhere;
    `reference_signed` has the definition.

    Args:
        means: [N, 2] float32, (x, y) in pixels; the centre of the first pixel is at (0.5, 0.5).
        covariance: [N, 3] float64, (Sxx, Sxy, Syy), any symmetric matrix. The gradient of Sxy is the true derivative.
            Singular ones, and what is not finite, are left out and get zero gradients.
        colors: [N, 3] float32.
        size: (H, W), each at least 1.
        published_gradient: as the released code of LIG has it: the gradient of a colour limits weights to 0.99 instead
            of 0.999, that of a mean or covariance ignores the limit.
        out: [H, W, 3] float32, contiguous, on the same device: written and returned.

    Returns:
        [H, W, 3] float32, not clamped.

    Raises:
        ValueError: shapes or types that do not fit.
    """
    check_arguments(means, covariance, colors, size, frozenset(), out)
    if means.ndim != 2 or colors.shape[1] != 3:
        raise ValueError(f"rasterize_signed draws one picture of 3 channels, got colours {list(colors.shape)}")
    if means.device.type == "cpu":
        image: Tensor = _Signed.apply(means, covariance, colors, size, published_gradient, out)
        return image
    image = rasterize_signed_reference(means, covariance, colors, size, published_gradient).float()
    return image if out is None else out.copy_(image)

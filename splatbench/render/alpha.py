"""Blend `alpha` on the CPU as a differentiable operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from .cpu_alpha import AlphaRasterizer
from .drawing import as_numpy
from .lease import Lease


class _Alpha(torch.autograd.Function):
    """Three channels."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariance: Tensor,
        colors: Tensor,
        opacities: Tensor,
        background: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        ctx.lease = Lease(AlphaRasterizer)
        rasterizer = ctx.lease.rasterizer
        rasterizer.take(*(as_numpy(v) for v in (means, covariance, colors, opacities)), size, False)
        image = torch.empty((*size, 3))
        rasterizer.draw(as_numpy(background), image.numpy())
        ctx.save_for_backward(means, covariance, colors, opacities, image)
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        rasterizer, image = ctx.lease.rasterizer, ctx.saved_tensors[-1]
        gradients = [torch.from_numpy(g) for g in rasterizer.backward(image.numpy(), as_numpy(grad))]
        by_background = None
        if ctx.needs_input_grad[4]:
            through = torch.empty_like(image)
            for channel in ("c0", "c1", "c2"):
                rasterizer.records[channel] = 0
            rasterizer.draw(np.ones(3, np.float32), through.numpy())
            by_background = (through * grad).sum((0, 1))
        return *gradients, by_background, None


def composite(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    opacities: Tensor,
    size: tuple[int, int],
    background: Tensor | None,
) -> Tensor:
    """The picture of tensors on the CPU; see `rasterize_alpha`, which checks them."""
    channels = colors.shape[1]
    behind = colors.new_zeros(channels) if background is None else background
    colors, behind = (pad(value, (0, -channels % 3)) for value in (colors, behind))
    parts = zip(colors.split(3, 1), behind.split(3), strict=True)
    images = [_Alpha.apply(means, covariance, part, opacities, under, size) for part, under in parts]
    return images[0] if channels == 3 else torch.cat(images, 2)[..., :channels]

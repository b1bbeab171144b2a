"""The losses of Instant-GI's training (released code)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def focal(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of (1 - exp(-|e|))^2 e^2 with e = target - predicted, which small errors hardly enter."""
    error = target - predicted
    return ((1 - torch.exp(-error.abs())).square() * error.square()).mean()


def pixel_weights(probability: Tensor) -> Tensor:
    """1 / (P + 0.01) within 1 and 10: errors count more where there are few Gaussians."""
    return (1 / (probability.detach() + 0.01)).clamp(1, 10)


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of every pixel and channel (Wang et al. 2004): Gaussian window 11 x 11, sigma 1.5, zeros beyond the picture.

    Args:
        x, y: [B, C, H, W] float32, range 1.
    """
    at = torch.arange(-5, 6, dtype=x.dtype, device=x.device)
    window = torch.exp(-at.square() / (2 * 1.5**2))
    window = window / window.sum()
    channels = x.shape[1]
    row, column = (window.reshape(shape).expand(channels, 1, *shape) for shape in ((1, 11), (11, 1)))

    def blurred(picture: Tensor) -> Tensor:
        rows = functional.conv2d(picture, row, padding=(0, 5), groups=channels)
        return functional.conv2d(rows, column, padding=(5, 0), groups=channels)

    mx, my = blurred(x), blurred(y)
    vx, vy, vxy = blurred(x * x) - mx * mx, blurred(y * y) - my * my, blurred(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def short_scales(scales: Tensor, least: float) -> Tensor:
    """Mean of what scales [N, 2] in pixels lack of `least`."""
    return functional.relu(least - scales).mean()

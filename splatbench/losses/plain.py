"""The objective made of torch operations: for devices without kernels of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from .ssim import C1, C2, REACH, TAPS

if TYPE_CHECKING:
    from .objective import Objective


def plain_loss(image: Tensor, target: Tensor, objective: Objective) -> Tensor:
    """The value of `objective(image, target)`; `image` may also be float64."""
    if objective.clamp:
        # not torch.clamp: whether that passes the gradient at 0 and 1 depends on the version of torch
        image = torch.where((image >= 0) & (image <= 1), image, image.detach().clamp(0, 1))
    wanted = target.to(image.dtype) / 255 if target.dtype == torch.uint8 else target
    difference = image - wanted
    value = objective.l1 * difference.abs().mean() + objective.l2 * difference.square().mean()
    if objective.ssim:
        value = value + objective.ssim * _dissimilarity(difference, wanted, objective.window == "valid")
    return value


def _dissimilarity(difference: Tensor, target: Tensor, valid: bool) -> Tensor:
    """1 - SSIM from the difference to the target, in the form of `cpu_ssim.py`."""
    d, t = (x.permute(2, 0, 1)[:, None] for x in (difference, target))
    window = torch.tensor(TAPS, dtype=torch.float64).to(d)
    padding = 0 if valid else REACH

    def mean(x: Tensor) -> Tensor:
        down = conv2d(x, window[None, None, :, None], padding=(padding, 0))
        return conv2d(down, window[None, None, None, :], padding=(0, padding))

    mean_t, mean_d = mean(t), mean(d)
    square = mean_d.square()
    a1 = mean_t * (2 * mean_t + 2 * mean_d) + C1
    a2 = 2 * (mean(t * t) - mean_t.square() + mean(t * d) - mean_t * mean_d) + C2
    variance = mean(d * d) - square
    b1, b2 = a1 + square, a2 + variance
    return ((a1 * variance + square * b2) / (b1 * b2)).mean()

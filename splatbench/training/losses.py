"""A loss that several tasks share."""

from __future__ import annotations

from torch import Tensor

#: Keeps the logarithm finite: 50 dB.
FLOOR = 1e-5


def log_mse(pictures: Tensor, targets: Tensor) -> Tensor:
    """PSNR in units of -10 dB: the mean over pictures of log10(MSE + 1e-5).

    Args:
        pictures, targets: [B, C, H, W].
    """
    return ((pictures - targets).square().mean((1, 2, 3)) + FLOOR).log10().mean()

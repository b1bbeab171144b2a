"""The loss of rendering supervision: pictures of a batch against their images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from splatbench.losses import Objective
from splatbench.training.losses import log_mse


@dataclass(frozen=True)
class RenderingLoss:
    """l1 L1 + ssim (1 - SSIM) + log_mse log10(MSE + 1e-5), the mean over the pictures of a batch.

    The first two are the paper's (0.7 and 0.3). The third, ours, is PSNR in units of -10 dB.

    Attributes:
        l1, ssim, log_mse: weights, not negative.
    """

    l1: float
    ssim: float
    log_mse: float = 0.0

    def __call__(self, pictures: Tensor, targets: Tensor) -> Tensor:
        """A scalar, float32, of pictures and images [B, 3, H, W], not clamped."""
        total = pictures.new_zeros(())
        if self.l1 or self.ssim:
            objective = Objective(l1=self.l1, ssim=self.ssim)
            for picture, target in zip(pictures, targets, strict=True):
                drawn, wanted = (x.permute(1, 2, 0).contiguous() for x in (picture, target))
                total = total + objective(drawn, wanted) / len(pictures)
        if self.log_mse:
            total = total + self.log_mse * log_mse(pictures, targets)
        return total

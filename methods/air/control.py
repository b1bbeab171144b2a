"""Stage Control: which patches get another Gaussian (AIR paper, Sec. 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .patches import PatchGrid

_C1, _C2, _EPSILON = 0.01**2, 0.03**2, 1e-8


@dataclass(frozen=True)
class StageControl:
    """A patch is active while its PSNR is below one threshold or its SSIM below the other.

    Attributes:
        psnr: in dB, peak 1; None: this criterion is off. With both off every patch is active.
        ssim: in (0, 1]; None: off.
        most: at most so many Gaussians in all stages together; the patches with the smallest errors go without.
            None: no limit. Ours.
        when_none: what happens where no patch of a picture is active. "skip": nothing is added. "all": every patch
            gets a Gaussian, as in the released code.

    Raises:
        ValueError: a threshold out of range.
    """

    psnr: float | None = 35.0
    ssim: float | None = 0.95
    when_none: Literal["skip", "all"] = "skip"
    most: int | None = None

    def __post_init__(self) -> None:
        if self.psnr is not None and not math.isfinite(self.psnr):
            raise ValueError(f"Stage Control: the PSNR threshold must be a finite number of dB, got {self.psnr}")
        if self.ssim is not None and not 0 < self.ssim <= 1:
            raise ValueError(f"Stage Control: the SSIM threshold must be in (0, 1], got {self.ssim}")
        if self.most is not None and self.most < 1:
            raise ValueError(f"Stage Control: at least one Gaussian must be allowed, got {self.most}")

    @torch.no_grad()
    def active(self, picture: Tensor, target: Tensor, grid: PatchGrid, before: Tensor | None = None) -> Tensor:
        """bool [B, L], the patches that get a Gaussian in the next stage.

        Args:
            picture: [B, 3, H, W], what has been drawn so far, not clamped.
            target: [B, 3, H, W].
            grid: the patches.
            before: [B] integers, Gaussians of earlier stages; only a limit looks at them. None: none.
        """
        chosen = torch.zeros(len(picture), len(grid), dtype=torch.bool, device=picture.device)
        drawn, wanted = grid.blocks(picture), grid.blocks(target)
        if self.psnr is None and self.ssim is None:
            chosen = ~chosen
        if self.psnr is not None:
            chosen |= patch_mse(drawn, wanted) > 10 ** (-self.psnr / 10)
        if self.ssim is not None:
            chosen |= 1 - patch_ssim(drawn, wanted) > 1 - self.ssim
        if self.when_none == "all":
            chosen |= ~chosen.any(1, keepdim=True)
        if self.most is not None:
            left = self.most - (torch.zeros_like(chosen[:, 0], dtype=torch.long) if before is None else before)
            chosen = largest(patch_mse(drawn, wanted), chosen, left)
        return chosen


def largest(error: Tensor, chosen: Tensor, count: Tensor) -> Tensor:
    """bool [B, L]: of the chosen patches those with the largest errors [B, L], at most `count` [B] of each picture; of
    equal ones the first."""
    order = torch.argsort(error.masked_fill(~chosen, -1.0), dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return chosen & (rank < count[:, None])


def patch_mse(drawn: Tensor, wanted: Tensor) -> Tensor:
    """[B, C, L, p*p] twice -> [B, L]: mean squared error of each patch over pixels and channels."""
    return (drawn - wanted).square().mean((1, 3))


def patch_ssim(drawn: Tensor, wanted: Tensor) -> Tensor:
    """[B, C, L, p*p] twice -> [B, L]: one SSIM value per patch, without a window, the mean over the channels.

    Population variances; 1e-8 is added to the denominator, whose least value is 9e-8: a patch that is exactly black in
    both pictures has 0.9 and stays active (released code).
    """
    mean_x, mean_y = drawn.mean(3), wanted.mean(3)
    centred_x, centred_y = drawn - mean_x[..., None], wanted - mean_y[..., None]
    var_x, var_y = centred_x.square().mean(3), centred_y.square().mean(3)
    covariance = (centred_x * centred_y).mean(3)
    above = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    below = (mean_x.square() + mean_y.square() + _C1) * (var_x + var_y + _C2) + _EPSILON
    return (above / below).mean(1)

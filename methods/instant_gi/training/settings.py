"""Settings of Instant-GI's training, each with its source: [P] Zeng et al., ICCV 2025; [C] the released code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splatbench.gaussians import COMPAT_FLAGS

from ..network.small import SmallSettings


@dataclass(frozen=True)
class Settings:
    """The part of a training file that is Instant-GI's own.

    Raises:
        ValueError: a value out of range.
    """

    network: Literal["small", "official"] = "small"  # Instant-GI-small (ours), or the published one
    block: int = 3  # k [C]; the published weights for 4 come from a training of their own
    widths: tuple[int, ...] = SmallSettings.widths  # ours; official: (128, 256, 512, 1024) [C]
    blocks: tuple[int, ...] = SmallSettings.blocks  # ours; official: depths (3, 3, 27, 3) [C]
    up_blocks: tuple[int, ...] = SmallSettings.up_blocks  # Instant-GI-small only
    gamma: float = 0.1  # official: layer scales at first. [C] those of an encoder trained on ImageNet
    drawing: Literal["exact", "published"] = "exact"  # [C] tiles of 3 sigma, 256 per tile
    gradient: Literal["exact", "published"] = "exact"  # [C] doubles the conic's off-diagonal

    mse: float = 0.7  # [C] of the squared error, weighted by `sparse_weight`
    ssim: float = 0.3  # [C] of 1 - SSIM, weighted likewise
    sparse_weight: bool = True  # [C] pixels weigh 1 / (position probability + 0.01), within 1 and 10
    log_mse: float = 0.0  # weight of log10 of the mean squared error of each picture, the PSNR itself. Ours.
    position: float = 1.0  # [C] weight of the position probability's loss
    scale: float = 10.0  # [C] weight of what scales lack of `least_scale`, mean over both
    least_scale: float = 0.5  # px [C]

    teacher: int = 0  # steps at first in which the labels are dithered, not the network's own probabilities. Ours.
    density: tuple[float, float] = (1.0, 1.0)  # factors of the probability before dithering, log-uniform. Ours.

    def __post_init__(self) -> None:
        weights = (self.mse, self.ssim, self.log_mse)
        if min(*weights, self.position, self.scale, self.least_scale) < 0 or not any(weights):
            raise ValueError("Instant-GI: weights must not be negative, and mse, ssim and log_mse not all 0")
        if self.gamma <= 0:
            raise ValueError(f"Instant-GI: gamma must be positive, got {self.gamma}")
        if self.teacher < 0:
            raise ValueError(f"Instant-GI: teacher must not be negative, got {self.teacher}")
        if not 0 < self.density[0] <= self.density[1]:
            raise ValueError(f"Instant-GI: density needs positive factors, the lower one first, got {self.density}")

    def small(self) -> SmallSettings:
        return SmallSettings(self.block, self.widths, self.blocks, self.up_blocks)

    @property
    def compat(self) -> frozenset[str]:
        return frozenset(COMPAT_FLAGS if self.drawing == "published" else ())

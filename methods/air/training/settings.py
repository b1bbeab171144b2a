"""Settings of AIR's training, each with its source: [P] Zeng et al., arXiv 2605.20820; [C] the released code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splatbench.gaussians import COMPAT_FLAGS

from ..control import StageControl
from ..network.small import SmallSettings
from ..patches import RAW
from ..stages import Drawing


@dataclass(frozen=True)
class Settings:
    """The part of a training file that is AIR's own.

    Raises:
        ValueError: a value out of range.
    """

    network: Literal["small", "official"] = "small"  # AIR-small (ours), or the published one
    patch: int = 7  # [P] Sec. 4.1
    stages: int = 4  # [P]
    width: int = 96  # AIR-small only, as the next four
    blocks: int = 3
    shared: bool = False
    sees_target: bool = False
    sees_features: bool = False
    dinov3: str = ""  # official only: file of the DINOv3 ViT-B/16 weights that all encoders start from [P]
    checkpointing: bool = True  # official only: less memory for more time [C]

    psnr_threshold: float | None = 35.0  # [P] Sec. 3.3
    ssim_threshold: float | None = 0.95  # [P] Sec. 3.3
    when_none: Literal["skip", "all"] = "skip"  # [C] "all"
    drawing: Literal["exact", "published"] = "exact"  # [C] stretched positions, tiles of 3 sigma, 256 per tile
    gradient: Literal["exact", "published"] = "exact"  # [C] counts dL/dSxy twice

    l1: float = 0.7  # [P] Sec. 3.5
    ssim: float = 0.3  # [P] Sec. 3.5
    log_mse: float = 0.0  # weight of log10 of the mean squared error of each picture, the PSNR itself. Ours.
    stage_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # [C]

    pod_steps: tuple[int, ...] = (20, 40, 60, 80)  # K of each stage [C]
    pod_lr: float = 1e-3  # of the inner Adam [C]
    pod_scale: float = 100.0  # factor in front of the distillation loss [C]
    milestones: tuple[int, ...] = (0, 20_000, 40_000, 60_000)  # [P]; [C] in fact 0, 30, 50, 70 thousand

    ranges: Literal["adaptive", "global", "per_image"] = "adaptive"  # [P] Sec. 3.6
    bits: tuple[int, ...] = (8, 8, 7, 7, 7, 8, 4, 4)  # dx, dy, s1, s2, angle, Y, Cr, Cb [P]; AIR-small only
    spans: tuple[tuple[float, float], ...] | None = None  # lowest and highest value of these; null: percentiles of the
    # first batch. AIR-small only; the published network's are constants of its code.
    penalty: float = 0.01  # gamma of the quantisation error [C]

    def __post_init__(self) -> None:
        if min(self.l1, self.ssim, self.log_mse) < 0 or not (self.l1 or self.ssim or self.log_mse):
            raise ValueError("AIR: l1, ssim and log_mse must not be negative, and not all 0")
        for name in ("stage_weights", "pod_steps", "milestones"):
            if len(getattr(self, name)) != self.stages:
                raise ValueError(f"AIR: {name} needs {self.stages} values, one per stage; got {getattr(self, name)}")
        if self.network == "official" and self.ranges != "adaptive":
            raise ValueError(
                f"AIR: the published network has adaptive ranges; `ranges: {self.ranges}` can be trained for AIR-small"
            )
        if len(self.bits) != RAW or (self.spans is not None and len(self.spans) != RAW):
            raise ValueError(f"AIR: bits and spans need {RAW} values, one per channel of the quantiser")
        if self.network == "official" and (self.spans is not None or self.bits != Settings.bits):
            raise ValueError("AIR: the published network has constants for bits and spans; leave them out")
        if self.milestones[0] != 0 or list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"AIR: milestones must start at 0 and rise, got {self.milestones}")
        if min(self.pod_steps) < 1 or self.pod_lr <= 0:
            raise ValueError("AIR: pod_steps must be at least 1 and pod_lr positive")

    def small(self) -> SmallSettings:
        return SmallSettings(
            self.patch, self.stages, self.width, self.blocks, self.shared, self.sees_target, self.sees_features
        )

    def control(self) -> StageControl:
        return StageControl(self.psnr_threshold, self.ssim_threshold, self.when_none)

    def how_to_draw(self) -> Drawing:
        published = self.drawing == "published"
        return Drawing(published, frozenset(COMPAT_FLAGS if published else ()), self.gradient == "published")

"""Settings of AIR, each with its source.

Sources: [P] Z. Zeng et al., "AIR: Amortized Image Reconstruction Framework for Self-Supervised Feed-Forward 2D Gaussian
Splatting", arXiv 2605.20820, 2026; [C] the authors' released code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splatbench.gaussians import COMPAT_FLAGS

from .control import StageControl
from .stages import Drawing


@dataclass(frozen=True)
class Config:
    """Settings of one run.

    `preset: official` is how the released weights were trained and are run; the switches below it override it one by
    one. `preset: small` is AIR-small, with the exact mathematics.

    Raises:
        ValueError: a value out of range.
    """

    preset: Literal["small", "official"] = "small"
    weights: str = ""  # a file of weights; small: those that are shipped, official: must be given
    stages: int = 4  # at most so many [P] Sec. 4.1
    psnr_threshold: float | None = 35.0  # dB, a patch below it gets another Gaussian [P] Sec. 3.3; null: off
    ssim_threshold: float | None = 0.95  # [P] Sec. 3.3; null: off
    max_gaussians: int | None = None  # in all stages together; the patches with the smallest errors go without. Ours

    pixel_stretch: bool | None = None  # [C] draws a position x at x W / (W - 1); None: as the preset says
    tiles_3sigma: bool | None = None  # [C] 16x16 tiles see a Gaussian through a square of 3 sigma; None: preset
    tile_cap_256: bool | None = None  # [C] only the first 256 Gaussians of a tile are drawn; None: preset
    all_when_none: bool | None = None  # [C] a stage without active patches takes all of them; None: preset

    quantise: bool = False  # [P] Sec. 3.6
    ranges: Literal["adaptive", "global", "per_image"] = "adaptive"  # [P] Sec. 3.6 and Table VII
    precision: Literal["float32", "bfloat16"] = "float32"  # of the network; Gaussians and pictures are float32 [C]

    def __post_init__(self) -> None:
        if self.stages < 1:
            raise ValueError(f"stages must be at least 1, got {self.stages}")
        self.control()

    def _switch(self, name: str) -> bool:
        value: bool | None = getattr(self, name)
        return self.preset == "official" if value is None else value

    def control(self) -> StageControl:
        """Which patches get a Gaussian."""
        none = "all" if self._switch("all_when_none") else "skip"
        return StageControl(self.psnr_threshold, self.ssim_threshold, none, self.max_gaussians)

    def drawing(self) -> Drawing:
        """How Gaussians become a picture."""
        compat = frozenset(flag for flag in COMPAT_FLAGS if self._switch(flag))
        return Drawing(self._switch("pixel_stretch"), compat)

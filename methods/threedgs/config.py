"""Settings of 3D Gaussian splatting as an image representation, each with its source.

Sources: [C] the released training code of SmartSplat's comparison, whose model is GaussianImage's baseline; [P]
Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", ACM TOG 2023, arXiv 2308.04079.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splatbench.losses import Objective


@dataclass(frozen=True)
class Config:
    """Settings of one run.

    `preset` chooses between the published behaviour and a corrected one; the switch below it overrides it.

    Raises:
        ValueError: a value out of range.
    """

    preset: Literal["published", "corrected"] = "corrected"
    #: [P, C] a colour below 0 is 0, and has no gradient any more: before a white background all colours first darken,
    #: and where Gaussians are few most of them get stuck there. False (ours): colours are what they are. None: preset.
    clamp_colors: bool | None = None

    iterations: int = 50_000  # [C]
    learning_rate: float = 1e-3  # [C] Adan, for every parameter
    learning_rate_step: int = 20_000  # [C] StepLR
    learning_rate_factor: float = 0.5  # [C] StepLR
    sh_degree: Literal[0, 1, 2, 3] = 3  # [C], [P] Sec. 4: of the spherical harmonics of colours
    #: [C] mse; the runs that finished SmartSplat's DIV8K rows at CR 200 and 500 used 0.7 L1 + 0.3 (1 - SSIM)
    loss: Literal["mse", "l1_ssim"] = "mse"

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.learning_rate_step < 1:
            raise ValueError("iterations and learning_rate_step must be at least 1")
        if not (self.learning_rate > 0 and self.learning_rate_factor > 0):
            raise ValueError("learning_rate and learning_rate_factor must be positive")

    @property
    def clamps_colors(self) -> bool:
        return self.preset == "published" if self.clamp_colors is None else self.clamp_colors

    @property
    def objective(self) -> Objective:
        return Objective(l2=1.0) if self.loss == "mse" else Objective(l1=0.7, ssim=0.3)

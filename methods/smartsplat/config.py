"""Settings of SmartSplat, each with its source.

Sources: [P] Li et al., "SmartSplat: Feature-Smart Gaussians for Scalable Compression of Ultra-High-Resolution Images",
AAAI 2026, arXiv 2512.20377; [C] the authors' released code. Where they differ the released code is the default: the
paper's table is what it printed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from splatbench.gaussians import COMPAT_FLAGS


@dataclass(frozen=True)
class Config:
    """Settings of one run.

    `preset` chooses between the published renderer, errors included, and the corrected mathematics; the three switches
    below it override it one by one. The initialisation and the loss are those of the released code under both.

    Raises:
        ValueError: a value out of range.
    """

    preset: Literal["published", "corrected"] = "corrected"
    gradient: Literal["exact", "published"] | None = None  # [C] counts dL/dSxy twice; None: as the preset says
    tiles_3sigma: bool | None = None  # [C] 16x16 tiles see a Gaussian through a square of 3 sigma; None: preset
    tile_cap_256: bool | None = None  # [C] only the first 256 Gaussians of a tile are drawn; None: preset

    variational_share: float = 0.7  # [P] lambda_g, [C]: of the Gaussians, drawn by importance; the rest uniformly
    gradient_weight: float = 0.9  # [P] lambda_m, [C]: of the gradient in the importance; the rest is local variance
    tile_padding: Literal["zero", "halo"] = "zero"  # [C] zeros around every tile; "halo": the picture itself. Ours.
    uniform_rounds: int = 50  # [C]
    uniform_batch: int = 10_000  # [C] candidates of a round at most
    top_up: bool = False  # [C] never; True: rounds go on until no uniform sample is missing. Ours.
    knn_include_self: bool = True  # [C] a sample is one of its own three neighbours; the paper does not say so
    colour_weight_units: Literal["lattice", "pixel"] = "lattice"  # [C] distances in lattice steps; [P] in pixels
    theta_init: Literal["pi", "random"] = "pi"  # [C]; [P] random in [0, 2 pi)

    iterations: int = 50_000  # [P], [C]
    loss_lambda: float = 0.8  # [C] weight of L1, the rest is 1 - SSIM; [P] 0.9
    mean_lr: float = 1e-4  # [P], [C]; means run from -1 to 1
    colour_lr: float = 5e-3  # [P], [C]
    scale_lr: float = 5e-2  # [P], [C]; scales are in pixels
    rotation_lr: float = 1e-3  # [P], [C]; of the logit of theta / 2 pi
    eps: float = 1e-15  # [C] Adam's
    mean_lr_reference: int | None = None  # picture width in pixels whose step of the means is kept, for crops. Ours.

    quantise: bool = False  # refinement with quantised attributes, then their entropy-coded file. Ours: [P] has none.
    qat_iterations: int = 500  # ours, as all below
    position_bits: int | None = None  # None: a step of at most an eighth of s_base, or 16
    scale_bits: int = 7  # over 16 octaves: a step of an eighth of an octave
    angle_bits: int = 7  # over half a turn
    colour_bits: int = 9  # over [-4, 4): a step of 1/64

    def __post_init__(self) -> None:
        for name in ("iterations", "qat_iterations", "uniform_rounds", "uniform_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("mean_lr", "colour_lr", "scale_lr", "rotation_lr", "eps"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive, got {value}")
        for name in ("variational_share", "gradient_weight", "loss_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("position_bits", "scale_bits", "angle_bits", "colour_bits"):
            if getattr(self, name) is not None and not 1 <= getattr(self, name) <= 16:
                raise ValueError(f"{name} must be 1 to 16, got {getattr(self, name)}")
        if self.mean_lr_reference is not None and self.mean_lr_reference < 1:
            raise ValueError(f"mean_lr_reference is a width in pixels, got {self.mean_lr_reference}")

    @property
    def doubles_offdiagonal_gradient(self) -> bool:
        """Whether the off-diagonal covariance gradient is counted twice, as the published kernel does."""
        return (self.gradient or ("published" if self.preset == "published" else "exact")) == "published"

    @property
    def compat(self) -> frozenset[str]:
        """The compat flags of the Gaussians that this run makes."""
        published = self.preset == "published"
        return frozenset(
            flag for flag in COMPAT_FLAGS if (published if getattr(self, flag) is None else getattr(self, flag))
        )

"""Settings of GaussianImage, each with its source.

Sources: [P] Zhang et al., "GaussianImage: 1000 FPS Image Representation and Compression by 2D Gaussian Splatting",
ECCV 2024, arXiv 2403.08551; [C] the authors' released training code and scripts; [A] the protocol by which the AIR
paper ran this method (800 iterations on Kodak, 1000 on DIV2K, 300 quantisation-aware iterations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splatbench.gaussians import COMPAT_FLAGS


@dataclass(frozen=True)
class Config:
    """Settings of one run.

    `preset` chooses between the published behaviour, errors included, and the corrected mathematics; the three
    switches below it override it one by one.

    Raises:
        ValueError: a value out of range.
    """

    variant: Literal["cholesky", "rs"] = "cholesky"  # [P] Sec. 3.1: Cholesky is the default, RS the alternative
    preset: Literal["published", "corrected"] = "corrected"
    gradient: Literal["exact", "published"] | None = None  # [C] counts dL/dSxy twice; None: as the preset says
    tiles_3sigma: bool | None = None  # [C] 16x16 tiles see a Gaussian through a square of 3 sigma; None: preset
    tile_cap_256: bool | None = None  # [C] only the first 256 Gaussians of a tile are drawn; None: preset

    iterations: int = 50_000  # [P] Sec. 4.1, [C] scripts; [A] 800 (Kodak), 1000 (DIV2K)
    learning_rate: float = 1e-3  # [C] Adan for every parameter
    learning_rate_step: int = 20_000  # [C] StepLR
    learning_rate_factor: float = 0.5  # [C] StepLR

    quantise: bool = False  # quantisation-aware fitting after the representation, then the real codec
    qat_iterations: int = 50_000  # [C] default; [A] 300
    covariance_bits: int = 6  # [P] Sec. 3.3, [C]
    codebook_size: int = 8  # [C] residual vector quantisation of the colours
    codebook_stages: int = 2  # [C]
    codebook_decay: float = 0.8  # [C] exponential moving average of the codebooks
    commitment_weight: float = 1.0  # [C]
    kmeans_iterations: int = 5  # [C]
    order: Literal["fitted", "spatial"] = "spatial"  # order in the file; blending is a sum, so it is free. Ours.

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.qat_iterations < 1 or self.learning_rate_step < 1:
            raise ValueError("iterations, qat_iterations and learning_rate_step must be at least 1")
        if not (self.learning_rate > 0 and self.learning_rate_factor > 0):
            raise ValueError("learning_rate and learning_rate_factor must be positive")
        if not 1 <= self.covariance_bits <= 16:
            raise ValueError(f"covariance_bits must be 1 to 16, got {self.covariance_bits}")
        if not 1 <= self.codebook_size <= 256 or not 1 <= self.codebook_stages <= 8:
            raise ValueError("codebook_size must be 1 to 256 and codebook_stages 1 to 8")
        if not 0 <= self.codebook_decay < 1:
            raise ValueError(f"codebook_decay must be in [0, 1), got {self.codebook_decay}")

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

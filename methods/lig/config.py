"""Settings of LIG, each with its source.

Sources: [P] Zhu et al., "Large Images are Gaussians: High-Quality Large Image Representation with Levels of 2D Gaussian
Splatting", AAAI 2025, arXiv 2502.09039; [C] the behaviour of its released code; [S] how SmartSplat's comparison ran it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Config:
    """Settings of one run.

    `preset` chooses between the published behaviour and a corrected one; the two switches below it override it one by
    one.

    Raises:
        ValueError: a value out of range.
    """

    preset: Literal["published", "corrected"] = "corrected"
    #: "direct": the elements of the covariance are fitted, and may become those of no covariance [P Sec. 3.2, C].
    #: "cholesky": its factor is, so it stays one; drawn by the exact sum (ours). None: as the preset says.
    covariance: Literal["direct", "cholesky"] | None = None
    #: of "direct": [C] limits weights differently in gradients and in the picture. None: as the preset says.
    gradient: Literal["exact", "published"] | None = None
    #: "published": covariances start within a pixel whatever the budget [C]. "budget": all lengths are counted in radii
    #: of the disc that a Gaussian has to itself, at least a pixel: the start, and the steps with it (ours).
    footprint: Literal["published", "budget"] = "published"

    levels: int = 2  # [P, C] default
    allocation: float = 0.5  # [C] coarser levels get this much of what their share of the pixels is worth
    learning_rate: float = 0.018  # [C] Adam, for every parameter
    iterations: int = 50_000  # [S] for all levels together; [C] 30 000 for each
    split_iterations: bool = True  # [S] a level gets an equal part of the iterations; [C] False: all of them

    quantise: bool = False  # uniform codes in the file, rounded after the fit (ours; no quantiser was published)
    mean_bits: int = 16  # ours
    covariance_bits: int = 12  # ours
    color_bits: int = 8  # ours

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        if not 1 <= self.levels <= 8:
            raise ValueError(f"levels must be 1 to 8, got {self.levels}")
        if not 0 < self.allocation <= 1:
            raise ValueError(f"allocation must be in (0, 1], got {self.allocation}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        for name in ("mean_bits", "covariance_bits", "color_bits"):
            if not 1 <= getattr(self, name) <= 16:
                raise ValueError(f"{name} must be 1 to 16, got {getattr(self, name)}")

        if self.gradient == "published" and self.form == "cholesky":
            raise ValueError("gradient: published belongs to covariance: direct; a factor is drawn by the exact sum")

    @property
    def form(self) -> Literal["direct", "cholesky"]:
        """What stands for a covariance."""
        return self.covariance or ("direct" if self.preset == "published" else "cholesky")

    @property
    def published_gradient(self) -> bool:
        return (self.gradient or ("published" if self.preset == "published" else "exact")) == "published"

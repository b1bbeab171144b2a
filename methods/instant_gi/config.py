"""Settings of Instant-GI, each with its source.

Sources: [P] Z. Zeng et al., "Instant GaussianImage: A Generalizable and Self-Adaptive Image Representation via 2D
Gaussian Splatting", ICCV 2025, arXiv 2506.23479; [C] the authors' released code, branch master; [A] Z. Zeng et al.,
arXiv 2605.20820 (AIR), which reports the network's output without refinement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splatbench.gaussians import COMPAT_FLAGS


@dataclass(frozen=True)
class Config:
    """Settings of one run.

    `preset: official` is the published network as its authors run it; the switches below it override it one by one.
    `preset: small` is Instant-GI-small, a network of ours, with the exact mathematics.

    Raises:
        ValueError: a value out of range.
    """

    preset: Literal["small", "official"] = "small"
    weights: str = ""  # a file of weights; small: those that are shipped, official: epoch_best_ks_<block>.pth
    block: Literal[3, 4] = 3  # official only: side of the blocks of which one may hold a point, pixels [C]
    precision: Literal["float32", "bfloat16"] = "float32"  # of the network's convolutions [C]; Gaussians are float32
    start: Literal["network", "quad", "random"] = "network"  # of the refinement [C]

    batch_statistics: bool | None = None  # official only: [C] batch norms see the one picture; None: as the preset says
    tiles_3sigma: bool | None = None  # [C] 16x16 tiles see a Gaussian through a square of 3 sigma; None: preset
    tile_cap_256: bool | None = None  # [C] only the first 256 Gaussians of a tile are drawn; None: preset
    gradient: Literal["exact", "published"] | None = None  # [C] doubles the conic's off-diagonal; None: preset

    iterations: int = 0  # 0: what the network gives [A]; [C] 50 000, of which 1000 to 2000 are recommended
    learning_rate: float = 1e-3  # [C] Adan for every parameter
    learning_rate_step: int = 10_000  # [C] StepLR; GaussianImage: 20 000
    learning_rate_factor: float = 0.5  # [C] StepLR

    def __post_init__(self) -> None:
        if self.preset == "small" and (self.block != 3 or self.batch_statistics is not None):
            raise ValueError("block and batch_statistics are of the published network: they need preset: official")
        if self.iterations < 0 or self.learning_rate_step < 1:
            raise ValueError("iterations must be at least 0 and learning_rate_step at least 1")
        if not (self.learning_rate > 0 and self.learning_rate_factor > 0):
            raise ValueError("learning_rate and learning_rate_factor must be positive")

    def _switch(self, name: str) -> bool:
        value: bool | None = getattr(self, name)
        return self.preset == "official" if value is None else value

    @property
    def normalises_by_picture(self) -> bool:
        """Whether the batch norms of the published network use the statistics of the picture itself."""
        return self._switch("batch_statistics")

    @property
    def compat(self) -> frozenset[str]:
        """The compat flags of the Gaussians that this run makes."""
        return frozenset(flag for flag in COMPAT_FLAGS if self._switch(flag))

    @property
    def repeats_published_gradient(self) -> bool:
        """Whether the refinement follows the released kernels' covariance gradient."""
        return (self.gradient or ("published" if self.preset == "official" else "exact")) == "published"

"""Settings of Fast-2DGS' training, each with its source: [C] the released code, [P] arXiv 2512.12774."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..gather import Blending, Convention
from ..sampling import Sampling
from ..unet import Shape


@dataclass(frozen=True)
class Settings:
    """The part of a training file that is Fast-2DGS' own.

    Raises:
        ValueError: a value out of range.
    """

    base: int = 32  # c [C]
    k_dim: int = 16  # [C] 16, of the attributes with offset 64
    unshuffle: int = 1  # ours; 1 is the published network
    offset: bool = True  # phase attributes: Gaussians may leave their pixels ("Plus") [C]
    convention: Convention = "published"  # of both networks [C]; "exact": pixels stand for their centres (ours)
    heat: str = ""  # phase attributes: file or folder that the phase heat exported

    counts: tuple[int, int] = (10_000, 100_000)  # on 512 x 512 pixels: uniform up to the second, the first at least [C]
    sampling: tuple[Sampling, ...] = ("replacement",)  # [C]; of several each batch takes one at random (ours)
    gradient: Literal["exact", "published"] = "exact"  # [C] the released kernels' covariance gradient
    drawing: Literal["exact", "published"] = "exact"  # [C] tiles of 3 sigma
    # Phase attributes: statistics of each batch [C]; or fixed ones, so that the network learns with those that it is
    # used with (ours).
    norms: Literal["batch", "frozen"] = "batch"
    settle: int = 50  # steps at first in which the fixed statistics are taken, as means over all batches
    log_mse: float = 0.0  # phase attributes: log10 of each picture's MSE instead of L1 + L2, the PSNR itself. Ours.
    l1: float = 1.0  # both in the fits and the attributes [C]
    l2: float = 1.0  # [C]

    fit_steps: int = 200  # phase heat: of the fit that makes a label [C]
    fit_rate: float = 5e-3  # of its AdamW [C]
    position_rate: float | None = None  # of positions, in widths of a picture; null: `fit_rate`, as [C] has it at 512
    blur: float = 1.0  # px, sigma of the label [C]
    prior: float = 0.0  # phase heat: share of the labels whose fit starts from the picture's gradient instead of the
    # network's own proposal, falling to 0 at `prior_steps`. Ours.
    prior_steps: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.counts[0] <= self.counts[1]:
            raise ValueError(f"Fast-2DGS: counts are at least 1, the lower one first, got {self.counts}")
        if not self.sampling:
            raise ValueError("Fast-2DGS: name at least one way of sampling")
        if min(self.l1, self.l2, self.log_mse) < 0 or not (self.l1 or self.l2 or self.log_mse):
            raise ValueError("Fast-2DGS: l1, l2 and log_mse must not be negative, and not all 0")
        if not (self.heat or self.l1 or self.l2):
            raise ValueError("Fast-2DGS: the fits that make labels need l1 or l2")
        if self.fit_steps < 0 or self.fit_rate <= 0 or self.blur <= 0 or self.prior_steps < 1:
            raise ValueError("Fast-2DGS: fit_steps must not be negative; fit_rate, blur and prior_steps are positive")
        if self.settle < 1:
            raise ValueError(f"Fast-2DGS: settle must be at least 1, got {self.settle}")
        if not 0 <= self.prior <= 1:
            raise ValueError(f"Fast-2DGS: prior is a share, got {self.prior}")

    def blending(self) -> Blending:
        compat = frozenset({"tiles_3sigma"}) if self.drawing == "published" else frozenset()
        return Blending(compat=compat, gradient=self.gradient)

    def shape(self) -> Shape:
        return Shape(self.base, self.k_dim, self.unshuffle)

"""Settings of Fast-2DGS, each with its source.

Sources: [P] H. Wang et al., "Fast 2DGS: Efficient Image Representation with Deep Gaussian Prior", arXiv 2512.12774;
[C] the authors' released code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from splatbench.gaussians import TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE, TopkSettings

from .gather import Blending
from .sampling import Sampling

#: Side of the pictures of preset `paper512`, pixels [P].
PAPER_SIDE = 512

_OFFICIAL: dict[str, Any] = {
    "networks": "official",
    "sampling": "replacement",
    "weight_decay": 0.05,
    "position_rate": 2e-3,
    "scale_rate": 2e-3,
    "color_rate": 2e-3,
    "angle_rate": 2e-3,
    "min_scale": 0.0,
    "gradient": "published",
    "tiles_3sigma": True,
}
#: What the presets say; every other setting has one default for all of them.
PRESETS: dict[str, dict[str, Any]] = {
    # ours: Fast-2DGS-small, the exact mathematics
    "small": {
        "networks": "small",
        "sampling": "dither",
        "condition": "equivalent",
        "iterations": 0,
        "weight_decay": 0.0,
        "position_rate": 1e-3,
        "scale_rate": 5e-2,
        "color_rate": 5e-3,
        "angle_rate": 1e-2,
        "min_scale": 0.05,
        "gradient": "exact",
        "tiles_3sigma": False,
    },
    # the published networks and renderer, on pictures of any size
    "official": _OFFICIAL | {"condition": "equivalent", "iterations": 0},
    # the published protocol [C]: pictures of 512 x 512, fine-tuned for 3000 steps
    "paper512": _OFFICIAL | {"condition": "plain", "iterations": 3000},
}


@dataclass(frozen=True)
class Config:
    """Settings of one run.

    Settings that are None follow `preset`, and every one of them can be given by itself. `resolved()` fills them in.

    Raises:
        ValueError: a value out of range, or settings that contradict each other.
    """

    preset: Literal["small", "official", "paper512"] = "small"
    networks: Literal["small", "official"] | None = None  # whose weights
    weights: str = ""  # small: a file of weights; empty: the shipped one
    heat_weights: str = ""  # official: file of the heat network; empty: smp_heat_div2k, then smp_heat_500_0.0005 [C]
    attribute_weights: str = ""  # official; empty: smp_feat_best_psnr_26_plus, then smp_feat_best_psnr_26 [C]
    precision: Literal["float32", "bfloat16"] = "float32"  # of the networks [C]; Gaussians are float32

    start: Literal["network", "gradient", "random"] = "network"  # [P]; "random": all numbers U(0, 1), its control [C];
    # "gradient": pixels by squared gradients, their colours, round Gaussians of one size, as Image-GS starts
    sampling: Sampling | None = None  # of pixels from the heat map, or from gradients; [C] with replacement
    condition: Literal["plain", "equivalent"] | None = (
        None  # count that networks see: [C] as it is; ours: K 512^2 / (H W)
    )
    random_fraction: float = 0.3  # start gradient: share of uniform probability (Image-GS)
    start_scale: float = 0.6  # start gradient: standard deviation in units of sqrt(H W / K) (ours)

    iterations: int | None = None  # of fine-tuning; 0: feed-forward. [C] 3000, [P] 5000
    position_rate: float | None = None  # learning rates of AdamW, [C] 2e-3 each; in sides of the picture
    scale_rate: float | None = None  # px
    color_rate: float | None = None
    angle_rate: float | None = None  # radians
    weight_decay: float | None = None  # [C] 0.05, of all parameters, positions too
    plateau_factor: float = 0.7  # [C] ReduceLROnPlateau on the loss
    plateau_patience: int = 100  # [C] steps
    plateau_threshold: float = 1e-4  # [C] relative gain that counts (torch's default)
    min_rate: float = 1e-5  # [C]
    min_scale: float | None = None  # px, a floor: a scale of 0 is not drawn and never learns again (ours); [C] none

    k: int = TOP_K  # [C] Gaussians that a pixel averages
    epsilon: float = TOPK_EPSILON  # [C]
    min_response: float = TOPK_MIN_RESPONSE  # ours; not used under tiles_3sigma
    gradient: Literal["exact", "published"] | None = None  # [C] counts dL/d(off-diagonal) up to four times
    tiles_3sigma: bool | None = None  # [C] 16x16 tiles see a Gaussian through a square of 3 sigma

    def __post_init__(self) -> None:
        full = self.filled()
        for name in ("iterations", "weight_decay", "min_scale", "plateau_patience", "plateau_threshold", "min_rate"):
            if not (full[name] >= 0 and math.isfinite(full[name])):
                raise ValueError(f"{name} must not be negative, got {full[name]}")
        for name in ("position_rate", "scale_rate", "color_rate", "angle_rate", "start_scale"):
            if not (full[name] > 0 and math.isfinite(full[name])):
                raise ValueError(f"{name} must be positive, got {full[name]}")
        if not 0 < self.plateau_factor < 1:
            raise ValueError(f"plateau_factor must be between 0 and 1, got {self.plateau_factor}")
        if not 0 <= self.random_fraction <= 1:
            raise ValueError(f"random_fraction must be in [0, 1], got {self.random_fraction}")
        if full["networks"] == "small" and (self.heat_weights or self.attribute_weights):
            raise ValueError("heat_weights and attribute_weights name files of networks: official; use weights")
        if full["networks"] == "official" and self.weights:
            raise ValueError("weights names the file of networks: small; use heat_weights and attribute_weights")
        _ = self.blending  # its own checks

    def filled(self) -> dict[str, Any]:
        """All settings, None replaced by what `preset` says."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return own | {name: value for name, value in PRESETS[self.preset].items() if own[name] is None}

    def resolved(self) -> Config:
        """The same settings without None."""
        return Config(**self.filled())

    @property
    def blending(self) -> Blending:
        """How Gaussians are drawn, and which gradients they have."""
        full = self.filled()
        return Blending(
            TopkSettings(self.k, self.epsilon, self.min_response),
            frozenset({"tiles_3sigma"} if full["tiles_3sigma"] else ()),
            full["gradient"],
        )

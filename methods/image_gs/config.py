"""Settings of Image-GS, each with its source.

Sources: [P] Zhang et al., "Image-GS: Content-Adaptive Image Representation via 2D Gaussians", SIGGRAPH 2025, arXiv
2407.01866; [C] its released code; [A] the AIR paper (arXiv 2605.20820), which ran this method for 600 steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from splatbench.gaussians import TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE, TopkSettings
from splatbench.losses import Objective

#: Bits of a quantity that is stored as float32.
UNQUANTISED = 32

#: What the presets say; every other setting has one default for all of them.
PRESETS: dict[str, dict[str, Any]] = {
    # [C] training defaults
    "paper": {"iterations": 10_000, "add_steps": 500, "add_times": 4, "post_min_steps": 3000},
    # [A] Sec. V: 600 steps, one densification after step 300
    "air600": {"iterations": 600, "add_steps": 300, "add_times": 1, "post_min_steps": 300},
    # [A] Table VII: the same from scratch with 16/16/8/8 bits of position, scale, angle and colour
    "air600_q": {"iterations": 600, "add_steps": 300, "add_times": 1, "post_min_steps": 300,
                 "position_bits": 16, "scale_bits": 16, "angle_bits": 8, "color_bits": 8},
    # ours, for trials and tests: the additions of `paper` in the first half of 200 steps
    "quick": {"iterations": 200, "add_steps": 25, "add_times": 4, "post_min_steps": 100},
}  # fmt: skip

#: What `kernels` says: as the released code does it, errors included, or the exact mathematics.
KERNELS: dict[str, dict[str, Any]] = {
    "exact": {
        "gradient": "exact",
        "tiles_3sigma": False,
        "half_pixel_shift": False,
        "quantised_scale": "inverse",
    },
    "published": {
        "gradient": "published",
        "tiles_3sigma": True,
        "half_pixel_shift": True,
        "quantised_scale": "scale",
    },
}

_RATES = ("position_rate", "scale_rate", "angle_rate", "color_rate")
_BITS = ("position_bits", "scale_bits", "angle_bits", "color_bits")


@dataclass(frozen=True)
class Config:
    """Settings of one run.

    `preset` sets the schedule and the bits, `kernels` what the released code is known to do otherwise than it should;
    settings that are None follow these two, and every one of them can be given by itself. `resolved()`
    fills them in.

    Raises:
        ValueError: a value out of range, or settings that contradict each other.
    """

    preset: Literal["paper", "air600", "air600_q", "quick"] = "paper"
    kernels: Literal["exact", "published"] = "exact"

    gradient: Literal["exact", "published"] | None = None  # [C] counts dL/d(off-diagonal) up to four times
    tiles_3sigma: bool | None = None  # [C] 16x16 tiles see a Gaussian through a square of 3 sigma
    half_pixel_shift: bool | None = None  # [C] starts half a pixel right of and below the pixel whose colour it takes

    iterations: int | None = None  # [C] 10000, [A] 600; at least add_steps * add_times + post_min_steps, as published
    progressive: bool = True  # [P] half of the Gaussians at the start, the others where the error is
    initial_ratio: float = 0.5  # [C]
    add_steps: int | None = None  # [C] 500, [A] 300
    add_times: int | None = None  # [C] 4, [A] 1
    post_min_steps: int | None = None  # [C] 3000: steps after the last addition that the override leaves at least
    added_colors: Literal["residual", "target"] = "residual"  # [C] signed residual; ours: the colour of the pixel

    blend: Literal["topk", "sum"] = "topk"  # [P] top-K normalised; "sum": its ablation without, weights below 1/255 cut
    k: int = TOP_K  # [P] 10
    epsilon: float = TOPK_EPSILON  # [C] 1e-4
    min_response: float = TOPK_MIN_RESPONSE  # ours; not used under tiles_3sigma
    inverse_scale: bool = True  # [P] the reciprocal of the scale is optimised
    min_inverse_scale: float = 0.0  # ours, off: a floor (1/px) that keeps scales from crossing infinity, e.g. 1e-3

    start: Literal["gradient", "map", "random"] = "gradient"  # [P] "map": a saliency map from `saliency_map`
    saliency_map: str = ""  # picture file for `start: map`; [P] makes it with a network (EML-Net)
    random_fraction: float = 0.3  # [P] lambda; share of the start positions that are uniform
    gradient_power: float = 2.0  # [C] squared magnitudes; [P] text: 1
    initial_scale: float = 5.0  # [C] px, of every new Gaussian
    initial_colors: Literal["target", "random"] = "target"  # [P]; "random": its ablation

    position_rate: float = 5e-4  # [C] learning rates of Adam; positions in units of the picture's sides
    scale_rate: float = 2e-3  # [C] 1/px, or px without inverse_scale
    angle_rate: float = 2e-3  # [C] radians
    color_rate: float = 5e-3  # [C]
    l1_weight: float = 1.0  # [P]
    l2_weight: float = 0.0  # [C]
    ssim_weight: float = 0.1  # [P] of 1 - SSIM
    gamma: float = 1.0  # [C] fitted is the picture to this power; shown is the render to its inverse

    early_stop: bool = True  # [C] learning rates drop, then the fit ends, when nothing is gained any more
    evaluate_every: int = 100  # [C] steps between two looks at PSNR and SSIM
    patience: int = 1000  # [C] steps without gain
    min_psnr_gain: float = 0.1  # [C] dB
    min_ssim_gain: float = 0.001  # [C]
    rate_drop: float = 10.0  # [C]

    position_bits: int | None = None  # [C] 16 when on; 4 to 16, or 32: not quantised
    scale_bits: int | None = None  # [C] 16 when on, [A] 16
    angle_bits: int | None = None  # [C] 16 when on, [A] 8
    color_bits: int | None = None  # [C] 16 when on, [A] 8
    # [C] trains with quantised scales; one that crosses infinity stretches the range of all, and the picture collapses.
    # Ours: "inverse", the parameter. Files hold what the fit has seen; the released code stores quantised inverses.
    quantised_scale: Literal["scale", "inverse"] | None = None

    def __post_init__(self) -> None:
        full = self.filled()
        for name in ("iterations", "add_steps", "add_times", "evaluate_every", "patience"):
            if full[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {full[name]}")
        if full["post_min_steps"] < 0:
            raise ValueError(f"post_min_steps must not be negative, got {full['post_min_steps']}")
        for name in ("initial_scale", "gradient_power", "gamma", "rate_drop", *_RATES):
            value = full[name]
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive, got {value}")
        if not 0 < self.initial_ratio <= 1:
            raise ValueError(f"initial_ratio must be above 0 and at most 1, got {self.initial_ratio}")
        if not 0 <= self.random_fraction <= 1:
            raise ValueError(f"random_fraction must be in [0, 1], got {self.random_fraction}")
        for name in _BITS:
            if not (4 <= full[name] <= 16 or full[name] == UNQUANTISED):
                raise ValueError(f"{name} must be 4 to 16, or {UNQUANTISED} for not quantised, got {full[name]}")
        if not (0 <= self.min_inverse_scale < math.inf):
            raise ValueError(f"min_inverse_scale must not be negative, got {self.min_inverse_scale}")
        if self.min_inverse_scale and not self.inverse_scale:
            raise ValueError("min_inverse_scale bounds the inverse scale: it needs inverse_scale")
        if self.quantised_scale == "inverse" and not self.inverse_scale:
            raise ValueError("quantised_scale: inverse needs inverse_scale")
        if (self.start == "map") != bool(self.saliency_map):
            raise ValueError("start: map and saliency_map: FILE belong together")
        _ = self.topk, self.objective  # their own checks

    def filled(self) -> dict[str, Any]:
        """All settings, None replaced by what `preset` and `kernels` say."""
        implied = dict.fromkeys(_BITS, UNQUANTISED) | PRESETS[self.preset] | KERNELS[self.kernels]
        if not self.inverse_scale:
            implied["quantised_scale"] = "scale"
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return own | {name: value for name, value in implied.items() if own[name] is None}

    def resolved(self) -> Config:
        """The same settings without None."""
        return Config(**self.filled())

    @property
    def topk(self) -> TopkSettings:
        """The numbers of blend `topk`."""
        return TopkSettings(self.k, self.epsilon, self.min_response)

    @property
    def objective(self) -> Objective:
        """The loss: of the unclamped render, SSIM with zeros beyond the picture [C]."""
        return Objective(l1=self.l1_weight, l2=self.l2_weight, ssim=self.ssim_weight)

    @property
    def compat(self) -> frozenset[str]:
        """The compat flags of the Gaussians that this run makes."""
        return frozenset({"tiles_3sigma"}) if self.filled()["tiles_3sigma"] else frozenset()

    def bits(self, attribute: str) -> int:
        """Bits of a stored attribute: "means", "scales", "angles" or "colors"."""
        names = dict(zip(("means", "scales", "angles", "colors"), _BITS, strict=True))
        return int(self.filled()[names[attribute]])

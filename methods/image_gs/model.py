"""From the parameters of Image-GS to Gaussians (paper Sec. 3.1; released code).

| parameter | shape | meaning |
|---|---|---|
| `positions` | [N, 2] | (x, y) in units of the picture's width and height |
| `scales` | [N, 2] | 1 / standard deviation in 1/px; the standard deviation in px without `inverse_scale` |
| `angles` | [N, 1] | radians, from x to y |
| `colors` | [N, C] | any real value |

A file holds the values of `Model.values`: what the fit has seen, quantised where bits are given.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from splatbench.fitting import published_gradient, straight_through
from splatbench.gaussians import Gaussians2D
from splatbench.render import TopkRule, covariance_from_scales

from .config import UNQUANTISED, Config
from .gradient import reciprocal

Parameters = dict[str, Tensor]
#: What a file holds, by name; one quantiser each.
STORED = ("means", "scales", "angles", "colors")


class Model:
    """The activation of all parameters for one picture.

    Args:
        config: settings of the run, resolved.
        size: (H, W).
    """

    def __init__(self, config: Config, size: tuple[int, int]) -> None:
        self.config, self.size = config, size
        self.compat = config.compat
        self.bits = {name: config.bits(name) for name in STORED}
        self.quantises = any(bits < UNQUANTISED for bits in self.bits.values())
        #: Whether the stored scales are inverse ones.
        self.inverse = config.quantised_scale == "inverse" and self.bits["scales"] < UNQUANTISED
        #: Of blend `topk`; None for `sum`.
        self.rule = TopkRule(**asdict(config.topk), compat=config.compat) if config.blend == "topk" else None

    def values(self, parameters: Parameters, quantise: bool = True) -> Parameters:
        """What is stored: `means`, `scales`, `angles`, `colors`, each [N, columns].

        Quantised, with a straight-through gradient, is what the file holds.
        """
        scales = parameters["scales"]
        if self.config.inverse_scale and not self.inverse:
            scales = reciprocal(scales)
        values = {
            "means": parameters["positions"],
            "scales": scales,
            "angles": parameters["angles"],
            "colors": parameters["colors"],
        }
        if quantise:
            for name, bits in self.bits.items():
                if bits < UNQUANTISED:
                    values[name] = straight_through(values[name], bits)
        return values

    def __call__(self, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor]:
        """Means [N, 2] in pixels, covariance [N, 3] float64 and colours [N, C], with the chosen gradient."""
        means, scales, angles, colors = activate(self.values(parameters), self.size, self.inverse)
        covariance = covariance_from_scales(scales, angles)
        if self.config.gradient == "published":
            covariance = published_gradient(covariance)
        return means, covariance, colors

    @torch.no_grad()
    def gaussians(self, parameters: Parameters) -> Gaussians2D:
        """The Gaussians as they are now."""
        return self.drawn(self.values(parameters))

    def drawn(self, values: Parameters) -> Gaussians2D:
        """The Gaussians of stored values."""
        c, fields = self.config, as_fields(*activate(values, self.size, self.inverse))
        return Gaussians2D(size=self.size, blend=c.blend, compat=c.compat, topk=c.topk, gamma=c.gamma, **fields)


def activate(values: Parameters, size: tuple[int, int], inverse: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means [N, 2] and scales [N, 2] in pixels, angles [N] and colours [N, C] of stored values.

    Encoder and decoder both come through here, so the decoder has the encoder's bits.

    Args:
        inverse: whether the stored scales are inverse ones.
    """
    height, width = size
    means = values["means"] * values["means"].new_tensor([width, height])
    scales = reciprocal(values["scales"]) if inverse else values["scales"]
    return means, scales, values["angles"].squeeze(-1), values["colors"]


def as_fields(means: Tensor, scales: Tensor, angles: Tensor, colors: Tensor) -> dict[str, Any]:
    """Of Gaussians2D; the sign of a scale, which shows nowhere, is dropped."""
    return {"means": means, "scales": scales.abs(), "angles": angles, "colors": colors}

"""Parameters of SmartSplat and their activation (released code; the rotation is that of paper Eq. 6, transposed).

The published renderer evaluates pixels at integer positions; here the centre of the first pixel is at 0.5, so the
means are shifted by half a pixel, once, in `Activation.means`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from splatbench.fitting.warm import axes, turn_logits
from splatbench.gaussians import Gaussians2D
from splatbench.render import covariance_from_scales

from .config import Config
from .initialise import Start

_SMALLEST = 2.0**-24  # of theta / 2 pi, which has no logit at 0 and 1


def initial_parameters(start: Start, size: tuple[int, int], config: Config, seed: int) -> dict[str, Tensor]:
    """Raw parameters of a start, float32 on the CPU: `xyz` [N, 2] = 2 q / (W, H) - 1, `scaling` [N, 2] in pixels,
    `rotation` [N, 1], the logit of theta / 2 pi, and `features` [N, C]."""
    n = len(start)
    xyz = 2 * start.positions.astype(np.float64) / [size[1], size[0]] - 1
    rotation = torch.zeros(n, 1)
    if config.theta_init == "random":
        generator = torch.Generator().manual_seed(seed)
        turns = torch.rand(n, 1, dtype=torch.float64, generator=generator)
        rotation = torch.logit(turns.clamp(_SMALLEST, 1 - _SMALLEST)).float()
    return {
        "xyz": torch.from_numpy(xyz.astype(np.float32)),
        "scaling": torch.from_numpy(start.scales)[:, None].repeat(1, 2),
        "rotation": rotation,
        "features": torch.from_numpy(start.colours),
    }


def raw_parameters(start: Gaussians2D) -> dict[str, Tensor]:
    """Raw parameters that stand for Gaussians of blend `sum`: the inverse of `Activation`."""
    height, width = start.size
    half = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    scales, angles = axes(start)
    return {
        "xyz": ((start.means.double() - half - 0.5) / half).float(),
        "scaling": scales.clone(),
        "rotation": turn_logits(-angles),
        "features": start.colors.clone(),
    }


@dataclass(frozen=True)
class Activated:
    """What raw parameters stand for: means [N, 2] and scales [N, 2] in pixels, theta [N] in radians, colours [N, C].

    The matrix of the released code turns by -theta in x-right, y-down coordinates.
    """

    means: Tensor
    scales: Tensor
    theta: Tensor
    colors: Tensor


@dataclass(frozen=True)
class Activation:
    """From raw parameters to Gaussians for an H x W picture."""

    config: Config
    size: tuple[int, int]

    def __call__(self, parameters: dict[str, Tensor]) -> Activated:
        return Activated(
            means=self.means(parameters["xyz"]),
            scales=parameters["scaling"].abs(),
            theta=(2 * math.pi * torch.sigmoid(parameters["rotation"])).squeeze(-1),
            colors=parameters["features"],
        )

    def means(self, xyz: Tensor) -> Tensor:
        """[N, 2] pixels: W (x + 1) / 2 + 0.5, the same in y with H. Nothing keeps them inside the picture."""
        half = xyz.new_tensor([self.size[1] / 2, self.size[0] / 2])
        return torch.addcmul(half + 0.5, xyz, half)

    def covariance(self, values: Activated) -> Tensor:
        """[N, 3] float64 (Sxx, Sxy, Syy), with the chosen gradient."""
        double = self.config.doubles_offdiagonal_gradient
        return covariance_from_scales(values.scales, -values.theta, double_offdiagonal_gradient=double)

    def gaussians(self, values: Activated) -> Gaussians2D:
        """Detached, on the CPU."""
        return Gaussians2D(
            means=values.means.detach().cpu(),
            scales=values.scales.detach().cpu(),
            angles=-values.theta.detach().cpu(),
            colors=values.colors.detach().cpu().clone(),  # is the parameter itself, which goes on being fitted
            size=self.size,
            blend="sum",
            compat=self.config.compat,
        )

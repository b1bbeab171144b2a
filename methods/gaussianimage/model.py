"""Parameters of GaussianImage: initialisation and activation (paper Sec. 3.1; released code).

The published renderer evaluates pixels at integer positions; here the centre of the first pixel is at 0.5, so the
means are shifted by half a pixel, once, in `Activation.means`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splatbench.fitting.warm import axes, factors, turn_logits
from splatbench.gaussians import Gaussians2D
from splatbench.render import covariance_from_cholesky, covariance_from_scales

from .config import Config

#: Added to the raw Cholesky factor (l11, l21, l22), in pixels [released code].
CHOLESKY_BOUND = (0.5, 0.0, 0.5)
#: Means of a given start are kept this far (pixels) from the ends of tanh, where they have no gradient. Ours.
END_MARGIN = 1 / 32
#: Added to a raw scale before the absolute value, in pixels [released code].
SCALE_BOUND = 0.5


def initial_parameters(variant: str, n: int, seed: int) -> dict[str, Tensor]:
    """Random start, drawn on the CPU generator in the published order.

    Returns:
        float32 tensors: `xyz` [N, 2] = atanh(2U - 1); `cholesky` [N, 3] = U, or `scaling` [N, 2] and `rotation`
        [N, 1] = U; `features` [N, 3] = U, with U uniform on [0, 1).
    """
    generator = torch.Generator().manual_seed(seed)
    draw = lambda columns: torch.rand(n, columns, generator=generator)  # noqa: E731
    # 2U - 1 = -1 (probability 2^-24) would give -inf; the nearest float keeps the mean on the border and finite.
    uniform = (2 * draw(2) - 1).clamp_min(-1 + 2**-24)
    parameters = {"xyz": torch.atanh(uniform)}
    if variant == "cholesky":
        parameters["cholesky"] = draw(3)
    else:
        parameters["scaling"] = draw(2)
        parameters["rotation"] = draw(1)
    parameters["features"] = draw(3)
    return parameters


@dataclass(frozen=True)
class Activation:
    """From raw parameters to means, covariance and colours for an H x W picture."""

    config: Config
    size: tuple[int, int]

    def means(self, xyz: Tensor) -> Tensor:
        """[N, 2] pixels: W (tanh(x) + 1) / 2 + 0.5, the same in y with H."""
        height, width = self.size
        half = xyz.new_tensor([width / 2, height / 2])
        return torch.addcmul(half + 0.5, torch.tanh(xyz), half)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The least and the largest (x, y) that a start may have, [2] float64 each, in pixels."""
        height, width = self.size
        low = torch.full((2,), 0.5 + END_MARGIN, dtype=torch.float64)
        return low, torch.tensor([width, height], dtype=torch.float64) + 0.5 - END_MARGIN

    def raw(self, start: Gaussians2D) -> dict[str, Tensor]:
        """The parameters that stand for Gaussians of blend `sum` inside `bounds`: the inverse of the activation."""
        height, width = self.size
        half = torch.tensor([width / 2, height / 2], dtype=torch.float64)
        parameters = {"xyz": torch.atanh((start.means.double() - half - 0.5) / half).float()}
        if self.config.variant == "cholesky":
            parameters["cholesky"] = factors(start) - torch.tensor(CHOLESKY_BOUND)
        else:
            scales, angles = axes(start)
            parameters["scaling"] = scales - SCALE_BOUND
            parameters["rotation"] = turn_logits(-angles)
        return parameters | {"features": start.colors.clone()}

    def covariance(self, values: dict[str, Tensor]) -> Tensor:
        """[N, 3] float64 (Sxx, Sxy, Syy) from `factor` or from `scales` and `theta`, with the chosen gradient."""
        double = self.config.doubles_offdiagonal_gradient
        if "factor" in values:
            return covariance_from_cholesky(values["factor"], double_offdiagonal_gradient=double)
        # The published rotation turns by -theta in x-right, y-down coordinates.
        return covariance_from_scales(values["scales"], -values["theta"], double_offdiagonal_gradient=double)

    def shape(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """The activated covariance parameters: `factor` [N, 3], or `scales` [N, 2] and `theta` [N]."""
        if "cholesky" in parameters:
            return {"factor": self.factor(parameters["cholesky"])}
        return {"scales": self.scales(parameters["scaling"]), "theta": self.theta(parameters["rotation"])}

    @staticmethod
    def factor(cholesky: Tensor) -> Tensor:
        return cholesky + cholesky.new_tensor(CHOLESKY_BOUND)

    @staticmethod
    def scales(scaling: Tensor) -> Tensor:
        return (scaling + SCALE_BOUND).abs()

    @staticmethod
    def theta(rotation: Tensor) -> Tensor:
        return (2 * torch.pi * torch.sigmoid(rotation)).squeeze(-1)

    def gaussians(self, means: Tensor, shape: dict[str, Tensor], colors: Tensor) -> Gaussians2D:
        """Gaussians2D of activated values (detached)."""
        covariance = (
            {"cholesky": shape["factor"].detach().clone()}
            if "factor" in shape
            else {"scales": shape["scales"].detach().clone(), "angles": -shape["theta"].detach()}
        )
        return Gaussians2D(
            means=means.detach().clone(),
            colors=colors.detach().clone(),
            size=self.size,
            blend="sum",
            compat=self.config.compat,
            **covariance,
        )

"""Refinement: GaussianImage's RS optimisation from any start (released code).

Raw parameters are `xyz` [N, 2], the means normalised to (-1, 1) before tanh; `scaling` [N, 2]; `rotation` [N], the
angle before the sigmoid; `features` [N, 3], the colours. The published renderer evaluates pixels at integer positions;
here the centre of the first pixel is at 0.5, so means are shifted by half a pixel, once, in `Activation.means`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from splatbench.fitting import PictureLoss, on_curve, psnr, published_gradient
from splatbench.gaussians import Gaussians2D
from splatbench.losses import Objective
from splatbench.optim import Adan
from splatbench.render import covariance_from_scales
from splatbench.trace import Trace

from .config import Config

OBJECTIVE = Objective(l2=1.0, clamp=True)
#: Pixels: added to a raw scale before the absolute value, or the least scale [released code].
SCALE_BOUND = 0.5
#: Largest magnitude of a normalised mean that becomes a parameter: atanh(1) is infinite. The published parameters are;
#: those Gaussians then lie on the border and stay there, as they do here but for gradients of 1e-7.
LARGEST_MEAN = 1 - 2**-24


@dataclass(frozen=True)
class Activation:
    """From raw parameters to Gaussians for an H x W picture.

    Attributes:
        size: (H, W).
        scale: "floor": max(raw, 0.5) pixels without a gradient below it; "abs": |raw + 0.5| (random start).
    """

    size: tuple[int, int]
    scale: Literal["floor", "abs"] = "floor"
    config: Config = field(default_factory=Config)

    def means(self, xyz: Tensor) -> Tensor:
        """[N, 2] pixels: W (tanh(x) + 1) / 2 + 0.5, the same in y with H."""
        height, width = self.size
        half = xyz.new_tensor([width / 2, height / 2])
        return torch.addcmul(half + 0.5, torch.tanh(xyz), half)

    def scales(self, scaling: Tensor) -> Tensor:
        """[N, 2] pixels."""
        return scaling.clamp_min(SCALE_BOUND) if self.scale == "floor" else (scaling + SCALE_BOUND).abs()

    @staticmethod
    def angles(rotation: Tensor) -> Tensor:
        """[N] radians in (0, 2 pi)."""
        return 2 * torch.pi * torch.sigmoid(rotation)

    def covariance(self, parameters: dict[str, Tensor]) -> Tensor:
        """[N, 3] float64 (Sxx, Sxy, Syy), with the gradient that the settings ask for."""
        scales, angles = self.scales(parameters["scaling"]), self.angles(parameters["rotation"])
        covariance = covariance_from_scales(scales, angles)
        return published_gradient(covariance, offdiagonal=1) if self.config.repeats_published_gradient else covariance

    @torch.no_grad()
    def gaussians(self, parameters: dict[str, Tensor]) -> Gaussians2D:
        """A copy of what the parameters stand for."""
        return Gaussians2D(
            means=self.means(parameters["xyz"]),
            scales=self.scales(parameters["scaling"]).clone(),
            angles=self.angles(parameters["rotation"]),
            colors=parameters["features"].detach().clone(),
            size=self.size,
            compat=self.config.compat,
        )


def raw_parameters(means: Tensor, scales: Tensor, turns: Tensor, colors: Tensor) -> dict[str, Tensor]:
    """Raw parameters of Gaussians for an `Activation` with the floor.

    Args:
        means: [N, 2] normalised, -1 and 1 are the borders of the picture; scales: [N, 2] pixels; turns: [N], the angle
            in turns, in (0, 1); colors: [N, 3].
    """
    return {
        "xyz": torch.atanh(means.clamp(-LARGEST_MEAN, LARGEST_MEAN)),
        "scaling": scales.clone(),
        "rotation": torch.logit(turns),
        "features": colors.clone(),
    }


def random_parameters(n: int, seed: int) -> dict[str, Tensor]:
    """The random start, drawn on the CPU: `xyz` = atanh(2U - 1), `scaling` = U + 0.5 for an `Activation` with the
    absolute value (so scales start in [1, 2) pixels; GaussianImage's in [0.5, 1.5)), the others U on [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    means = 2 * torch.rand(n, 2, generator=generator) - 1
    return {
        "xyz": torch.atanh(means.clamp_min(-LARGEST_MEAN)),
        "scaling": torch.rand(n, 2, generator=generator) + SCALE_BOUND,
        "rotation": torch.rand(n, generator=generator),
        "features": torch.rand(n, 3, generator=generator),
    }


def refine(
    parameters: dict[str, Tensor],
    activation: Activation,
    target: Tensor,
    iterations: int,
    trace: Trace,
    snapshot: Callable[[dict[str, Tensor]], object],
) -> None:
    """Optimises `parameters` in place: mean squared error of the clamped picture, Adan (betas 0.98, 0.92, 0.99; eps
    1e-8; no weight decay), the rate halved every 10 000 steps.

    Args:
        target: [H, W, 3] uint8.
        iterations: steps to do at most (fewer if the trace says that the time is up).
        snapshot: makes an encoding of the parameters, for the iterations that the trace wants.

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    config = activation.config
    values = [value.requires_grad_(True) for value in parameters.values()]
    optimiser = Adan(values, lr=config.learning_rate, betas=(0.98, 0.92, 0.99), eps=1e-8)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, config.learning_rate_step, config.learning_rate_factor)
    picture_loss = PictureLoss(target, OBJECTIVE, compat=config.compat)
    for i in range(1, iterations + 1):
        if trace.out_of_time():
            break
        loss = picture_loss(
            activation.means(parameters["xyz"]), activation.covariance(parameters), parameters["features"]
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        quality = psnr(picture_loss.mse())
        trace.step(i, iterations, loss=loss.item(), psnr=quality)
        if on_curve(i, iterations):
            trace.log(i, psnr=quality)
        if trace.wants(i) and i < iterations:
            trace.snapshot(i, snapshot(parameters))

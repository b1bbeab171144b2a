"""Refinement with quantised attributes (ours): Gaussians are frozen to their codes one after the other, those of the
largest contribution first, while the others go on being fitted and make up for what rounding did.

Measured on two Kodak pictures (CR 50 and 200, 500 steps, coarse grids) against rounding everything in every step with
straight-through gradients: 1.5 and 0.3 dB better at the same length, since nothing swings between two levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from splatbench.fitting import on_curve, psnr
from splatbench.gaussians import Gaussians2D
from splatbench.trace import Trace

from .config import Config
from .fit import Parameters, make_loss, make_optimiser, step
from .model import Activated, Activation
from .quantise import Codes, Grids, pick


@dataclass(frozen=True)
class QuantisedGaussians:
    """The encoded representation: codes on the CPU, in the order of the file, and what they mean."""

    codes: Codes
    grids: Grids
    activation: Activation

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def config(self) -> Config:
        return self.activation.config

    def gaussians(self) -> Gaussians2D:
        """What the decoder makes of them."""
        return self.activation.gaussians(self.grids.values(self.codes))


def refine(
    parameters: Parameters,
    activation: Activation,
    target: Tensor,
    trace: Trace,
    finish: Callable[[Codes, Grids], QuantisedGaussians],
) -> QuantisedGaussians:
    """Fits on for `qat_iterations` steps, with learning rates that fall from the fit's to 0; a share of the Gaussians
    that grows from 0 to 1 is frozen.

    Args:
        parameters: fitted raw parameters; changed in place.
        target: [H, W, C] uint8.
        finish: makes an encoding of codes; also for snapshots, "qat-<i>".

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    config, n = activation.config, activation.config.qat_iterations
    picture_loss = make_loss(target, config)
    optimiser = make_optimiser(parameters, config, activation.size[1])
    rates = [group["lr"] for group in optimiser.param_groups]
    grids = Grids.of(config, activation.size, len(parameters["xyz"]))
    with torch.no_grad():
        values = activation(parameters)
        codes, place = grids.codes(values), _places(values)
    frozen, done = torch.zeros_like(place, dtype=torch.bool), trace.steps
    for i in range(1, n + 1):
        values = activation(parameters)
        with torch.no_grad():
            codes = codes.where(frozen, grids.codes(values))
            frozen = place * n < (i - 1) * len(place)
            held = grids.values(codes)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * (n - i + 1) / n
        loss = step(parameters, _mixed(frozen, held, values), activation, picture_loss, optimiser)
        quality = psnr(picture_loss.mse())
        trace.step(done + i, done + n, loss=loss, psnr=quality)
        if on_curve(i, n):
            trace.log(done + i, qat_psnr=quality)
        if trace.wants(f"qat-{i}") and i < n:
            trace.snapshot(f"qat-{i}", finish(_rounded(codes, frozen, parameters, activation, grids), grids))
        if trace.out_of_time():
            break
    return finish(_rounded(codes, frozen, parameters, activation, grids), grids)


def _places(values: Activated) -> Tensor:
    """Place [N] of each Gaussian in the order of freezing: by its area times its colours' sum, the largest first."""
    weight = values.scales.prod(1) * values.colors.abs().sum(1)
    places = torch.empty(len(weight), dtype=torch.int64, device=weight.device)
    places[weight.argsort(descending=True, stable=True)] = torch.arange(len(weight), device=weight.device)
    return places


def _mixed(frozen: Tensor, held: Activated, live: Activated) -> Activated:
    return Activated(**{name: pick(frozen, value, getattr(live, name)) for name, value in vars(held).items()})


@torch.no_grad()
def _rounded(codes: Codes, frozen: Tensor, parameters: Parameters, activation: Activation, grids: Grids) -> Codes:
    """Codes of all: of those that are not frozen as they are now."""
    return codes.where(frozen, grids.codes(activation(parameters)))

"""Fitting the representation (paper Sec. 3.2 and 4.1): mean squared error of the clamped render, Adan, StepLR."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from splatbench.fitting import PictureLoss, on_curve, psnr
from splatbench.losses import Objective
from splatbench.optim import Adan
from splatbench.trace import Trace

from .config import Config
from .model import Activation

OBJECTIVE = Objective(l2=1.0, clamp=True)


def fit(
    parameters: dict[str, Tensor],
    activation: Activation,
    target: Tensor,
    iterations: int,
    trace: Trace,
    snapshot: Callable[[dict[str, Tensor]], object],
    total: int | None = None,
) -> dict[str, Tensor]:
    """Optimises `parameters` in place and returns them.

    Args:
        parameters: raw tensors of `initial_parameters`.
        target: [H, W, 3] uint8.
        iterations: steps to do at most (fewer if the trace says that the time is up).
        snapshot: makes an encoding of the parameters, for the iterations that the trace wants.
        total: steps of the whole encoding, for the progress display (default: `iterations`).

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    config = activation.config
    for value in parameters.values():
        value.requires_grad_(True)
    optimiser, scheduler = make_optimiser(list(parameters.values()), config)
    picture_loss = PictureLoss(target, OBJECTIVE, compat=config.compat)
    for i in range(1, iterations + 1):
        covariance = activation.covariance(activation.shape(parameters))
        means = activation.means(parameters["xyz"])
        loss = picture_loss(means, covariance, parameters["features"])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        scheduler.step()
        quality = psnr(picture_loss.mse())
        trace.step(i, total or iterations, loss=loss.item(), psnr=quality)
        if on_curve(i, iterations):
            trace.log(i, psnr=quality)
        if trace.wants(i) and i < iterations:
            trace.snapshot(i, snapshot(parameters))
        if trace.out_of_time():
            break
    return parameters


def make_optimiser(parameters: list[Tensor], config: Config) -> tuple[Adan, torch.optim.lr_scheduler.StepLR]:
    """Adan with the published settings (betas 0.98, 0.92, 0.99; eps 1e-8; no weight decay) and its schedule."""
    optimiser = Adan(parameters, lr=config.learning_rate, betas=(0.98, 0.92, 0.99), eps=1e-8)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, config.learning_rate_step, config.learning_rate_factor)
    return optimiser, schedule

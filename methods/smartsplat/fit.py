"""Fitting (paper and released code): L1 + SSIM of the clamped render, Adam, constant learning rates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from splatbench.fitting import PictureLoss, on_curve, psnr
from splatbench.losses import Objective
from splatbench.optim import Adam
from splatbench.trace import Trace

from .config import Config
from .model import Activated, Activation

Parameters = dict[str, Tensor]


def fit(
    parameters: Parameters,
    activation: Activation,
    target: Tensor,
    iterations: int,
    trace: Trace,
    snapshot: Callable[[Parameters], object],
    total: int | None = None,
) -> None:
    """Optimises raw parameters in place.

    Args:
        parameters: of `initial_parameters`, on the target's device.
        target: [H, W, C] uint8.
        iterations: steps to do at most (fewer if the trace says that the time is up).
        snapshot: makes an encoding of the parameters, for the iterations that the trace wants.
        total: steps of the whole encoding, for the progress display (default: `iterations`).

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    picture_loss = make_loss(target, activation.config)
    optimiser = make_optimiser(parameters, activation.config, activation.size[1])
    for i in range(1, iterations + 1):
        loss = step(parameters, activation(parameters), activation, picture_loss, optimiser)
        quality = psnr(picture_loss.mse())
        trace.step(i, total or iterations, loss=loss, psnr=quality)
        if on_curve(i, iterations):
            trace.log(i, psnr=quality)
        if trace.wants(i) and i < iterations:
            trace.snapshot(i, snapshot(parameters))
        if trace.out_of_time():
            break


def step(
    parameters: Parameters,
    values: Activated,
    activation: Activation,
    picture_loss: PictureLoss,
    optimiser: torch.optim.Optimizer,
) -> float:
    """One step of the parameters by the loss of `values`, which were made of them. Returns the loss before it."""
    loss: Tensor = picture_loss(values.means, activation.covariance(values), values.colors)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.item()


def make_loss(target: Tensor, config: Config) -> PictureLoss:
    """lambda L1 + (1 - lambda) (1 - SSIM), SSIM with zeros beyond the picture, of the clamped render."""
    objective = Objective(l1=config.loss_lambda, ssim=1 - config.loss_lambda, window="same", clamp=True)
    return PictureLoss(target, objective, compat=config.compat)


def make_optimiser(parameters: Parameters, config: Config, width: int, factor: float = 1.0) -> Adam:
    """Adam with a learning rate for each kind of parameter, times `factor`; requires gradients of the parameters.

    The means' rate is in units of half a picture, so a step grows with the picture; with `mean_lr_reference` it is, in
    pixels, that of a picture of such a width.
    """
    scale = 1.0 if config.mean_lr_reference is None else config.mean_lr_reference / width
    rates = {
        "xyz": config.mean_lr * scale,
        "scaling": config.scale_lr,
        "rotation": config.rotation_lr,
        "features": config.colour_lr,
    }
    groups = [{"params": [parameters[name].requires_grad_(True)], "lr": rate * factor} for name, rate in rates.items()]
    return Adam(groups, betas=(0.9, 0.999), eps=config.eps)

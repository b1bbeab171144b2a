"""The fit (paper Sec. 3.3 and 4.1; released code): L1 and SSIM of the unclamped render, Adam, growth, early stop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from splatbench.codec import spatial_order
from splatbench.fitting import PictureLoss, on_curve, psnr
from splatbench.losses import Objective
from splatbench.optim import Adam
from splatbench.render import render
from splatbench.trace import Trace

from .config import Config
from .growth import Schedule, grow
from .model import Model, Parameters


def fit(
    parameters: Parameters,
    model: Model,
    image: np.ndarray,
    schedule: Schedule,
    trace: Trace,
    rng: np.random.Generator,
    snapshot: Callable[[Parameters], object],
    device: str = "cpu",
) -> Parameters:
    """Optimises and grows Gaussians.

    Args:
        parameters: the first Gaussians, on the CPU.
        image: uint8 [H, W, C].
        snapshot: makes an encoding of the parameters, for the steps that the trace wants.

    Returns:
        The parameters after the last step: that of the schedule, of the early stop, or of the trace's time limit.

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    config = model.config
    loss_of = PictureLoss(target(image, config.gamma, device), config.objective, topk=model.rule, compat=model.compat)
    stop = EarlyStop(config) if config.early_stop else None
    look = Look(model, image, device)
    parameters, optimiser = begin({name: value.to(device) for name, value in parameters.items()}, config)
    for i in range(1, schedule.steps + 1):
        loss = loss_of(*model(parameters))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if config.min_inverse_scale:
            with torch.no_grad():
                parameters["scales"].clamp_(min=config.min_inverse_scale)
        seen = psnr(loss_of.mse())  # of the unclamped render, in the fitted values
        trace.step(i, schedule.steps, loss=loss.item(), psnr=seen)
        if on_curve(i, schedule.steps):
            trace.log(i, psnr=seen)
        if stop is not None and i > schedule.grown and i % config.evaluate_every == 0:
            stop.take(*look(parameters), optimiser)
        if trace.wants(i) and i < schedule.steps:
            trace.snapshot(i, snapshot(parameters))
        if trace.out_of_time() or (stop is not None and stop.over):
            break
        if i in schedule.additions:
            grown = grow(parameters, model.gaussians(parameters), image, schedule.additions[i], config, rng)
            parameters, optimiser = begin(grown, config)
    return parameters


def target(image: np.ndarray, gamma: float, device: str) -> torch.Tensor:
    """What is fitted: the picture, uint8 [H, W, C], or float32 in [0, 1] where it is raised to a power."""
    if gamma == 1:
        return torch.from_numpy(np.array(image)).to(device)  # a copy: the caller's picture may be read-only
    powers = (np.arange(256) / 255) ** gamma
    return torch.from_numpy(powers.astype(np.float32)[image]).to(device)


def begin(parameters: Parameters, config: Config) -> tuple[Parameters, Adam]:
    """Leaves with a new Adam: every addition begins anew, moments and learning rates, as published.

    Neighbours are kept together in memory: the order decides between equal responses alone, and equal Gaussians keep
    theirs.
    """
    order = torch.from_numpy(spatial_order(parameters["positions"].cpu().numpy())).to(parameters["positions"].device)
    leaves = {name: value[order].requires_grad_(True) for name, value in parameters.items()}
    rates = {
        "positions": config.position_rate,
        "scales": config.scale_rate,
        "angles": config.angle_rate,
        "colors": config.color_rate,
    }
    return leaves, Adam([{"params": [leaves[name]], "lr": rate} for name, rate in rates.items()])


class Look:
    """PSNR and SSIM of the picture as it is shown: clamped, and raised to 1 / gamma."""

    def __init__(self, model: Model, image: np.ndarray, device: str) -> None:
        self._model, self._target = model, target(image, 1.0, device)
        self._judge = Objective(ssim=1.0, clamp=True)

    @torch.no_grad()
    def __call__(self, parameters: Parameters) -> tuple[float, float]:
        """(PSNR in dB, SSIM)."""
        if self._model.config.gamma == 1:  # strip by strip, for pictures of any size
            loss = PictureLoss(self._target, self._judge, topk=self._model.rule, compat=self._model.compat)
            lost = loss(*self._model(parameters)).item()
            return psnr(loss.mse()), 1 - lost
        picture = render(self._model.gaussians(parameters)).clamp(0, 1)
        error = float((picture - self._target / 255).square().mean())
        return psnr(error), 1 - self._judge(picture, self._target).item()


class EarlyStop:
    """The published schedule: learning rates drop when nothing was gained for `patience` steps, then the fit ends.

    A look gains nothing if PSNR *or* SSIM is not above the best by its least gain; the bests change only where both
    are.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._psnr = self._ssim = 0.0
        self._idle, self._dropped, self.over = 0, False, False

    def take(self, quality: float, ssim: float, optimiser: Adam) -> None:
        """A look at the picture after another `evaluate_every` steps."""
        c = self._config
        if quality <= self._psnr + c.min_psnr_gain or ssim <= self._ssim + c.min_ssim_gain:
            self._idle += c.evaluate_every
        else:
            self._psnr, self._ssim, self._idle = quality, ssim, 0
        if self._idle < c.patience:
            return
        self._idle = 0
        if self._dropped:
            self.over = True
            return
        self._dropped = True
        for group in optimiser.param_groups:
            group["lr"] /= c.rate_drop

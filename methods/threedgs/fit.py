"""Fitting (released code): Adan for every parameter, one view, no densification, pruning or reset of opacities."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from splatbench.fitting import on_curve, psnr
from splatbench.optim import Adan
from splatbench.render import rasterize_alpha
from splatbench.trace import Trace

from .config import Config
from .model import project

BACKGROUND = 1.0  # white


def fit(
    parameters: dict[str, Tensor],
    target: Tensor,
    config: Config,
    iterations: int,
    trace: Trace,
    snapshot: Callable[[dict[str, Tensor]], object],
) -> None:
    """Optimises `parameters` in place.

    Args:
        parameters: of `initial_parameters`, on the target's device.
        target: [H, W, 3] uint8.
        iterations: steps to do at most (fewer if the trace says that the time is up).
        snapshot: makes an encoding of the parameters, for the iterations that the trace wants.

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    for value in parameters.values():
        value.requires_grad_(True)
    optimiser = Adan(list(parameters.values()), lr=config.learning_rate, betas=(0.98, 0.92, 0.99), eps=1e-8)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, config.learning_rate_step, config.learning_rate_factor)
    size = (int(target.shape[0]), int(target.shape[1]))
    white = torch.full((3,), BACKGROUND, device=target.device)
    objective = config.objective.against(target)
    for i in range(1, iterations + 1):
        seen = project(parameters, size, config.clamps_colors)
        image = rasterize_alpha(seen.means, seen.covariance, seen.colors, seen.opacities, size, white)
        loss = objective(image.clamp(max=1.0))  # only from above, as published
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        scheduler.step()
        quality = psnr(_mse(image, target))
        trace.step(i, iterations, loss=loss.item(), psnr=quality)
        if on_curve(i, iterations):
            trace.log(i, psnr=quality)
        if trace.wants(i) and i < iterations:
            trace.snapshot(i, snapshot(parameters))
        if trace.out_of_time():
            break


@torch.no_grad()
def _mse(image: Tensor, target: Tensor) -> float:
    """Of the picture as it is shown."""
    return float((image.clamp(0, 1) - target / 255).square().mean())

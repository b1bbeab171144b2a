"""Fine-tuning (paper; released code): AdamW on the MSE of the unclamped picture, learning rates fall on plateaus."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from splatbench.codec import spatial_order
from splatbench.fitting import PictureLoss, on_curve, psnr
from splatbench.losses import Objective
from splatbench.optim import Adam
from splatbench.trace import Trace

from .config import Config
from .gather import Parameters


def fit(
    start: Parameters,
    image: np.ndarray,
    config: Config,
    steps: int,
    trace: Trace,
    snapshot: Callable[[Parameters], object],
) -> Parameters:
    """Optimises all attributes of a start.

    Args:
        start: on the device that works.
        image: uint8 [H, W, 3].
        config: resolved settings.
        steps: at least 1; the trace's time limit may end the fit before.
        snapshot: makes an encoding of the parameters, for the steps that the trace wants.

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    size, blending = image.shape[:2], config.blending
    target = torch.from_numpy(np.array(image)).to(start.positions.device)  # a copy: the picture may be read-only
    loss_of = PictureLoss(target, Objective(l2=1.0), topk=blending.rule)
    parameters = leaves(start)
    optimiser = make_optimiser(parameters, config)
    scheduler = ReduceLROnPlateau(
        optimiser,
        factor=config.plateau_factor,
        patience=config.plateau_patience,
        threshold=config.plateau_threshold,
        min_lr=config.min_rate,
    )
    for i in range(1, steps + 1):
        loss = loss_of(*blending.activate(parameters, size))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if config.min_scale:
            with torch.no_grad():
                parameters.scales.clamp_(min=config.min_scale)
        value = loss.item()
        trace.step(i, steps, loss=value, psnr=psnr(value))
        scheduler.step(value)
        if on_curve(i, steps):
            trace.log(i, psnr=psnr(value))
        if trace.wants(i) and i < steps:
            trace.snapshot(i, snapshot(parameters))
        if trace.out_of_time():
            break
    return parameters


def leaves(start: Parameters) -> Parameters:
    """Copies that are optimised, neighbours together in memory: the order decides between equal responses alone."""
    order = torch.from_numpy(spatial_order(start.positions.detach().cpu().numpy())).to(start.positions.device)
    return Parameters(*(value.detach()[order].contiguous().requires_grad_(True) for value in start))


def make_optimiser(parameters: Parameters, config: Config) -> Adam:
    """AdamW with a learning rate for each attribute."""
    rates = {
        "positions": config.position_rate,
        "scales": config.scale_rate,
        "colors": config.color_rate,
        "angles": config.angle_rate,
    }
    groups = [{"params": [getattr(parameters, name)], "lr": rate} for name, rate in rates.items()]
    return Adam(groups, weight_decay=config.weight_decay or 0.0, decoupled_weight_decay=True)

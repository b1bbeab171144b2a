"""Where a fit begins: what the networks propose, or one of the controls."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from splatbench.fitting import gradient_weights
from splatbench.trace import Diverged, Trace

from .config import Config
from .gather import Parameters, gather, pixel_positions
from .sampling import distinct_share, sample
from .unet import equivalent_count
from .weights import Networks


@torch.no_grad()
def propose(networks: Networks, image: Tensor, count: int, config: Config, trace: Trace, seed: int) -> Parameters:
    """The feed-forward result: `count` Gaussians, on the device of the networks.

    Args:
        networks: in evaluation mode.
        image: [1, 3, H, W] float32 in [0, 1], on their device.
        config: resolved settings.

    Raises:
        MethodError: more distinct pixels than there are.
        Diverged: the networks give NaN or infinity.
    """
    assert config.sampling is not None
    height, width = int(image.shape[2]), int(image.shape[3])
    seen = equivalent_count(count, height, width) if config.condition == "equivalent" else count
    condition = torch.full((1, 1), float(seen), device=image.device)
    with trace.stage("networks"), torch.autocast(image.device.type, torch.bfloat16, config.precision == "bfloat16"):
        heat = networks.heat(image, condition)[0, 0]
        maps = networks.attributes(image, condition)
    with trace.stage("sampling"):
        pixels = sample(heat, count, config.sampling, np.random.default_rng(seed))
    if config.sampling == "replacement":
        trace.note(
            f"{100 * distinct_share(pixels):.1f} % of the draws are different pixels; equal Gaussians stay equal"
        )
    with trace.stage("gathering"):
        parameters = gather(maps, torch.from_numpy(pixels).to(image.device), networks.convention)
    if not all(bool(torch.isfinite(value).all()) for value in parameters):
        raise Diverged("the attribute network gives Gaussians that are NaN or infinite")
    return parameters


def control(image: np.ndarray, count: int, config: Config, seed: int) -> Parameters:
    """A start without networks, on the CPU: `random` or `gradient`.

    Args:
        image: uint8 [H, W, 3].
        config: resolved settings.

    Raises:
        MethodError: more distinct pixels than there are.
    """
    rng = np.random.default_rng(seed)
    if config.start == "random":
        uniform = [torch.from_numpy(rng.random((count, columns), np.float32)) for columns in (2, 2, 3, 1)]
        return Parameters(uniform[0], uniform[1], uniform[2], uniform[3][:, 0])
    assert config.sampling is not None
    height, width = image.shape[:2]
    weights = gradient_weights(image, 2.0).astype(np.float64)
    total = float(weights.sum())
    uniform_share = config.random_fraction if total > 0 else 1.0
    p = (1 - uniform_share) * weights / (total or 1.0) + uniform_share / weights.size
    pixels = torch.from_numpy(sample(p, count, config.sampling, rng))
    colors = torch.from_numpy(image.reshape(-1, 3)[pixels.numpy()].astype(np.float32) / np.float32(255))
    scales = torch.full((count, 2), config.start_scale * math.sqrt(height * width / count))
    return Parameters(pixel_positions(pixels, (height, width), "exact"), scales, colors, torch.zeros(count))

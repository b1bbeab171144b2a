"""What both phases need: random counts, drawn pixels, and pictures of Gaussians against their images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..sampling import Sampling, sample
from ..unet import TRAINED_PIXELS
from .settings import Settings


def random_count(settings: Settings) -> float:
    """K of a batch on 512 x 512 pixels: uniform from 0 to the larger count, but at least the smaller one [C]."""
    least, most = settings.counts
    return float(max(int(torch.rand(()).item() * most), least))


def count_on(equivalent: float, size: tuple[int, int]) -> int:
    """Gaussians on (H, W) pixels, as dense as `equivalent` on 512 x 512; one at least, one per pixel at most."""
    pixels = size[0] * size[1]
    return min(pixels, max(1, round(equivalent * pixels / TRAINED_PIXELS)))


def random_way(settings: Settings) -> Sampling:
    """One of the ways of sampling."""
    return settings.sampling[int(torch.randint(len(settings.sampling), ()))]


def drawn_pixels(heat: Tensor, count: int, how: Sampling) -> Tensor:
    """int64 [count] flat indices of pixels, drawn by the global generator's seed.

    Args:
        heat: [H, W], any real values.
    """
    rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
    return torch.from_numpy(sample(heat, count, how, rng)).to(heat.device)


def counts_of(equivalent: float, batch: Tensor) -> Tensor:
    """What the networks are told, [B, 1]."""
    return torch.full((len(batch), 1), equivalent, device=batch.device)

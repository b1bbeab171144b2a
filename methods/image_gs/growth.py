"""Progressive optimisation (paper Sec. 3.3; released code): Gaussians are added where the picture is still wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage

from splatbench.fitting import draw_weighted
from splatbench.gaussians import Gaussians2D
from splatbench.render import iter_strips

from .config import Config
from .model import Parameters
from .start import colors_at, place


@dataclass(frozen=True)
class Schedule:
    """Attributes:
    steps: of the whole fit, unless it stops early.
    first: Gaussians at the start.
    additions: how many are added after which step.
    """

    steps: int
    first: int
    additions: dict[int, int] = field(default_factory=dict)

    @property
    def grown(self) -> int:
        """The step after which nothing is added any more."""
        return max(self.additions, default=0)


def plan(n: int, config: Config, limit: int | None = None) -> Schedule:
    """How n Gaussians are spread over a fit.

    Without a limit the steps are at least those of the additions plus `post_min_steps`, as published. A limit is hard:
    where it would end the fit before the last addition, all additions come sooner, evenly spread, so that the count
    is met.

    Args:
        n: Gaussians in the end.
        config: resolved settings.
        limit: steps of a budget, in place of `iterations`.
    """
    if not config.progressive:
        return Schedule(limit or config.iterations, n)
    every, times = config.add_steps, config.add_times
    steps = limit or max(config.iterations, every * times + config.post_min_steps)
    if every * times >= steps:
        every = steps // (times + 1)
    if every == 0:
        return Schedule(steps, n)
    count = math.ceil(config.initial_ratio * n)
    most, first, additions = math.ceil((n - count) / times), count, {}
    for i in range(1, times + 1):
        if added := min(most, n - count):
            additions[i * every] = added
            count += added
    return Schedule(steps, first, additions)


def grow(
    parameters: Parameters,
    gaussians: Gaussians2D,
    image: np.ndarray,
    count: int,
    config: Config,
    rng: np.random.Generator,
) -> Parameters:
    """The parameters and `count` new Gaussians, drawn in proportion to the squared error.

    New ones take the signed residual for a colour, as published, although blending is an average; or the picture's
    colour (`added_colors`).

    Args:
        parameters: on any device.
        gaussians: what they look like now.
        image: uint8 [H, W, C].
        config: resolved settings.
    """
    height, width = image.shape[:2]
    weights = np.empty((height, width), np.float32)
    for row0, residual in residuals(gaussians, image):
        weights[row0 : row0 + len(residual)] = np.square(np.abs(residual).mean(2))
    pixels = draw_weighted(weights, count, rng)
    if config.added_colors == "target":
        colors = colors_at(image, pixels, config.gamma)
    else:
        parts = []
        for row0, residual in residuals(gaussians, image):
            inside = pixels[(pixels >= row0 * width) & (pixels < (row0 + len(residual)) * width)]
            parts.append(residual.reshape(-1, image.shape[2])[inside - row0 * width])
        colors = np.concatenate(parts)
    added = place(pixels, colors, (height, width), config)
    return {name: torch.cat([value.detach(), added[name].to(value.device)]) for name, value in parameters.items()}


def residuals(gaussians: Gaussians2D, image: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The smoothed picture minus what is shown, strip by strip: (first row, float32 [h, W, C])."""
    height, width = image.shape[:2]
    reach, sigma = blur(height, width)
    for row0, strip in iter_strips(gaussians):
        row1 = row0 + len(strip)
        first = max(0, row0 - reach)
        piece = image[first : min(height, row1 + reach)].astype(np.float32) / np.float32(255)
        if reach:
            for axis in (0, 1):
                piece = ndimage.gaussian_filter1d(piece, sigma, axis, mode="mirror", radius=reach)
        yield row0, piece[row0 - first : row1 - first] - strip.clamp(0, 1).cpu().numpy()


def blur(height: int, width: int) -> tuple[int, float]:
    """Reach (pixels on each side) and standard deviation of the smoothing of an H x W picture; 0 below 400^2 pixels."""
    size = math.isqrt(height * width) // 400
    if size < 1:
        return 0, 0.0
    size = max(3, size)
    reach = size // 2  # an even size is made odd by one more
    return reach, 0.3 * (reach - 1) + 0.8

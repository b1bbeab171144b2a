"""The start of SmartSplat: where the Gaussians are, how wide, and in which colours (paper and released code)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .colours import median_colours
from .config import Config
from .uniform import neighbour_scales, uniform_samples
from .variational import variational_samples


@dataclass(frozen=True)
class Start:
    """Isotropic Gaussians in the published order: variational samples tile by tile, then uniform ones.

    Attributes:
        positions: [N, 2] float32 (x, y) in pixels, the centre of the first pixel at (0, 0).
        scales: [N] float32, standard deviations in pixels.
        colours: [N, C] float32 in [0, 1].
        variational: how many of them are variational samples.
        crowded: how many uniform samples were drawn without exclusion, for want of room.
    """

    positions: np.ndarray
    scales: np.ndarray
    colours: np.ndarray
    variational: int
    crowded: int = 0

    def __len__(self) -> int:
        return len(self.positions)


def base_scale(count: int, size: tuple[int, int]) -> float:
    """s_base = sqrt(H W / (pi N)) / 3 in pixels (paper): circles of 3 s_base cover the area of the picture."""
    return math.sqrt(size[0] * size[1] / (math.pi * count)) / 3


def initialise(image: np.ndarray, count: int, config: Config, seed: int) -> Start:
    """All samples and their colours.

    Args:
        image: uint8 [H, W, C], contiguous; never converted as a whole.
        count: N, 1 to H W. Fewer come out where the uniform samples find no room.
        seed: at least 0.
    """
    size = image.shape[0], image.shape[1]
    variational = int(config.variational_share * count)
    base = base_scale(count, size)
    drawn, drawn_scales = variational_samples(
        image, variational, base, config.tile_padding, config.gradient_weight, seed
    )
    # The published radius is max(s_base, median variational scale); none of these scales is above s_base.
    random = np.random.default_rng([seed, 1])
    uniform, crowded = uniform_samples(
        drawn, count - variational, size, base, config.uniform_rounds, config.uniform_batch, config.top_up, random
    )
    positions = np.concatenate([drawn, uniform])
    uniform_scales = neighbour_scales(positions, variational, config.knn_include_self, typical=3 * base)
    scales = np.concatenate([drawn_scales, uniform_scales])
    colours = median_colours(image, positions, scales, config.colour_weight_units)
    return Start(positions, scales, colours, variational, crowded)

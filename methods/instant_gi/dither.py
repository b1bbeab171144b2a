"""From a map of probabilities to points: error diffusion after Floyd and Steinberg (paper, Sec. 3.2; the weights at the
borders are those of the released code).

Rows are run left to right, all of them; sums are float32 and are never fused or reordered, so that the same map gives
the same points on every machine.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numpy as np

from splatbench.method import MethodError
from splatbench.render.jit import kernel


def dither(density: np.ndarray) -> np.ndarray:
    """The cells that become points; their number is about the sum of the map.

    Args:
        density: [h, w], values in [0, 1], taken as float32. A map of one column, for which the released code has no
            rule, hands its errors downwards.

    Returns:
        bool [h, w].

    Raises:
        MethodError: not such a map, or it holds NaN or infinity.
    """
    values = np.array(density, np.float32, order="C")  # a copy: errors are added to it
    if values.ndim != 2 or values.size == 0:
        raise MethodError(f"Instant-GI: a map of densities is [h, w] and not empty, got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise MethodError("Instant-GI: the map of densities holds NaN or infinity; the network's weights are unusable")
    cells = np.empty(values.shape, np.bool_)
    _diffuse(values, cells)
    return cells


def points_of(cells: np.ndarray, block: int, size: tuple[int, int]) -> np.ndarray:
    """The centres of the chosen blocks of pixels, row by row.

    Args:
        cells: bool [ceil(H / block), ceil(W / block)].
        block: side of a block in pixels.
        size: (H, W) of the picture; centres of blocks that reach beyond it may lie outside and are dropped.

    Returns:
        float32 [P, 2] (x, y) in pixels, coordinates of pixel corners: the first block's centre is at block / 2.
    """
    rows, columns = np.nonzero(cells)
    points = np.stack([columns, rows], 1).astype(np.float32) * np.float32(block) + np.float32(block / 2)
    height, width = size
    return points[(points[:, 0] < width) & (points[:, 1] < height)]


@kernel(fastmath=False)
def _diffuse(values, cells):
    """Each cell's error goes to the right and to the three cells below; at the borders the rest of the weights is
    scaled up to 1 (without the corner below at the left; at the right the released code gives 3/8 and 5/8)."""
    rows, columns = values.shape
    half, one = np.float32(0.5), np.float32(1)
    for y in range(rows):
        for x in range(columns):
            value = values[y, x]
            cells[y, x] = value >= half
            error = value - one if value >= half else value
            first, last = x == 0, x == columns - 1
            if y == rows - 1:
                if not last:
                    values[y, x + 1] += error
            elif first and last:
                values[y + 1, x] += error
            elif first:
                values[y, x + 1] += error * np.float32(7 / 13)
                values[y + 1, x] += error * np.float32(5 / 13)
                values[y + 1, x + 1] += error * np.float32(1 / 13)
            elif last:
                values[y + 1, x - 1] += error * np.float32(3 / 8)
                values[y + 1, x] += error * np.float32(5 / 8)
            else:
                values[y, x + 1] += error * np.float32(7 / 16)
                values[y + 1, x - 1] += error * np.float32(3 / 16)
                values[y + 1, x] += error * np.float32(5 / 16)
                values[y + 1, x + 1] += error * np.float32(1 / 16)

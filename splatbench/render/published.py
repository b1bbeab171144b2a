"""What the published kernels do beside the mathematics (GaussianImage's renderer, a fork of gsplat 0.1).

They work in tiles of 16 x 16 pixels. A tile sees the Gaussians whose square of half side ceil(3 sqrt(lambda)) around
the mean touches it ("tiles_3sigma"), and of these only the 256 with the lowest indices ("tile_cap_256").
Coordinates there: pixel centres are integers, so u = mean - 0.5.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from .jit import kernel
from .threads import run, thread_count

TILE = 16
CAP = 256
_EIGENVALUE_FLOOR = 0.1  # inside the square root: a unit Gaussian gets radius 4, none less than 2


@kernel(fastmath=False)
def _tile_range(u, radius, tiles):
    """Tiles [first, last) that u - radius .. u + radius touches; conversions cut towards zero, as published."""
    first = min(max(math.trunc(u / TILE - radius / TILE), 0.0), float(tiles))
    last = min(max(math.trunc(u / TILE + radius / TILE + 1), 0.0), float(tiles))
    return int(first), int(last)


@kernel(fastmath=False)
def _clip(t, threads, means, covariances, height, width, out):
    n, tx, ty = len(means), (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    for i in range(n * t // threads, n * (t + 1) // threads):
        xx, xy, yy = covariances[i, 0], covariances[i, 1], covariances[i, 2]
        ux, uy = means[i, 0] - 0.5, means[i, 1] - 0.5
        half = (xx + yy) / 2
        largest = half + math.sqrt(max(_EIGENVALUE_FLOOR, half * half - (xx * yy - xy * xy)))
        radius = math.ceil(3 * math.sqrt(largest))
        out[i] = 0
        if math.isfinite(ux) and math.isfinite(uy) and math.isfinite(radius):
            x0, x1 = _tile_range(ux, radius, tx)
            y0, y1 = _tile_range(uy, radius, ty)
            out[i, 0], out[i, 1], out[i, 2], out[i, 3] = TILE * x0, TILE * x1, TILE * y0, TILE * y1


def tile_clip(means: np.ndarray, covariances: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels that each Gaussian may touch by the rule "tiles_3sigma".

    Args:
        means: [N, 2] float32 in pixels (pixel centres at 0.5).
        covariances: [N, 3] float64 (Sxx, Sxy, Syy).

    Returns:
        [N, 4] int32 (x0, x1, y0, y1), upper bounds exclusive, multiples of 16; zeros where nothing is touched.
    """
    out = np.empty((len(means), 4), np.int32)
    run(thread_count(), _clip, means, covariances, height, width, out)
    return out

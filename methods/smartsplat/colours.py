"""Colours of the start: Gaussian-weighted medians of the picture in a disc that grows with the scale (paper;
details from the released code)."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from splatbench.render.jit import kernel
from splatbench.render.threads import run, thread_count

REACH = 4  # lattice steps; a step is a quarter of the scale
#: Offsets (u, v) of the 69 taps: those of a 9 x 9 lattice with u^2 + v^2 <= 4.5^2.
TAPS = np.array(
    [(u, v) for v in range(-REACH, REACH + 1) for u in range(-REACH, REACH + 1) if u * u + v * v <= (REACH + 0.5) ** 2],
    np.int64,
)
_EPSILON = 1e-6  # pixels, added to the scale [released code]


def median_colours(image: np.ndarray, positions: np.ndarray, scales: np.ndarray, units: str) -> np.ndarray:
    """Weighted medians of the picture around positions, channel by channel.

    Taps are at p + (u, v) s / 4, bilinear between pixels and 0 outside the picture; their weights are
    exp(-(u^2 + v^2) / (2 (s + 1e-6)^2)), or with units "pixel" of the distance (u, v) s / 4. The median is the smallest
    tap at which the weights of all up to it reach half of their sum.

    Args:
        image: uint8 [H, W, C], contiguous.
        positions: [N, 2] float32 (x, y), the centre of the first pixel at (0, 0).
        scales: [N] float32 in pixels, > 0.
        units: "lattice" (released code) or "pixel" (paper).

    Returns:
        [N, C] float32 in [0, 1].
    """
    out = np.empty((len(positions), image.shape[2]), np.float32)
    run(thread_count(), _medians, image, positions, scales, TAPS, units == "pixel", out)
    return out


@kernel
def _medians(t, threads, image, positions, scales, taps, pixels, out):
    n, channels = out.shape
    values, weights = np.empty((channels, len(taps))), np.empty(len(taps))
    column, order = np.empty(len(taps)), np.empty(len(taps))
    for i in range(n * t // threads, n * (t + 1) // threads):
        s = np.float64(scales[i])
        step = s / REACH
        unit = step if pixels else 1.0
        for k in range(len(taps)):
            u, v = taps[k, 0], taps[k, 1]
            weights[k] = math.exp(-0.5 * (u * u + v * v) * (unit / (s + _EPSILON)) ** 2)
            _sample(image, positions[i, 0] + u * step, positions[i, 1] + v * step, values, k)
        for c in range(channels):
            column[:], order[:] = values[c], weights
            out[i, c] = min(1.0, max(0.0, _weighted_median(column, order) / 255))


@kernel
def _sample(image, x, y, values, k):
    """Bilinear values at (x, y) to values[:, k]; 0 outside the picture."""
    height, width, channels = image.shape
    left, top = math.floor(x), math.floor(y)
    fx, fy = x - left, y - top
    for c in range(channels):
        values[c, k] = 0.0
    for row in range(max(0, top), min(height, top + 2)):
        wy = fy if row > top else 1 - fy
        for column in range(max(0, left), min(width, left + 2)):
            w = wy * (fx if column > left else 1 - fx)
            for c in range(channels):
                values[c, k] += w * image[row, column, c]


@kernel
def _weighted_median(values, weights):
    """Lower weighted median by selection around pivots; reorders both arrays [n >= 1]."""
    half = 0.5 * weights.sum()
    first, last, below = 0, len(values), 0.0
    while True:
        a, b, c = values[first], values[(first + last) // 2], values[last - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        less, equal, lighter, same = first, first, 0.0, 0.0  # [first, less) is smaller, [less, equal) is the pivot
        for i in range(first, last):
            value, weight = values[i], weights[i]
            if value > pivot:
                continue
            values[i], weights[i] = values[equal], weights[equal]
            place = equal
            if value < pivot:
                values[equal], weights[equal] = values[less], weights[less]
                place = less
                less += 1
                lighter += weight
            else:
                same += weight
            values[place], weights[place] = value, weight
            equal += 1
        if less > first and below + lighter >= half:
            last = less
        elif equal == last or below + lighter + same >= half:
            return pivot
        else:
            below += lighter + same
            first = equal

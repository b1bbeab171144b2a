"""Variational samples: pixels drawn tile by tile with a probability that grows with gradient and local variance
(paper, Eq. 12 and before it; details from the released code).

Positions here and in the other samplers are in pixels with the centre of the first pixel at (0, 0), as published.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from splatbench.render.jit import kernel
from splatbench.render.threads import thread_count

TILE = 1024
_MARGIN = 2  # pixels around a tile that its 5 x 5 windows look at
_WINDOW = 25
_LEAST_WEIGHT = _LEAST_MAXIMUM = 1e-8  # [released code]


def tile_starts(length: int) -> list[int]:
    """First pixels of the tiles along an axis of so many pixels; tiles are min(1024, length) long and may overlap.

    The step is rounded down, so up to (number of tiles - 2) pixels at the end belong to no tile [released code].
    """
    tiles = -(-length // TILE)
    step = (length - TILE) // (tiles - 1) if tiles > 1 else 0
    return [i * step for i in range(tiles)]


def importance(image: np.ndarray, row: int, column: int, padding: str, gradient_weight: float) -> np.ndarray:
    """Weights w of one tile, float32 [h, w] in [1e-8, 1].

    w = max(1e-8, l m / (max m + 1e-8) + (1 - l) v / (max v + 1e-8)), with the magnitude m of the Sobel gradient of the
    mean of the channels, the unbiased variance v of 5 x 5 pixels, averaged over the channels, values in [0, 1], and
    maxima over the tile. Sums of bytes are integers, so m^2 and v are exact but for one rounding.

    Args:
        image: uint8 [H, W, C], contiguous.
        row, column: first pixel of the tile.
        padding: what lies around the tile: "zero", or "halo", the picture itself (its edge repeated outside).
        gradient_weight: l.
    """
    height, width, channels = image.shape
    h, w = min(TILE, height), min(TILE, width)
    if padding == "halo":
        rows = np.clip(np.arange(row - _MARGIN, row + h + _MARGIN), 0, height - 1)
        columns = np.clip(np.arange(column - _MARGIN, column + w + _MARGIN), 0, width - 1)
        padded = image[rows[:, None], columns]
    else:
        padded = np.zeros((h + 2 * _MARGIN, w + 2 * _MARGIN, channels), np.uint8)
        padded[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = image[row : row + h, column : column + w]
    gradient, variance = np.empty((h, w), np.float32), np.empty((h, w), np.float32)
    _features(padded.reshape(len(padded), -1), channels, gradient, variance)
    gradient *= gradient_weight / (gradient.max() + _LEAST_MAXIMUM)
    variance *= (1 - gradient_weight) / (variance.max() + _LEAST_MAXIMUM)
    gradient += variance
    return np.maximum(gradient, np.float32(_LEAST_WEIGHT), out=gradient)


def variational_samples(
    image: np.ndarray, count: int, base_scale: float, padding: str, gradient_weight: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scales of the variational samples.

    Every tile gets the same number, the first ones one more; within a tile pixels are drawn without replacement with
    probability proportional to w (the smallest of Exp(1) / w win, in this order). Tiles overlap, so a pixel can be
    drawn by two of them. s = s_base exp(-w / 2).

    Args:
        image: uint8 [H, W, C], contiguous.
        count: at most H W.
        base_scale: s_base in pixels.
        padding, gradient_weight: see `importance`.
        seed: each tile has a random stream of its own, so the number of threads changes nothing.

    Returns:
        (positions [count, 2] (x, y), scales [count] in pixels), float32, tile by tile, rows of tiles first.
    """
    tiles = list(itertools.product(tile_starts(image.shape[0]), tile_starts(image.shape[1])))
    quotas = [count // len(tiles) + (i < count % len(tiles)) for i in range(len(tiles))]

    def draw(i: int) -> tuple[np.ndarray, np.ndarray]:
        row, column = tiles[i]
        weights = importance(image, row, column, padding, gradient_weight)
        chosen = draw_pixels(weights.reshape(-1), quotas[i], np.random.default_rng([seed, 0, i]))
        y, x = np.divmod(chosen, weights.shape[1])
        positions = np.stack([x + column, y + row], 1).astype(np.float32)
        return positions, (base_scale * np.exp(-0.5 * weights.reshape(-1)[chosen].astype(np.float64))).astype(
            np.float32
        )

    with ThreadPoolExecutor(thread_count()) as pool:
        parts = list(pool.map(draw, (i for i in range(len(tiles)) if quotas[i])))
    empty = np.empty((0, 2), np.float32), np.empty(0, np.float32)
    positions, scales = zip(empty, *parts, strict=True)
    return np.concatenate(positions), np.concatenate(scales)


def draw_pixels(weights: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Indices [count] drawn without replacement with probability proportional to the weights [n >= count], > 0."""
    keys = random.standard_exponential(len(weights))
    keys /= weights
    chosen = np.argpartition(keys, count - 1)[:count] if count < len(keys) else np.arange(len(keys))
    return chosen[np.argsort(keys[chosen], kind="stable")]


@kernel
def _features(padded, channels, gradient, variance):
    """Gradient magnitude and variance of the inner pixels of `padded` uint8 [h + 4, (w + 4) C], values in [0, 1].

    Sums over the 5 rows of the window slide down, column by column; all sums are exact in int32.
    """
    h, w = gradient.shape
    values, side = padded.shape[1], channels * _MARGIN
    sums, squares, spread = np.zeros(values, np.int32), np.zeros(values, np.int32), np.empty(values, np.int32)
    grey = np.zeros((4, w + 2 * _MARGIN), np.int32)  # the channels' sums of the last rows; row r is in place r % 4
    to_gradient = np.float32(1.0 / (255.0 * channels))
    # `spread` is 25 sum(p^2) - sum(p)^2; divided by 25 * 24 it is the variance
    to_variance = np.float32(1.0 / (_WINDOW * (_WINDOW - 1) * 255.0**2 * channels))
    for y in range(-4, h):
        for k in range(values):
            p = np.int32(padded[y + 4, k])
            sums[k] += p
            squares[k] += p * p
        for x in range(w + 2 * _MARGIN):
            total = np.int32(0)
            for c in range(channels):
                total += np.int32(padded[y + 4, x * channels + c])
            grey[y & 3, x] = total
        if y < 0:
            continue
        for k in range(side, values - side):
            s = sums[k - 2 * channels] + sums[k - channels] + sums[k] + sums[k + channels] + sums[k + 2 * channels]
            q = (squares[k - 2 * channels] + squares[k - channels] + squares[k] + squares[k + channels]
                 + squares[k + 2 * channels])  # fmt: skip
            spread[k] = _WINDOW * q - s * s
        above, here, below = (y + 1) & 3, (y + 2) & 3, (y + 3) & 3
        for x in range(w):
            total = np.int32(0)
            for c in range(channels):
                total += spread[side + x * channels + c]
            variance[y, x] = np.float32(total) * to_variance
        for x in range(w):
            gx = (grey[above, x + 3] - grey[above, x + 1] + 2 * (grey[here, x + 3] - grey[here, x + 1])
                  + grey[below, x + 3] - grey[below, x + 1])  # fmt: skip
            gy = (grey[below, x + 1] - grey[above, x + 1] + 2 * (grey[below, x + 2] - grey[above, x + 2])
                  + grey[below, x + 3] - grey[above, x + 3])  # fmt: skip
            gradient[y, x] = math.sqrt(np.float32(gx * gx + gy * gy)) * to_gradient
        for k in range(values):
            p = np.int32(padded[y, k])
            sums[k] -= p
            squares[k] -= p * p

"""Where Gaussians begin: pixels drawn without replacement, and weights to draw them by."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

#: Share of the mean weight that every pixel has at least, so that any number of pixels can be drawn.
_FLOOR = 1e-12


def draw_weighted(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct indices of an array [...], drawn one after the other in proportion to the weights that are left.

    Done by an exponential race (Efraimidis and Spirakis 2006): the `count` smallest of E_i / w_i, with E_i standard
    exponential. Weights have a floor of 1e-12 of their mean, and are equal where all are 0.

    Args:
        weights: finite, not negative.
        count: at most as many as there are weights.

    Returns:
        int64 [count], flat indices, ascending.

    Raises:
        ValueError: more draws than weights, or weights that are negative, NaN or infinite.
    """
    if not 0 <= count <= weights.size:
        raise ValueError(f"cannot draw {count} of {weights.size} pixels without replacement")
    mean = float(weights.mean(dtype=np.float64)) if weights.size else 0.0
    if not (np.isfinite(mean) and float(weights.min(initial=0.0)) >= 0):
        raise ValueError("weights of pixels must be finite and not negative")
    if count == 0:
        return np.zeros(0, np.int64)
    keys = rng.standard_exponential(weights.size, dtype=np.float32)
    if mean > 0:
        keys /= np.maximum(weights.reshape(-1) / np.float32(mean), np.float32(_FLOOR))
    return np.sort(np.argpartition(keys, count - 1)[:count])


def draw_uniform(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct indices below `size`, int64 [count]."""
    return rng.choice(size, count, replace=False)


def gradient_weights(image: np.ndarray, power: float) -> np.ndarray:
    """|gradient|^power of uint8 [H, W, C], float32 [H, W]: 3x3 Sobel filters, norm over channels and directions."""
    squared = np.zeros(image.shape[:2], np.float32)
    for channel in range(image.shape[2]):
        values = image[..., channel].astype(np.float32) / np.float32(255)
        for axis in (0, 1):
            squared += np.square(ndimage.sobel(values, axis))
    return squared if power == 2 else squared ** np.float32(power / 2)

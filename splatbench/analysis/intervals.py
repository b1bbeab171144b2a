"""Bootstrap confidence intervals of means over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

#: Two values only have three different resamples, so that an interval of them says nothing.
FEWEST_VALUES = 3

#: Rows that are resampled together, and resamples made at a time: bounds memory (80 MB for 9999 resamples).
_ROWS, _BATCH = 1000, 2048


@dataclass(frozen=True)
class Interval:
    """A confidence interval from `low` to `high`; `level` is its nominal coverage, 0..1."""

    low: float
    high: float
    level: float


def mean_interval(
    values: ArrayLike, level: float = 0.95, resamples: int = 9999, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidence intervals of means by the BCa bootstrap (bias-corrected and accelerated; Efron 1987).

    `scipy.stats.bootstrap`, with the same resampled images for all rows: equal input gives equal output. A row of
    equal values has that value as both limits. Below n of about 20, intervals are known to be somewhat too narrow.

    Args:
        values: [..., n], one value per image along the last axis, finite.
        level: nominal coverage, between 0 and 1.

    Returns:
        Lower and upper limits, [...] each, in the unit of the values. NaN where n < 3: resamples of one or two
        values are those values and their mean, which tells nothing about images that were not seen.

    Raises:
        ValueError: values that are not finite or have no axis, or a level outside of (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        raise ValueError("the mean's interval needs an array of values, got a single number")
    if not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} of {array.size} values are NaN or infinite")
    if not 0 < level < 1:
        raise ValueError(f"the level of a confidence interval is between 0 and 1, got {level}")
    shape, n = array.shape[:-1], array.shape[-1]
    if n < FEWEST_VALUES:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    rows = array.reshape(-1, n)
    limits = np.stack([rows[:, 0], rows[:, 0]])
    varied = np.flatnonzero(np.ptp(rows, axis=1) > 0)
    for start in range(0, len(varied), _ROWS):
        some = varied[start : start + _ROWS]
        limits[:, some] = _limits(rows[some], level, resamples, seed)
    return limits[0].reshape(shape), limits[1].reshape(shape)


def _limits(rows: NDArray[np.float64], level: float, resamples: int, seed: int) -> NDArray[np.float64]:
    """Limits [2, rows] of rows that vary."""
    n = rows.shape[1]
    centre, scale = rows.mean(axis=1), rows.std(axis=1)
    standard = (rows - centre[:, None]) / scale[:, None]

    def means(images: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        """Means [rows, resamples] of resampled images [resamples, k]: one product instead of a gather per row."""
        resampled = np.atleast_2d(images)
        cells = resampled + n * np.arange(len(resampled))[:, None]
        counts = np.bincount(cells.ravel(), minlength=n * len(resampled)).reshape(-1, n)
        product = standard @ counts.T / images.shape[-1]
        # BCa counts the resamples whose mean equals the sample's, which summation in another order must not hide.
        return np.round(product if images.ndim == 2 else product[:, 0], 12)

    result: Any = bootstrap(
        (np.arange(n),),
        means,
        vectorized=True,
        method="BCa",
        confidence_level=level,
        n_resamples=resamples,
        batch=_BATCH,
        rng=np.random.default_rng(seed),
    )
    limits = centre + scale * np.stack([result.confidence_interval.low, result.confidence_interval.high])
    return np.clip(limits, rows.min(axis=1), rows.max(axis=1))  # rounded means leave the values' range by 1e-12

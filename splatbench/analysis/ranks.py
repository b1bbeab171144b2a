"""Ranks where differences are significant: the range of ranks that a row of a board may have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from splatbench.analysis.significance import holm, signed_rank, smallest_p

#: Differences that one board may take: rows * (rows - 1) / 2 * images, 1000 rows of 24 images. Five seconds.
MOST_DIFFERENCES = 12_000_000


@dataclass(frozen=True)
class RankRange:
    """Ranks from `low` (best, 1 at least) to `high` that a row may have."""

    low: int
    high: int


@dataclass(frozen=True)
class Ranking:
    """What may be said about the order of a board.

    Attributes:
        ranges: one per row.
        better: [m, m] booleans, better[i, j] where row i is significantly better than row j; None where nothing was
            tested.
        reason: why nothing could be told apart (all ranges are then 1..m); None where the tests were made.
    """

    ranges: tuple[RankRange, ...]
    better: NDArray[np.bool_] | None
    reason: str | None


def rank_ranges(values: ArrayLike, *, higher_is_better: bool, alpha: float = 0.05) -> Ranking:
    """Rank ranges within a board whose rows have the same images.

    All pairs of rows are compared with Wilcoxon's signed-rank test, corrected over all pairs (Holm). A row is better
    than another where the corrected p is below alpha and both the mean and the signed ranks say so. The range of a row
    is 1 + (rows that are better) .. m - (rows that are worse).

    Args:
        values: [m, n], m rows of n images, finite.
        alpha: probability of any false claim in the board.

    Raises:
        ValueError: values that are not finite or not [m, n], or an alpha outside of (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"the values of a board are [rows, images], got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        row, image = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"row {row}, image {image}: {array[row, image]} cannot be ranked")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is between 0 and 1, got {alpha}")
    reason = _why_untestable(len(array), array.shape[1], alpha)
    if reason is not None:
        return Ranking((RankRange(1, len(array)),) * len(array), None, reason)
    better = _better(array if higher_is_better else -array, alpha)
    low, high = 1 + better.sum(axis=0), len(array) - better.sum(axis=1)
    return Ranking(tuple(RankRange(int(a), int(b)) for a, b in zip(low, high, strict=True)), better, None)


def _why_untestable(m: int, n: int, alpha: float) -> str | None:
    pairs = m * (m - 1) // 2
    if pairs * n > MOST_DIFFERENCES:
        return f"{m} rows of {n} images are more than are compared pair by pair"
    if pairs and smallest_p(n) >= alpha:
        return f"{n} images are too few: the smallest p value they can give is {smallest_p(n):.3g}"
    if smallest_p(n) * pairs >= alpha:
        return f"{n} images are too few to tell {m} rows apart, after correction for {pairs} comparisons"
    return None


def _better(values: NDArray[np.float64], alpha: float) -> NDArray[np.bool_]:
    """[m, m]: which row is better than which, where higher is better."""
    first, second = np.triu_indices(len(values), k=1)
    differences = values[first] - values[second]
    p_values, direction = signed_rank(differences)
    found = (holm(p_values) < alpha) & (np.sign(differences.sum(axis=1)) == direction)
    better = np.zeros((len(values), len(values)), dtype=bool)
    better[first, second] = found & (direction > 0)
    better[second, first] = found & (direction < 0)
    return better

"""Wilcoxon's signed-rank test of paired differences, many at a time, and Holm's correction for many tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, wilcoxon

#: Up to here all sign patterns are enumerated where ties forbid the tabulated distribution.
_ENUMERATED = 13
#: Up to here the tabulated exact distribution is used.
_TABULATED = 50
#: Numbers in one intermediate array: bounds memory (8 MB).
_CELLS = 1_000_000


def smallest_p(n: int) -> float:
    """The smallest two-sided p value that n paired differences can give: 0.0625 for five, 0.03125 for six."""
    return min(1.0, 2.0 ** (1 - n))


def signed_rank(differences: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two-sided Wilcoxon signed-rank tests; differences of zero are ranked and then dropped (Pratt 1959).

    The p value is exact for n <= 50 without ties among the absolute differences, and for n <= 13 in any case;
    otherwise it is the normal approximation with corrections for ties and continuity. With five images nothing can
    be significant at 5 % (`smallest_p`). A row of zeros has p = 1. A row's result does not depend on the other rows.

    Args:
        differences: [rows, n], finite.

    Returns:
        p values [rows], and the directions [rows] in which the signed ranks point: -1, 0 or 1.

    Raises:
        ValueError: differences that are not finite, or not two-dimensional.
    """
    array = np.asarray(differences, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"differences are [rows, n], got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} of {array.size} differences are NaN or infinite")
    p, direction = np.ones(len(array)), np.zeros(len(array), dtype=np.int64)
    if not array.size:
        return p, direction
    step = max(1, _CELLS // array.shape[1])
    for start in range(0, len(array), step):
        part = slice(start, start + step)
        p[part], direction[part] = _signed_rank(array[part])
    return p, direction


def _signed_rank(differences: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    n = differences.shape[1]
    size = np.sort(np.abs(differences), axis=1)
    zero = size[:, -1] == 0
    tied = ((np.diff(size, axis=1) == 0).any(axis=1) | (size[:, 0] == 0)) & ~zero
    clear = ~tied & ~zero
    ranks = rankdata(np.abs(differences), axis=1) * np.sign(differences)
    p = np.ones(len(differences))
    # scipy chooses one method for all rows of a call: rows with ties must not change it for those without.
    if clear.any():
        p[clear] = wilcoxon(differences[clear], axis=1, method="exact" if n <= _TABULATED else "asymptotic").pvalue
    if tied.any() and n <= _ENUMERATED:
        p[tied] = _enumerated(ranks[tied])
    elif tied.any():
        tests = wilcoxon(differences[tied], axis=1, zero_method="pratt", correction=True, method="asymptotic")
        p[tied] = tests.pvalue
    return p, np.sign(ranks.sum(axis=1)).astype(np.int64)


def _enumerated(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p values of signed ranks [rows, n] among all 2^n equally likely patterns of signs."""
    n = ranks.shape[1]
    signs = 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) - 1
    p = np.empty(len(ranks))
    step = max(1, _CELLS // 2**n)
    for start in range(0, len(ranks), step):
        part = slice(start, start + step)
        # Ranks are multiples of 1/2, so sums are exact and may be compared.
        sums = np.abs(ranks[part]) @ signs.T
        seen = np.abs(ranks[part].sum(axis=1))
        p[part] = (np.abs(sums) >= seen[:, None]).mean(axis=1)
    return p


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p values adjusted for their number: the probability of any false finding among all stays below alpha (Holm 1979).

    Args:
        p_values: [k], each 0..1, in any order.

    Returns:
        Adjusted values [k] in the same order: at least p, at most 1, ordered as p is.

    Raises:
        ValueError: a value outside of 0..1 or NaN.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p values are a list of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted

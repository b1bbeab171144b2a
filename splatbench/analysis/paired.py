"""Two sets of values of the same images: mean difference with its interval, wins, ties, losses, significance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from splatbench.analysis.intervals import FEWEST_VALUES, Interval, mean_interval
from splatbench.analysis.significance import signed_rank

__all__ = ["Interval", "Paired", "compare", "compare_rows", "mean_interval"]


@dataclass(frozen=True)
class Paired:
    """a against b, image by image.

    Attributes:
        n: images that both have.
        difference: mean of a - b in the metric's unit; None without common images.
        interval: of the mean difference; None for fewer than three images.
        wins, ties, losses: images on which a is better, within the tie, or worse; their sum is n.
        p_value: of the two-sided Wilcoxon signed-rank test (`significance.signed_rank`); None without common images.
            Five images give 0.0625 at best and so never significance at 5 %, six 0.03125.
    """

    n: int
    difference: float | None
    interval: Interval | None
    wins: int
    ties: int
    losses: int
    p_value: float | None


def compare(
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    tie: float,
    higher_is_better: bool,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Paired:
    """Compare two methods on the images that both have.

    Args:
        a, b: image -> value.
        tie: images with |a - b| < tie count as ties; 0 lets only equal values tie. The test of significance does not
            round: it takes the differences as they are.

    Raises:
        ValueError: a value that is not finite (the message names the image), or a negative tie.
    """
    common = sorted(a.keys() & b.keys())
    for image in common:
        if not (np.isfinite(a[image]) and np.isfinite(b[image])):
            raise ValueError(f"image {image!r}: cannot compare {a[image]} with {b[image]}")
    first, second = (np.array([[values[image] for image in common]], dtype=np.float64) for values in (a, b))
    return compare_rows(
        first, second, tie=tie, higher_is_better=higher_is_better, level=level, resamples=resamples, seed=seed
    )[0]


def compare_rows(
    a: ArrayLike,
    b: ArrayLike,
    *,
    tie: float,
    higher_is_better: bool,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> list[Paired]:
    """`compare` for many pairs whose images are the same: a and b are [rows, n], or one of them [n] for all rows.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or a negative tie.
    """
    if not tie >= 0:
        raise ValueError(f"a tie is a difference of at least 0, got {tie}")
    differences = np.atleast_2d(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
    n = differences.shape[1]
    p_values, _ = signed_rank(differences)
    lows, highs = mean_interval(differences, level, resamples, seed)
    tied = (np.abs(differences) < tie) | (differences == 0)
    won = (differences > 0 if higher_is_better else differences < 0) & ~tied
    return [
        Paired(
            n=n,
            difference=float(row.mean()) if n else None,
            interval=Interval(float(low), float(high), level) if n >= FEWEST_VALUES else None,
            wins=int(wins),
            ties=int(ties),
            losses=n - int(wins) - int(ties),
            p_value=float(p) if n else None,
        )
        for row, low, high, wins, ties, p in zip(
            differences, lows, highs, won.sum(axis=1), tied.sum(axis=1), p_values, strict=True
        )
    ]

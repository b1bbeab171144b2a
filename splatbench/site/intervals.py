"""Confidence intervals of the rows' mean PSNR, made once for all pages that show them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from splatbench.analysis.intervals import mean_interval
from splatbench.site.page import Site

#: The metric that intervals are shown of.
METRIC = "psnr"


def row_intervals(site: Site) -> dict[str, tuple[float, float]]:
    """Id of a row -> 95 % interval of its mean PSNR in dB; rows with fewer than three values are left out."""
    # As functools.cached_property does it: with the object, for as long as there is the object.
    store = vars(site)
    if "_intervals" not in store:
        found = mean_intervals([list(row.row.values.get(METRIC, {}).values()) for row in site.rows])
        store["_intervals"] = {row.id: each for row, each in zip(site.rows, found, strict=True) if each is not None}
    intervals: dict[str, tuple[float, float]] = store["_intervals"]
    return intervals


def mean_intervals(values: Sequence[Sequence[float]]) -> list[tuple[float, float] | None]:
    """95 % intervals of means, rows of equal length at once; None where a row has too few values for one."""
    found: list[tuple[float, float] | None] = [None] * len(values)
    lengths: dict[int, list[int]] = {}
    for index, row in enumerate(values):
        lengths.setdefault(len(row), []).append(index)
    for length, members in lengths.items():
        if length:
            lows, highs = mean_interval(np.array([values[i] for i in members]))
            for index, low, high in zip(members, lows.tolist(), highs.tolist(), strict=True):
                if math.isfinite(low):
                    found[index] = (round(low, 4), round(high, 4))
    return found

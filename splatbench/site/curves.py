"""Convergence: the quality that a fit reports while it runs, as a mean over images on a common grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatbench.record import Record
from splatbench.site.compact import compact

#: Points of a curve; more cannot be told apart on a screen.
MOST_POINTS = 40


def mean_curve(records: Sequence[Record]) -> dict[str, Any] | None:
    """The mean training PSNR of a row's images against fitting steps and against seconds.

    Each axis is a grid from the first moment at which every image has a value to the last one of the slowest image:
    spaced by logarithm, since fits gain most at the beginning. An image that has finished keeps its last value.

    Returns:
        images: how many have a curve; steps, seconds: [[x ...], [PSNR in dB ...]] each; None where no image has
        two points, and for an axis on which they are all the same.
    """
    curves = [curve for record in records if record.status == "ok" and len(curve := _points(record)) > 1]
    if not curves:
        return None
    return {
        "images": len(curves),
        "steps": _mean([curve[:, [0, 2]] for curve in curves]),
        "seconds": _mean([curve[:, [1, 2]] for curve in curves]),
    }


def _points(record: Record) -> NDArray[np.float64]:
    """[n, 3] step, seconds, PSNR: of the quantised picture in a quantisation-aware phase; a mean squared error of
    [0, 1] pictures is converted."""
    points = []
    for step, seconds, values in record.curve:
        psnr = values.get("psnr", values.get("qat_psnr"))
        if psnr is None and values.get("mse", 0) > 0:
            psnr = -10 * math.log10(values["mse"])
        if psnr is not None and math.isfinite(psnr):
            points.append((step, seconds, psnr))
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def _mean(curves: Sequence[NDArray[np.float64]]) -> list[list[float | int | None]] | None:
    """Curves [n, 2] of x and PSNR -> their mean on one grid."""
    curves = [curve[curve[:, 0] > 0] for curve in curves]
    if not all(len(curve) for curve in curves):
        return None
    start, end = max(curve[0, 0] for curve in curves), max(curve[-1, 0] for curve in curves)
    if not start < end:
        return None
    grid = np.geomspace(start, end, min(MOST_POINTS, max(map(len, curves))))
    mean = np.mean([np.interp(grid, curve[:, 0], curve[:, 1]) for curve in curves], axis=0)
    return [[compact(x, 4) for x in grid.tolist()], [compact(y, 5) for y in mean.tolist()]]

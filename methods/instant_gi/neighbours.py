"""Distances of pixels to their n-th nearest point, exact, by a grid of cells."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from splatbench.render.jit import kernel

#: Points that a cell holds on average.
_PER_CELL = 2.0


def nth_nearest(points: np.ndarray, size: tuple[int, int], n: int) -> np.ndarray:
    """For the centre of every pixel the distance to the n-th nearest point, in pixels; float32 [H, W].

    Args:
        points: [N, 2] (x, y) in pixels, finite, the centre of the first pixel at (0.5, 0.5); N >= n. They may lie
            outside the picture.
        size: (H, W).
    """
    points = np.ascontiguousarray(points, np.float64)
    low, high = points.min(0), points.max(0)
    side = max(math.sqrt(_PER_CELL * float(np.prod(np.maximum(high - low, 1.0))) / len(points)), 1e-6)
    columns, rows = (int(length // side) + 1 for length in high - low)
    cell = ((points - low) // side).astype(np.int64)
    number = cell[:, 1] * columns + cell[:, 0]
    order = np.argsort(number, kind="stable")
    first = np.searchsorted(number[order], np.arange(rows * columns + 1))
    out = np.empty(size, np.float32)
    _search(points[order], first, low, side, columns, rows, n, out)
    return out


@kernel
def _search(points, first, low, side, columns, rows, n, out):
    """Rings of cells around the pixel's own are looked through until none further out can hold a nearer point."""
    best = np.empty(n)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            x, y = j + 0.5, i + 0.5
            cx = math.floor((x - low[0]) / side)
            cy = math.floor((y - low[1]) / side)
            # One pixel further the n-th nearest is at most one further: anything beyond that need not be looked at.
            best[:] = np.inf if j == 0 else (math.sqrt(best[n - 1]) + 1.0) ** 2
            # From the pixel to the edge of its own cell: what lies r rings out is at least r - 1 cells and this away.
            inside = min(x - low[0] - cx * side, (cx + 1) * side - x + low[0],
                         y - low[1] - cy * side, (cy + 1) * side - y + low[1])  # fmt: skip
            ring = max(0, max(-cx, cx - columns + 1), max(-cy, cy - rows + 1))
            last = max(max(abs(cx), abs(columns - 1 - cx)), max(abs(cy), abs(rows - 1 - cy)))
            while ring <= last:
                reach = inside + (ring - 1) * side
                if ring > 0 and reach > 0 and best[n - 1] <= reach * reach:
                    break
                for v in range(max(cy - ring, 0), min(cy + ring, rows - 1) + 1):
                    whole = abs(v - cy) == ring
                    u = cx - ring
                    while u <= cx + ring:
                        if 0 <= u < columns:
                            c = v * columns + u
                            for p in range(first[c], first[c + 1]):
                                d = (points[p, 0] - x) ** 2 + (points[p, 1] - y) ** 2
                                if d < best[n - 1]:
                                    k = n - 1
                                    while k > 0 and best[k - 1] > d:
                                        best[k] = best[k - 1]
                                        k -= 1
                                    best[k] = d
                        u += 1 if whole or ring == 0 else 2 * ring
                ring += 1
            out[i, j] = math.sqrt(best[n - 1])

"""Uniform samples: positions that keep away from all samples before them, and scales from the distances to their
neighbours (paper, Eq. 17 and before it; details from the released code).

Searches are exact, in float64 of the float32 positions; the published ones expand |q - r|^2 in float32, which is off by
tens of square pixels at coordinates of 16 000, and reject more candidates for it.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from splatbench.render.jit import kernel
from splatbench.render.threads import thread_count

NEIGHBOURS = 3  # [paper, released code]
_LEAST_SQUARE = 1e-6  # square pixels [released code]


def uniform_samples(
    others: np.ndarray,
    count: int,
    size: tuple[int, int],
    radius: float,
    rounds: int,
    batch: int,
    top_up: bool,
    random: np.random.Generator,
) -> tuple[np.ndarray, int]:
    """Positions drawn uniformly over the picture, farther than `radius` from `others` and from all of earlier rounds.

    Each round draws min(batch, 5 (count - b)) candidates, where b is the number of rounds before that accepted any (a
    quirk of the released code: not the number of points), and accepts at most count - b of them. Candidates of one
    round are not tested against each other.

    Args:
        others: [M, 2] float32, within the picture.
        count: how many are wanted.
        size: (H, W).
        radius: in pixels, > 0.
        rounds: how many at most.
        top_up: rounds go on until none is missing, or so many in a row as `rounds` found no room; what is missing then
            is drawn without exclusion.

    Returns:
        (positions [at most count, 2] float32, how many of them were drawn without exclusion). Fewer than `count` where
        the rounds did not suffice; if they accepted nothing at all, `count` without exclusion, as published.
    """
    height, width = size
    extent = np.array([width, height], np.float64)
    grid = _Grid(size, radius, len(others) + count)
    grid.add(others)
    accepted: list[np.ndarray] = []  # by round, empty ones left out
    found = done = barren = 0
    while found < count and (done < rounds or (top_up and barren < rounds)):
        left = count - len(accepted)
        candidates = (random.random((min(batch, 5 * left), 2)) * extent).astype(np.float32)
        free = candidates[grid.far(candidates)][: count - found]  # more would be cut off at the end
        done, barren = done + 1, 0 if len(free) else barren + 1
        if len(free):
            grid.add(free)
            accepted.append(free)
            found += len(free)
    crowded = count - found if top_up or not found else 0
    accepted.append((random.random((crowded, 2)) * extent).astype(np.float32))
    return np.concatenate(accepted), crowded


def neighbour_scales(points: np.ndarray, first: int, include_self: bool, typical: float) -> np.ndarray:
    """Scales of points[first:]: root of the mean squared distance to the nearest three of all points, at least 0.001.

    Args:
        points: [N, 2] float32.
        include_self: the point itself, at distance 0, is one of the three, as published.
        typical: the scale where there are too few points to have neighbours (ours; the released code would fail).

    Returns:
        [N - first] float32, in pixels.
    """
    skip = 0 if include_self else 1
    if len(points) < NEIGHBOURS + skip:
        return np.full(len(points) - first, typical, np.float32)
    # unbalanced: positions on a pixel lattice share coordinates, and medians among equal ones are slow
    tree = cKDTree(points, balanced_tree=False)
    nearest = list(range(1 + skip, NEIGHBOURS + skip + 1))
    distances, _ = tree.query(points[first:], k=nearest, workers=thread_count())
    return np.sqrt(np.maximum(np.square(distances).mean(1), _LEAST_SQUARE)).astype(np.float32)


class _Grid:
    """Points in square cells: a linked list per cell.

    Args:
        size: (H, W) of the picture that all points lie in, borders included.
        radius: of the search.
        capacity: how many points there will be at most.
    """

    def __init__(self, size: tuple[int, int], radius: float, capacity: int) -> None:
        height, width = size
        # One point per cell on average; a search of 3 x 3 cells needs cells of at least the radius.
        self._cell = max(1.001 * radius, (height * width / capacity) ** 0.5)
        shape = int(height / self._cell) + 1, int(width / self._cell) + 1
        self._first = np.full(shape, -1, np.int32)
        self._next = np.empty(capacity, np.int32)
        self._points = np.empty((capacity, 2), np.float32)
        self._count, self._radius = 0, radius

    def add(self, points: np.ndarray) -> None:
        """Adds points [n, 2] float32."""
        end = self._count + len(points)
        self._points[self._count : end] = points
        _link(self._points, self._count, end, self._cell, self._first, self._next)
        self._count = end

    def far(self, points: np.ndarray) -> np.ndarray:
        """bool [n]: whether the nearest point of the grid is farther than the radius."""
        out = np.empty(len(points), np.bool_)
        _far(points, self._points, self._cell, self._first, self._next, self._radius, out)
        return out


@kernel
def _link(points, begin, end, cell, first, following):
    for i in range(begin, end):
        x, y = int(points[i, 0] / cell), int(points[i, 1] / cell)
        following[i] = first[y, x]
        first[y, x] = i


@kernel
def _far(queries, points, cell, first, following, radius, out):
    rows, columns = first.shape
    for i in range(len(queries)):
        qx, qy = np.float64(queries[i, 0]), np.float64(queries[i, 1])
        x, y = int(qx / cell), int(qy / cell)
        free = True
        for row in range(max(0, y - 1), min(rows, y + 2)):
            for column in range(max(0, x - 1), min(columns, x + 2)):
                j = first[row, column]
                while j >= 0:
                    dx, dy = points[j, 0] - qx, points[j, 1] - qy
                    free = free and dx * dx + dy * dy > radius * radius
                    j = following[j]
        out[i] = free

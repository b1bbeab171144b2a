"""What blends `alpha` and `signed` have in common on the CPU: lists of tiles of 16 x 16 pixels, and gradients.

Lists keep the order of the Gaussians. A tile writes what it has summed of a Gaussian to a place of its own, and the
places of a Gaussian are added in fixed order: no atomics, and the same bits for any number of threads.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .cpu_forms import RECORD, UNIT, prepare
from .cpu_plan import CELL, PITCH
from .cpu_sum import read_cells
from .cpu_tiles import TileRasterizer, plain
from .jit import kernel
from .published import TILE
from .threads import run

_BITS = 4
assert TILE == 1 << _BITS
CELLS = TILE // 2  # in a strip of a tile; two strips of 8 columns make a tile
TILE_FLOATS = PITCH + CELLS * CELL
_MOST_ENTRIES = (1 << 31) - 1  # places are int32


class Lists(NamedTuple):
    """Which tiles see which Gaussians; tiles are counted row by row.

    start: [tiles + 1] int64, entries of each tile; ids: [entries] int32, Gaussians, ascending in a tile.
    first: [N + 1] int64, places of each Gaussian; places: [entries] int32, its entries.
    """

    start: np.ndarray
    ids: np.ndarray
    first: np.ndarray
    places: np.ndarray


@kernel
def _count(records, tiles_x, start, first):
    """Fills `start` and `first`."""
    start[:] = 0
    total = 0
    for i in range(len(records)):
        r = records[i]
        first[i] = total
        if r.x0 <= r.x1:
            for row in range(r.y0 >> _BITS, (r.y1 >> _BITS) + 1):
                for column in range(r.x0 >> _BITS, (r.x1 >> _BITS) + 1):
                    start[row * tiles_x + column + 1] += 1
                    total += 1
    first[len(records)] = total
    for k in range(1, len(start)):
        start[k] += start[k - 1]


@kernel
def _list(records, tiles_x, cursor, first, ids, places):
    """Fills `ids` and `places`; cursor: a copy of `start`, used up."""
    for i in range(len(records)):
        r, k = records[i], first[i]
        if r.x0 <= r.x1:
            for row in range(r.y0 >> _BITS, (r.y1 >> _BITS) + 1):
                for column in range(r.x0 >> _BITS, (r.x1 >> _BITS) + 1):
                    at = cursor[row * tiles_x + column]
                    cursor[row * tiles_x + column] += 1
                    ids[at], places[k] = i, at
                    k += 1


@kernel
def _to_cells(t, threads, picture, cells):
    read_cells(t, threads, picture, cells)


@kernel
def _differentiate(t, threads, records, first, places, sums, out):
    """Gradients of all Gaussians from what tiles have summed.

    With u = w dL/dw, y = (f, h), and the matrix G of t = y^T G y: 1/2 d^T S^-1 d = K t with K = 8 ln 2, so the gradient
    of the mean is 2 K W^T G sum(u y), and that of S is 2 K^2 W^T G sum(u y y^T) G W. Its off-diagonal element is one
    parameter and stands twice in the matrix.

    Args:
        sums: [entries, columns] float32: sums of u f, u h, u f^2, u f h, u h^2, three of the colours; then of u, where
            opacities have gradients.
        out: means [N, 2], covariances [N, 3], colours [N, 3], opacities [N] or [0]; all written.
    """
    n = len(records)
    grad_means, grad_covariances, grad_colors, grad_opacities = out
    for i in range(n * t // threads, n * (t + 1) // threads):
        r = records[i]
        f = h = ff = fh = hh = c0 = c1 = c2 = u = 0.0
        for at in places[first[i] : first[i + 1]]:
            s = sums[at]
            f, h, ff, fh, hh = f + s[0], h + s[1], ff + s[2], fh + s[3], hh + s[4]
            c0, c1, c2 = c0 + s[5], c1 + s[6], c2 + s[7]
            if len(grad_opacities) > 0:
                u += s[8]
        fx, fy, hx, hy = (r.fx, r.fy, r.hx, r.hy) if r.x0 <= r.x1 else (0.0, 0.0, 0.0, 0.0)
        if r.indefinite > 0:
            f, h, ff, fh, hh = h / 2, f / 2, hh / 4, fh / 4, ff / 4
        grad_means[i, 0], grad_means[i, 1] = 2 * UNIT * (fx * f + hx * h), 2 * UNIT * (fy * f + hy * h)
        k = 2 * UNIT * UNIT
        grad_covariances[i, 0] = k * (fx * fx * ff + 2 * fx * hx * fh + hx * hx * hh)
        grad_covariances[i, 1] = 2 * k * (fx * fy * ff + (fx * hy + fy * hx) * fh + hx * hy * hh)
        grad_covariances[i, 2] = k * (fy * fy * ff + 2 * fy * hy * fh + hy * hy * hh)
        grad_colors[i, 0], grad_colors[i, 1], grad_colors[i, 2] = c0, c1, c2
        if len(grad_opacities) > 0:
            grad_opacities[i] = u / r.opacity if r.x0 <= r.x1 else 0.0


class RecordRasterizer(TileRasterizer):
    """One picture at a time, three channels: `take` it first."""

    records: np.ndarray
    lists: Lists
    size: tuple[int, int]

    def take(
        self,
        means: np.ndarray,
        covariances: np.ndarray,
        colors: np.ndarray,
        opacities: np.ndarray,
        size: tuple[int, int],
        signed: bool,
    ) -> None:
        """Takes Gaussians and lists the tiles that see them.

        Args:
            means: [N, 2] float32, (x, y) in pixels, pixel centres at 0.5.
            covariances: [N, 3] float64.
            colors: [N, 3] float32.
            opacities: [N] float32, or [0] for 1.
            size: (H, W).
            signed: what is seen of a Gaussian: as blend `signed` says, else as blend `alpha` says.
        """
        n, (height, width) = len(means), size
        tiles_y, tiles_x = (-(-side // TILE) for side in size)
        self.size, self.records = size, self.buffer("records", (n,), RECORD)
        arrays = (plain(v, v.dtype) for v in (means, covariances, colors, opacities))
        run(self.threads, prepare, self.records, *arrays, height, width, signed)
        start = self.buffer("start", (tiles_x * tiles_y + 1,), np.int64)
        first = self.buffer("first", (n + 1,), np.int64)
        _count(self.records, tiles_x, start, first)
        entries = int(first[-1])
        if entries > _MOST_ENTRIES:
            raise ValueError(
                f"{n} Gaussians touch {entries} tiles of 16 x 16 pixels in all, more than {_MOST_ENTRIES}: nearly all "
                "of them cover nearly all of the picture, as in a fit that diverges; limit their scales"
            )
        ids, places = self.buffer("ids", (entries,), np.int32), self.buffer("places", (entries,), np.int32)
        _list(self.records, tiles_x, start.copy(), first, ids, places)
        self.lists = Lists(start, ids, first, places)

    def cells(self, name: str, picture: np.ndarray) -> np.ndarray:
        """A picture [H, W, 3] float32 as strips of cells, zero beyond its border."""
        height, width = self.size
        flat = self.buffer(name, (-(-width // 8) * strip_floats(height),), np.float32)
        run(self.threads, _to_cells, plain(picture, np.float32), flat)
        return flat

    def differentiate(self, sums: np.ndarray, opacities: bool) -> tuple[np.ndarray, ...]:
        """Gradients by means [N, 2], covariances [N, 3] float64, colours [N, 3], opacities [N] (or [0])."""
        n = len(self.records)
        out = (
            np.empty((n, 2), np.float32),
            np.empty((n, 3), np.float64),
            np.empty((n, 3), np.float32),
            np.empty(n if opacities else 0, np.float32),
        )
        run(self.threads, _differentiate, self.records, self.lists.first, self.lists.places, sums, out)
        return out


def strip_floats(height: int) -> int:
    """Floats from strip to strip of a picture in cells (`read_cells`)."""
    return (height + 1) // 2 * CELL + 16

"""What blends `alpha` and `signed` have in common on the CPU: records, lists of tiles of 16 x 16 pixels, gradients.

A Gaussian becomes two linear forms of the displacement d from its mean, (f, h) = W d, with which

    1/2 d^T S^-1 d = 8 ln 2 t,    t = f^2 + h^2 where S is positive definite,    t = f h where it is indefinite,

so that its weight is 2^(-8 t). The forms come from the eigenvectors of S in float64. They stay small wherever t does,
however thin the Gaussian, and the product has no cancellation near the lines on which t is 0.

Lists keep the order of the Gaussians. A tile writes what it has summed of a Gaussian to a place of its own, and the
places of a Gaussian are added in fixed order: no atomics, and the same bits for any number of threads.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .cpu_bins import DEGENERATE
from .cpu_plan import CELL, PITCH
from .cpu_sum import read_cells
from .cpu_tiles import TileRasterizer, plain
from .f32x16 import cell_column, cell_row, fma, splat
from .jit import kernel, part
from .published import TILE, tile_range
from .threads import run

_BITS = 4
assert TILE == 1 << _BITS
CELLS = TILE // 2  # in a strip of a tile; two strips of 8 columns make a tile
TILE_FLOATS = PITCH + CELLS * CELL
_SCALE = math.log2(math.e) / 16  # 8 (p^2 + q^2) = log2(e) / 2 d^T S^-1 d
_UNIT = 8 * math.log(2.0)
_STEEPEST = 1e15  # per pixel: squares of forms must not overflow
_MARGIN = 1e-4  # pixels, of boxes: the weight test decides, rounding must not
_MOST_ENTRIES = (1 << 31) - 1  # places are int32
_EIGENVALUE_FLOOR = 0.1  # of the published radius, inside its square root

#: One Gaussian. cut: the largest t with which it is seen. x0 .. y1: box of pixels, inclusive; x0 > x1 where nothing is.
RECORD = np.dtype(
    [(name, "f8") for name in ("fx", "fy", "hx", "hy")]
    + [(name, "f4") for name in ("mx", "my", "c0", "c1", "c2", "opacity", "cut", "indefinite")]
    + [(name, "i4") for name in ("x0", "x1", "y0", "y1")],
    align=True,
)


class Lists(NamedTuple):
    """Which tiles see which Gaussians; tiles are counted row by row.

    start: [tiles + 1] int64, entries of each tile; ids: [entries] int32, Gaussians, ascending in a tile.
    first: [N + 1] int64, places of each Gaussian; places: [entries] int32, its entries.
    """

    start: np.ndarray
    ids: np.ndarray
    first: np.ndarray
    places: np.ndarray


@part(_nrt=False, fastmath=False)
def _radius(xx, yy, det):
    """The published radius in pixels: 3 sigma of the larger eigenvalue; 0 where that is not positive."""
    half = (xx + yy) / 2
    largest = half + math.sqrt(max(_EIGENVALUE_FLOOR, half * half - det))
    return np.ceil(3 * math.sqrt(largest)) if largest > 0 else 0.0


@part(_nrt=False, fastmath=False)
def _forms(xx, xy, yy, det):
    """(fx, fy, hx, hy) of a regular matrix that is positive definite or indefinite."""
    half, difference = (xx + yy) / 2, (xx - yy) / 2
    r = math.sqrt(difference * difference + xy * xy)
    # the eigenvalue that is larger in magnitude is a sum without cancellation, the other follows from the determinant
    dominant = half + r if half >= 0 else half - r
    other = det / dominant
    high, low = (dominant, other) if half >= 0 else (other, dominant)
    x, y = (r + difference, xy) if difference >= 0 else (abs(xy), r - difference if xy >= 0 else difference - r)
    length = math.sqrt(x * x + y * y)
    x, y = (x / length, y / length) if length > 0 else (1.0, 0.0)
    a, b = math.sqrt(_SCALE / high), math.sqrt(_SCALE / abs(low))
    px, py, qx, qy = a * x, a * y, -b * y, b * x
    if low > 0:
        return px, py, qx, qy
    return px - qx, py - qy, px + qx, py + qy


@kernel(fastmath=False)
def _prepare(t, threads, records, means, covariances, colors, opacities, height, width, signed):
    n = len(records)
    tiles_x, tiles_y = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    for i in range(n * t // threads, n * (t + 1) // threads):
        r = records[i]
        r.x0, r.x1, r.y0, r.y1 = 0, -1, 0, -1
        xx, xy, yy = covariances[i, 0], covariances[i, 1], covariances[i, 2]
        ux, uy = np.float64(means[i, 0]), np.float64(means[i, 1])
        det = xx * yy - xy * xy
        opacity = np.float64(opacities[i]) if len(opacities) > 0 else 1.0
        solid = xx > 0 and det > (0.0 if signed else DEGENERATE * xx * yy)
        if not ((solid or (signed and det < 0)) and math.isfinite(det) and opacity * 255 >= 1):
            continue
        fx, fy, hx, hy = _forms(xx, xy, yy, det)
        if not (math.isfinite(ux) and math.isfinite(uy) and max(abs(fx), abs(fy), abs(hx), abs(hy)) < _STEEPEST):
            continue
        left, right, top, bottom = 0.0, width - 1.0, 0.0, height - 1.0
        limit = math.log(255 * opacity)
        if solid:
            wide, high = math.sqrt(2 * limit * xx) + _MARGIN, math.sqrt(2 * limit * yy) + _MARGIN
            left, right = max(left, np.ceil(ux - 0.5 - wide)), min(right, np.floor(ux - 0.5 + wide))
            top, bottom = max(top, np.ceil(uy - 0.5 - high)), min(bottom, np.floor(uy - 0.5 + high))
        if signed:
            radius = _radius(xx, yy, det)
            tile0, tile1 = tile_range(ux, radius, tiles_x)
            left, right = max(left, float(TILE * tile0)), min(right, float(TILE * tile1 - 1))
            tile0, tile1 = tile_range(uy, radius, tiles_y)
            top, bottom = max(top, float(TILE * tile0)), min(bottom, float(TILE * tile1 - 1))
            if radius == 0:
                continue
        if left > right or top > bottom:
            continue
        r.fx, r.fy, r.hx, r.hy, r.mx, r.my = fx, fy, hx, hy, ux, uy
        r.c0, r.c1, r.c2, r.opacity = colors[i, 0], colors[i, 1], colors[i, 2], opacity
        r.cut, r.indefinite = limit / _UNIT, 0.0 if solid else 1.0
        r.x0, r.x1, r.y0, r.y1 = int(left), int(right), int(top), int(bottom)


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


@part(_nrt=False, forceinline=True)
def forms_at(r, x, y):
    """(f, h) at the pixels of the cell of 8 x 2 pixels whose first is (x, y)."""
    dx, dy = x + 0.5 - np.float64(r.mx), y + 0.5 - np.float64(r.my)
    f, h = splat(r.fx * dx + r.fy * dy), splat(r.hx * dx + r.hy * dy)
    f = fma(cell_column(), splat(r.fx), fma(cell_row(), splat(r.fy), f))
    h = fma(cell_column(), splat(r.hx), fma(cell_row(), splat(r.hy), h))
    return f, h


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
        grad_means[i, 0], grad_means[i, 1] = 2 * _UNIT * (fx * f + hx * h), 2 * _UNIT * (fy * f + hy * h)
        k = 2 * _UNIT * _UNIT
        grad_covariances[i, 0] = k * (fx * fx * ff + 2 * fx * hx * fh + hx * hx * hh)
        grad_covariances[i, 1] = 2 * k * (fx * fy * ff + (fx * hy + fy * hx) * fh + hx * hy * hh)
        grad_covariances[i, 2] = k * (fy * fy * ff + 2 * fy * hy * fh + hy * hy * hh)
        grad_colors[i, 0], grad_colors[i, 1], grad_colors[i, 2] = c0, c1, c2
        if len(grad_opacities) > 0:
            grad_opacities[i] = u / r.opacity if r.x0 <= r.x1 else 0.0


class FormsRasterizer(TileRasterizer):
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
        run(self.threads, _prepare, self.records, *arrays, height, width, signed)
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

"""What the published kernels do beside the mathematics (GaussianImage's renderer, a fork of gsplat 0.1).

They work in tiles of 16 x 16 pixels. A tile sees the Gaussians whose square of half side ceil(3 sqrt(lambda)) around
the mean touches it ("tiles_3sigma"), and of these only the 256 with the lowest indices ("tile_cap_256", which implies
the first). Coordinates there: pixel centres are integers, so u = mean - 0.5.

Tiles that hold more than 256 Gaussians are rare, so the fast kernels draw everything and only those tiles are drawn
again, plainly.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from .cpu import SumRasterizer
from .cpu_bins import CUT, DEGENERATE
from .cpu_sum import differentiate
from .cpu_tiles import Gradients
from .jit import kernel
from .threads import run, thread_count

_BITS = 4
TILE = 1 << _BITS
CAP = 256
_EIGENVALUE_FLOOR = 0.1  # inside the square root: a unit Gaussian gets radius 4, none less than 2
_CENTRE = 0.5


@kernel(fastmath=False)
def tile_range(u, radius, tiles):
    """Tiles [first, last) that u - radius .. u + radius touches; conversions cut towards zero, as published."""
    first = min(max(np.trunc(u / TILE - radius / TILE), 0.0), float(tiles))
    last = min(max(np.trunc(u / TILE + radius / TILE + 1), 0.0), float(tiles))
    return int(first), int(last)


@kernel(fastmath=False)
def _clip(t, threads, means, covariances, height, width, out):
    n, tiles_x, tiles_y = len(means), (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    for i in range(n * t // threads, n * (t + 1) // threads):
        xx, xy, yy = covariances[i, 0], covariances[i, 1], covariances[i, 2]
        ux, uy = means[i, 0] - _CENTRE, means[i, 1] - _CENTRE
        det = xx * yy - xy * xy
        half = (xx + yy) / 2
        radius = np.ceil(3 * math.sqrt(half + math.sqrt(max(_EIGENVALUE_FLOOR, half * half - det))))
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = 0, 0, 0, 0
        if xx > 0 and det > DEGENERATE * xx * yy and math.isfinite(ux) and math.isfinite(uy) and math.isfinite(radius):
            x0, x1 = tile_range(ux, radius, tiles_x)
            y0, y1 = tile_range(uy, radius, tiles_y)
            if x0 < x1 and y0 < y1:
                out[i, 0], out[i, 1], out[i, 2], out[i, 3] = TILE * x0, TILE * x1, TILE * y0, TILE * y1


def tile_clip(
    means: np.ndarray, covariances: np.ndarray, height: int, width: int, threads: int | None = None
) -> np.ndarray:
    """Pixels that each Gaussian may touch by the rule "tiles_3sigma".

    Args:
        means: [N, 2] float32 in pixels (pixel centres at 0.5).
        covariances: [N, 3] float64 (Sxx, Sxy, Syy).

    Returns:
        [N, 4] int32 (x0, x1, y0, y1), upper bounds exclusive, multiples of 16; zeros where nothing is touched.
    """
    out = np.empty((len(means), 4), np.int32)
    run(thread_count(threads), _clip, means, covariances, height, width, out)
    return out


@kernel
def _tile_counts(clip, corners):
    """Gaussians per tile, to corners [tiles_y + 1, tiles_x + 1]: differences at the corners, then running sums."""
    for i in range(len(clip)):
        x0, x1, y0, y1 = clip[i, 0] >> _BITS, clip[i, 1] >> _BITS, clip[i, 2] >> _BITS, clip[i, 3] >> _BITS
        corners[y0, x0] += 1
        corners[y0, x1] -= 1
        corners[y1, x0] -= 1
        corners[y1, x1] += 1
    for y in range(corners.shape[0]):
        total = 0
        for x in range(corners.shape[1]):
            total += corners[y, x]
            corners[y, x] = total + (corners[y - 1, x] if y > 0 else 0)


@kernel
def _first_of_tiles(clip, row_of_tile, lists, filled):
    """lists[k]: the first CAP Gaussians of the tile with row_of_tile == k."""
    for i in range(len(clip)):
        for y in range(clip[i, 2] >> _BITS, clip[i, 3] >> _BITS):
            for x in range(clip[i, 0] >> _BITS, clip[i, 1] >> _BITS):
                k = row_of_tile[y, x]
                if k >= 0 and filled[k] < CAP:
                    lists[k, filled[k]] = i
                    filled[k] += 1


def overfull_tiles(clip: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Tiles that more than 256 Gaussians touch.

    Returns:
        ([K, 2] int32 (tile row, tile column), [K, 256] int32: the Gaussians that count there, ascending).
    """
    counts = np.zeros((-(-height // TILE) + 1, -(-width // TILE) + 1), np.int32)
    _tile_counts(clip, counts)
    tiles = np.argwhere(counts[:-1, :-1] > CAP).astype(np.int32)
    lists = np.empty((len(tiles), CAP), np.int32)
    if len(tiles):
        row_of_tile = np.full(counts.shape, -1, np.int32)
        row_of_tile[tiles[:, 0], tiles[:, 1]] = np.arange(len(tiles))
        _first_of_tiles(clip, row_of_tile, lists, np.zeros(len(tiles), np.int32))
    return tiles, lists


@kernel
def _whiten(r, x, y):
    """(p, q, w) of a pixel, in float64."""
    dx, dy = x + _CENTRE - r.mx, y + _CENTRE - r.my
    p, q = r.w11 * dx, r.w21 * dx + r.w22 * dy
    t = p * p + q * q
    return p, q, 2.0 ** (-8.0 * t) if t <= CUT else 0.0


@kernel
def _draw_tiles(t, threads, records, tiles, lists, row0, image):
    """Draws the tiles again, with their own lists only; `image` begins with row row0 of the picture."""
    for k in range(len(tiles) * t // threads, len(tiles) * (t + 1) // threads):
        top, left = tiles[k, 0] * TILE - row0, tiles[k, 1] * TILE
        image[top : top + TILE, left : left + TILE] = 0
        for n in lists[k]:
            r = records[n]
            for y in range(max(r.y0 - row0, top), min(r.y1 + 1 - row0, top + TILE)):
                for x in range(max(r.x0, left), min(r.x1 + 1, left + TILE)):
                    w = np.float32(_whiten(r, x, y + row0)[2])
                    image[y, x, 0] += w * r.c0
                    image[y, x, 1] += w * r.c1
                    image[y, x, 2] += w * r.c2


@kernel
def _gather_tiles(t, threads, records, tiles, lists, row0, grad, sums):
    """sums[k, i]: what `_gather` sums, of the i-th Gaussian of the list of tile k, over the pixels of the tile."""
    for k in range(len(tiles) * t // threads, len(tiles) * (t + 1) // threads):
        top, left = tiles[k, 0] * TILE, tiles[k, 1] * TILE
        for i in range(CAP):
            r, s = records[lists[k, i]], sums[k, i]
            for y in range(max(r.y0, top), min(r.y1 + 1, top + TILE)):
                for x in range(max(r.x0, left), min(r.x1 + 1, left + TILE)):
                    p, q, w = _whiten(r, x, y)
                    g0, g1, g2 = grad[y - row0, x, 0], grad[y - row0, x, 1], grad[y - row0, x, 2]
                    u = w * (g0 * r.c0 + g1 * r.c1 + g2 * r.c2)
                    s[0] += u * p
                    s[1] += u * q
                    s[2] += u * p * p
                    s[3] += u * p * q
                    s[4] += u * q * q
                    s[5] += w * g0
                    s[6] += w * g1
                    s[7] += w * g2


@kernel
def _add_tiles(records, lists, sums, out):
    """Adds the gradients from overfull tiles, tile by tile in fixed order."""
    ids, white, moments = np.empty(16, np.int32), np.empty(48), np.empty((8, 16))
    for k in range(len(lists)):
        m = 0
        for i in range(CAP):
            r = records[lists[k, i]]
            if r.x0 <= r.x1:
                ids[m], white[m], white[16 + m], white[32 + m] = lists[k, i], r.w11, r.w21, r.w22
                moments[:, m] = sums[k, i]
                m += 1
            if m == 16 or i == CAP - 1:
                differentiate(ids, m, white, False, moments, out)
                m = 0


class CompatRasterizer(SumRasterizer):
    """`SumRasterizer` for covariances and pixel centres at 0.5, with the published deviations of `compat`."""

    def take(
        self,
        means: np.ndarray,
        covariances: np.ndarray,
        colors: np.ndarray,
        size: tuple[int, int],
        compat: frozenset[str],
    ) -> None:
        """As `begin`, with covariances [N, 3] float64 (Sxx, Sxy, Syy).

        compat: subset of `splatbench.gaussians.COMPAT_FLAGS`.
        """
        clip = tile_clip(means, covariances, *size, self.threads) if compat else None
        self._tiles, self._lists = np.empty((0, 2), np.int32), np.empty((0, CAP), np.int32)
        if clip is not None and "tile_cap_256" in compat:
            self._tiles, self._lists = overfull_tiles(clip, *size)
        self.begin(means, covariances, colors, *size, clip=clip, form="covariance")

    def draw_rows(self, row0: int, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """As `SumRasterizer.draw_rows`."""
        image = super().draw_rows(row0, row1, out)
        tiles, lists = self._overfull(row0, len(image))
        if len(tiles):
            run(self.threads, _draw_tiles, self.scene.records, tiles, lists, row0, image)
        return image

    def _overfull(self, row0: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The overfull tiles of these rows of the picture, and what counts there."""
        top = self._tiles[:, 0] * TILE
        inside = (top >= row0) & (top < row0 + rows)
        return self._tiles[inside], self._lists[inside]

    def backward_rows(self, row0: int, grad: np.ndarray, out: Gradients) -> None:
        """As `SumRasterizer.backward_rows`."""
        tiles, lists = self._overfull(row0, len(grad))
        if not len(tiles):
            super().backward_rows(row0, grad, out)
            return
        sums = np.zeros((len(tiles), CAP, 8))
        others = np.array(grad, np.float32, order="C")
        run(self.threads, _gather_tiles, self.scene.records, tiles, lists, row0, others, sums)
        for y, x in tiles * TILE:
            others[y - row0 : y - row0 + TILE, x : x + TILE] = 0
        super().backward_rows(row0, others, out)
        _add_tiles(self.scene.records, lists, sums, out)

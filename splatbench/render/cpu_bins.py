"""From Gaussians to sorted lists per tile (CPU renderer, first part).

Coordinates in the kernels: the centre of pixel (row i, column j) is at (j, i); `centre` is what has to be taken off a
mean to get there.

Whitened coordinates. With the Cholesky factor of the covariance S a displacement d = (dx, dy) from the mean becomes

    p = w11 dx,    q = w21 dx + w22 dy,    w = exp(-1/2 d^T S^-1 d) = 2^(-8 (p^2 + q^2)).

They stay small wherever w matters, however thin the Gaussian, while the terms of d^T S^-1 d cancel.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from .jit import kernel

#: Pixels of a tile: the unit of work of one thread, small enough for the second-level cache.
_W_BITS, _H_BITS, _BAND_BITS = 6, 8, 3
TILE_W, TILE_H = 1 << _W_BITS, 1 << _H_BITS
#: In a tile Gaussians are visited in bands of rows, so that the pixels in use stay in the first-level cache.
BAND = 1 << _BAND_BITS
BANDS = TILE_H // BAND

#: A pair counts where 8 (p^2 + q^2) <= log2(255), that is w >= 1/255.
CUT = math.log2(255.0) / 8
#: Covariances with det S <= DEGENERATE Sxx Syy are dropped: rounding has eaten the thin axis (ratio 1 : 2e6).
DEGENERATE = 1e-12
_SCALE = math.log2(math.e) / 16  # 8 (p^2 + q^2) = log2(e) / 2 d^T S^-1 d
_MARGIN = 1e-4  # of that box, in pixels: the weight test decides, rounding must not

#: What the pixel loops need of one Gaussian, in one cache line. x0 .. y1: box of pixels, inclusive; x0 > x1 where
#: nothing is visible.
RECORD = np.dtype(
    [(name, "f8") for name in ("w11", "w21", "w22")]
    + [(name, "f4") for name in ("mx", "my", "c0", "c1", "c2")]
    + [(name, "i4") for name in ("x0", "x1", "y0", "y1")],
    align=True,
)
assert RECORD.itemsize == 64


@kernel(fastmath=False)  # a fused multiply-add would turn an exact 0 into a rounding error
def _determinant(a, b, c):
    return a * c - b * b


@kernel
def prepare(t, threads, records, means, shapes, colors, conic, height, width, centre, clip, cut):
    """Fills records. `shapes` holds covariances (xx, xy, yy), or their inverses where `conic`.

    The support is {p^2 + q^2 <= cut}.
    """
    reach = cut / _SCALE  # squared half size of the outline's box per variance
    n = len(records)
    for i in range(n * t // threads, n * (t + 1) // threads):
        r = records[i]
        sxx, sxy, syy = np.float64(shapes[i, 0]), np.float64(shapes[i, 1]), np.float64(shapes[i, 2])
        det = _determinant(sxx, sxy, syy)
        solid = (sxx > 0) & (det > DEGENERATE * sxx * syy)
        if conic:
            det = 1.0 / det
            sxx, sxy, syy = syy * det, -sxy * det, sxx * det
        hx, hy = math.sqrt(reach * sxx) + _MARGIN, math.sqrt(reach * syy) + _MARGIN
        ux, uy = means[i, 0] - centre, means[i, 1] - centre
        right, bottom = width - 1.0, height - 1.0
        # false for NaN and infinity
        seen = solid & (ux - hx <= right) & (ux + hx >= 0) & (uy - hy <= bottom) & (uy + hy >= 0)
        r.x0, r.x1, r.y0, r.y1 = TILE_W, 0, 0, 0  # in no tile
        if not seen:
            continue
        x0, x1 = int(max(np.ceil(ux - hx), 0.0)), int(min(np.floor(ux + hx), right))
        y0, y1 = int(max(np.ceil(uy - hy), 0.0)), int(min(np.floor(uy + hy), bottom))
        if clip.shape[0] > 0:
            x0, x1 = max(x0, clip[i, 0]), min(x1, clip[i, 1] - 1)
            y0, y1 = max(y0, clip[i, 2]), min(y1, clip[i, 3] - 1)
        if x0 > x1 or y0 > y1:
            continue
        sd = math.sqrt(det)
        inverse = math.sqrt(_SCALE) / (math.sqrt(sxx) * sd)
        r.w11, r.w21, r.w22 = sd * inverse, -sxy * inverse, sxx * inverse
        r.mx, r.my = means[i, 0], means[i, 1]
        r.c0, r.c1, r.c2 = colors[i, 0], colors[i, 1], colors[i, 2]
        r.x0, r.x1, r.y0, r.y1 = x0, x1, y0, y1


@kernel
def count(t, threads, records, tiles_x, row_first, row_last, all_bins):
    """Counts this thread's records in each bin (tile, band of rows) of the tile rows row_first .. row_last - 1.

    all_bins: [threads, tiles * BANDS] int32.
    """
    n, bins = len(records), all_bins[t]
    bins[:] = 0
    base = row_first * tiles_x * BANDS
    for i in range(n * t // threads, n * (t + 1) // threads):
        r = records[i]
        ty, x0, x1 = max(r.y0 >> _H_BITS, row_first), r.x0 >> _W_BITS, r.x1 >> _W_BITS
        while ty < row_last and ty <= r.y1 >> _H_BITS:
            band = ty * tiles_x * BANDS - base + (max(r.y0 - (ty << _H_BITS), 0) >> _BAND_BITS)
            tx = x0
            while tx <= x1:
                bins[band + tx * BANDS] += 1
                tx += 1
            ty += 1


@kernel
def fill(t, threads, records, tiles_x, row_first, row_last, all_bins, order):
    """The same walk as `count`, writing each Gaussian to the next place of its bins."""
    n, bins = len(records), all_bins[t]
    base = row_first * tiles_x * BANDS
    for i in range(n * t // threads, n * (t + 1) // threads):
        r = records[i]
        ty, x0, x1 = max(r.y0 >> _H_BITS, row_first), r.x0 >> _W_BITS, r.x1 >> _W_BITS
        while ty < row_last and ty <= r.y1 >> _H_BITS:
            band = ty * tiles_x * BANDS - base + (max(r.y0 - (ty << _H_BITS), 0) >> _BAND_BITS)
            tx = x0
            while tx <= x1:
                order[bins[band + tx * BANDS]] = i
                bins[band + tx * BANDS] += 1
                tx += 1
            ty += 1


@kernel
def offsets(bins, start):
    """Turns counts into places: by bin, then by thread, so that the order does not depend on the number of threads.

    start [tiles + 1]: first entry of each tile. Returns the number of entries.
    """
    total = 0
    for k in range(bins.shape[1]):
        if k % BANDS == 0:
            start[k // BANDS] = total
        for t in range(bins.shape[0]):
            bins[t, k], total = total, total + bins[t, k]
    start[-1] = total
    return total


@kernel
def own_tiles(start, t, threads):
    """Tiles [a, b) of thread t: a fixed split by entries, so that a thread keeps meeting the same pixels."""
    tiles = len(start) - 1
    a = 0
    while a < tiles and (start[a] + start[a + 1]) * threads < 2 * start[tiles] * t:
        a += 1
    b = a
    while b < tiles and (start[b] + start[b + 1]) * threads < 2 * start[tiles] * (t + 1):
        b += 1
    return a, tiles if t == threads - 1 else b

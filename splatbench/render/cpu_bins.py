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

from .jit import kernel, part
from .sharing import finish, take, wait

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
_NONE, _MANY = -1, -2
_STEEPEST = 1e15  # per pixel, of whitened coordinates
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


@part(_nrt=False, fastmath=False)
def _determinant(a, b, c):
    return a * c - b * b


@part(_nrt=False)
def _invert(lanes):
    """Sixteen conics lanes[:3] to covariances; their determinants to lanes[5]."""
    for i in range(16):
        a, b, c = lanes[0, i], lanes[1, i], lanes[2, i]
        det = 1.0 / _determinant(a, b, c)
        lanes[0, i], lanes[1, i], lanes[2, i], lanes[5, i] = c * det, -b * det, a * det, det


@part(_nrt=False)
def _measure(lanes):
    """Determinants of sixteen covariances lanes[:3] to lanes[5]."""
    for i in range(16):
        lanes[5, i] = _determinant(lanes[0, i], lanes[1, i], lanes[2, i])


@part(_nrt=False)
def _solve(lanes, ints, right, bottom, reach):
    """Sixteen Gaussians at once.

    In: lanes[:3] covariance, lanes[3:5] mean less `centre`, lanes[5] determinant. Out: lanes[5:8] w11, w21, w22;
    ints[:4] box x0, x1, y0, y1, ints[4] whether the Gaussian is seen.
    """
    for i in range(16):
        sxx, sxy, syy, ux, uy, det = lanes[0, i], lanes[1, i], lanes[2, i], lanes[3, i], lanes[4, i], lanes[5, i]
        solid = (sxx > 0) & (det > DEGENERATE * sxx * syy)
        hx, hy = math.sqrt(reach * sxx) + _MARGIN, math.sqrt(reach * syy) + _MARGIN
        # false for NaN and infinity
        seen = solid & (ux - hx <= right) & (ux + hx >= 0) & (uy - hy <= bottom) & (uy + hy >= 0)
        left, top, sd = ux - hx, uy - hy, math.sqrt(det)
        inverse = math.sqrt(_SCALE) / (math.sqrt(sxx) * sd)
        # a Gaussian far smaller than a pixel: squares of these must not overflow
        lanes[5, i], lanes[7, i] = min(sd * inverse, _STEEPEST), min(sxx * inverse, _STEEPEST)
        lanes[6, i] = max(min(-sxy * inverse, _STEEPEST), -_STEEPEST)
        # conversions of what is not seen may overflow: they must not happen
        ints[0, i] = np.int32(np.ceil(left) if seen & (left > 0) else 0.0)
        ints[1, i] = np.int32(np.floor(ux + hx) if seen & (ux + hx < right) else right)
        ints[2, i] = np.int32(np.ceil(top) if seen & (top > 0) else 0.0)
        ints[3, i] = np.int32(np.floor(uy + hy) if seen & (uy + hy < bottom) else bottom)
        ints[4, i] = seen


@part(_nrt=False, forceinline=True)
def _visit(r, tiles_x, places, order, i, writing):
    """Counts Gaussian i in the bins that it touches or, where `writing`, puts it to their next places."""
    ty = r.y0 >> _H_BITS
    while ty <= r.y1 >> _H_BITS:
        band = ty * tiles_x * BANDS + (max(r.y0 - (ty << _H_BITS), 0) >> _BAND_BITS)
        for tx in range(r.x0 >> _W_BITS, (r.x1 >> _W_BITS) + 1):
            k = band + tx * BANDS
            if writing:
                order[places[k]] = i
            places[k] += 1
        ty += 1


@part(_nrt=False)
def _prepare(
    t, threads, records, keys, bins, lane, box, means, shapes, colors, conic, height, width, centre, clip, cut
):
    """Fills this thread's records and keys, and counts them in its bins."""
    reach = cut / _SCALE  # squared half size of the outline's box per variance
    n, tiles_x = len(records), (width + TILE_W - 1) // TILE_W
    bins[:] = 0
    for first in range(n * t // threads, n * (t + 1) // threads, 16):
        m = min(16, n * (t + 1) // threads - first)
        for i in range(m):
            k = first + i
            lane[0, i], lane[1, i], lane[2, i] = shapes[k, 0], shapes[k, 1], shapes[k, 2]
            lane[3, i], lane[4, i] = means[k, 0] - centre, means[k, 1] - centre
        if conic:
            _invert(lane)
        else:
            _measure(lane)
        _solve(lane, box, width - 1.0, height - 1.0, reach)
        for i in range(m):
            k = first + i
            r = records[k]
            x0, x1, y0, y1 = box[0, i], box[1, i], box[2, i], box[3, i]
            if clip.shape[0] > 0:
                x0, x1 = max(x0, clip[k, 0]), min(x1, clip[k, 1] - 1)
                y0, y1 = max(y0, clip[k, 2]), min(y1, clip[k, 3] - 1)
            if (box[4, i] == 0) | (x0 > x1) | (y0 > y1):
                r.x0, r.x1, r.y0, r.y1 = TILE_W, 0, TILE_H, 0
                keys[k] = _NONE
                continue
            r.w11, r.w21, r.w22 = lane[5, i], lane[6, i], lane[7, i]
            r.mx, r.my = means[k, 0], means[k, 1]
            r.c0, r.c1, r.c2 = colors[k, 0], colors[k, 1], colors[k, 2]
            r.x0, r.x1, r.y0, r.y1 = x0, x1, y0, y1
            if (x0 >> _W_BITS == x1 >> _W_BITS) & (y0 >> _H_BITS == y1 >> _H_BITS):
                row = y0 >> _H_BITS
                key = (row * tiles_x + (x0 >> _W_BITS)) * BANDS + ((y0 - (row << _H_BITS)) >> _BAND_BITS)
                keys[k] = key
                bins[key] += 1
            else:
                keys[k] = _MANY
                _visit(r, tiles_x, bins, keys, k, False)


@kernel
def fill(t, threads, board, records, keys, all_bins, width, order):
    """Writes each Gaussian to the next places of its bins, which are used up by that. Board: 1 + threads."""
    for step in range(threads):
        part = (t + step) % threads
        if take(board, 1 + part):
            _fill_part(part, threads, records, keys, all_bins[part], width, order)
            finish(board, 0)
    wait(board, 0, threads)


@part(_nrt=False)
def _fill_part(t, threads, records, keys, bins, width, order):
    n, tiles_x = len(records), (width + TILE_W - 1) // TILE_W
    for i in range(n * t // threads, n * (t + 1) // threads):
        key = keys[i]
        if key >= 0:
            order[bins[key]] = i
            bins[key] += 1
        elif key == _MANY:
            _visit(records[i], tiles_x, bins, order, i, True)


@part(_nrt=False)
def _offsets(bins, start):
    """Turns counts into places: by bin, then by thread, so that the order does not depend on the number of threads."""
    total = 0
    for k in range(bins.shape[1]):
        if k % BANDS == 0:
            start[k // BANDS] = total
        for t in range(bins.shape[0]):
            bins[t, k], total = total, total + bins[t, k]
    start[-1] = total


@kernel
def bin_all(
    t,
    threads,
    board,
    records,
    keys,
    bins,
    order,
    start,
    lanes,
    boxes,
    means,
    shapes,
    colors,
    conic,
    height,
    width,
    centre,
    clip,
    cut,
):
    """Fills records, and the lists of the tiles. Board: 4 + 2 * threads.

    A Gaussian is visible where p^2 + q^2 <= cut, inside its `clip` if there is one.

    Args:
        records: [N] RECORD.
        keys: [N] int32: the bin of a Gaussian that touches one tile, _NONE of one that is not seen, else _MANY.
        bins: [threads, tiles * BANDS] int32, a bin being a band of rows of a tile.
        order: int32: the Gaussians of each tile, from band to band, in a band by index. Left alone if it is too short:
            start[-1] tells the length that is needed, and `fill` does the rest.
        start: [tiles + 1] int64: first entry of each tile.
        lanes, boxes: [threads, 8, 16] float64, [threads, 5, 16] int32: scratch.
        shapes: covariances (xx, xy, yy), or their inverses where `conic`.
    """
    picture = height, width, centre, clip, cut
    for step in range(threads):
        part = (t + step) % threads
        if take(board, 3 + part):
            scratch = bins[part], lanes[part], boxes[part]
            _prepare(part, threads, records, keys, *scratch, means, shapes, colors, conic, *picture)
            finish(board, 0)
    wait(board, 0, threads)
    if take(board, 2):
        _offsets(bins, start)
        finish(board, 1)
    wait(board, 1, 1)
    if start[-1] <= len(order):
        fill(t, threads, board[3 + threads :], records, keys, bins, width, order)


@part(_nrt=False)
def own_tiles(start, t, threads):
    """Tiles [a, b) of thread t: a fixed split by entries, so that a thread keeps meeting the same pixels.

    start: offsets of consecutive tiles, and the end.
    """
    tiles, base = len(start) - 1, start[0]
    whole = start[tiles] - base
    a = 0
    while a < tiles and (start[a] + start[a + 1] - 2 * base) * threads < 2 * whole * t:
        a += 1
    b = a
    while b < tiles and (start[b] + start[b + 1] - 2 * base) * threads < 2 * whole * (t + 1):
        b += 1
    return a, tiles if t == threads - 1 else b

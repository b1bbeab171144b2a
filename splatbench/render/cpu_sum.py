"""Pixel loops of blend `sum`, forward and backward (CPU renderer, third part).

For each Gaussian of a plan its cells are visited strip by strip: forward adds weighted colours to the cells of a tile,
backward sums moments of the incoming gradient.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from .cpu_bins import CUT, TILE_H, TILE_W, own_tiles
from .cpu_plan import (
    CELL,
    CELLS,
    FLOATS,
    INTS,
    LANE_DOUBLES,
    LANE_FLOATS,
    OFFSET,
    PITCH,
    PLAN_FLOATS,
    PLAN_INTS,
    ROW,
    STRIPS,
    TILE_FLOATS,
    P,
    Q,
    plan,
)
from .f32x16 import (
    cell_column,
    cell_row,
    fma,
    load,
    load_rgb,
    prefetch,
    splat,
    store,
    store_rgb,
    totals,
    weight,
)
from .jit import kernel, part
from .sharing import finish, take, wait

_TILE_END, _PLAN_END = TILE_FLOATS, TILE_FLOATS + PLAN_FLOATS
WORK_FLOATS = _PLAN_END + LANE_FLOATS
WORK_INTS = PLAN_INTS + 16  # of the plan, and sixteen Gaussians
DOUBLES = LANE_DOUBLES + 16 * 8  # of the plan, and the moments of sixteen Gaussians

_UNIT = 16 * math.log(2.0)
_EVERY = 1 << 28  # more strips than any picture has
_f32 = np.float32
_CUT = np.float32(CUT)


@part(_nrt=False, forceinline=True)
def _scatter(i, r, floats, ints, s_lo, s_hi, row0, tile):
    """Adds one Gaussian, lane i of the plan, to the cells of a tile."""
    first, last = max(r.x0 >> 3, s_lo), min(r.x1 >> 3, s_hi)
    w11, w21, w22 = splat(r.w11), splat(r.w21), splat(r.w22)
    c0, c1, c2 = splat(r.c0), splat(r.c1), splat(r.c2)
    step, cut = w22 + w22, splat(_CUT)
    down = cell_row() * w22
    for j in range(last - first + 1):
        at = j * 16 * INTS + i
        cells, row = ints[at + 16 * CELLS], ints[at + 16 * ROW]
        if cells <= 0:
            continue
        at = j * 16 * FLOATS + i
        x = cell_column() - floats[at + 16 * OFFSET]
        p = fma(x, w11, splat(floats[at + 16 * P]))
        q0 = fma(x, w21, down + floats[at + 16 * Q])
        pp, k = p * p, splat(_f32(0))
        place = (first + j - s_lo) * PITCH + ((row - row0) >> 1) * CELL
        for _ in range(cells):
            q = fma(k, step, q0)
            w = weight(fma(q, q, pp), cut)
            store(tile, place, fma(w, c0, load(tile, place)))
            store(tile, place + 16, fma(w, c1, load(tile, place + 16)))
            store(tile, place + 32, fma(w, c2, load(tile, place + 32)))
            k = k + _f32(1)
            place += CELL


@part(_nrt=False)
def write_tile(tile, image, x_lo, x_hi, row0, row1, image_row0):
    """Cells of a tile to columns x_lo .. x_hi and rows row0 .. row1 of the image, whose first row is image_row0."""
    width = image.shape[1]
    flat = image.reshape(-1)
    for y in range(row0, row1 + 1, 2):
        for s in range(x_lo >> 3, (x_hi >> 3) + 1):
            p = (s - (x_lo >> 3)) * PITCH + ((y - row0) >> 1) * CELL
            if 8 * s + 8 <= width and y < row1:
                at = ((y - image_row0) * width + 8 * s) * 3
                store_rgb(flat, at, at + 3 * width, load(tile, p), load(tile, p + 16), load(tile, p + 32))
                continue
            for r in range(min(2, row1 + 1 - y)):
                for i in range(min(8, width - 8 * s)):
                    for c in range(3):
                        image[y - image_row0 + r, 8 * s + i, c] = tile[p + 16 * c + 8 * r + i]


@kernel
def draw(t, threads, board, records, order, start, row_first, centre, work, all_ints, all_doubles, image):
    """Draws rows row_first * TILE_H ... of the picture to `image`, float32 [h, W, 3]. Board: as many as tiles.

    start: offsets in `order` of the tiles of these rows, and the end.
    work [threads, WORK_FLOATS] float32, all_ints [threads, WORK_INTS] int32, all_doubles [threads, DOUBLES]: scratch.
    """
    for step in range(threads):
        a, b = own_tiles(start, (t + step) % threads, threads)
        for j in range(b - a):
            k = a + j if step == 0 else b - 1 - j  # others begin at the far end
            if take(board, k):
                scratch = work[t], all_ints[t], all_doubles[t]
                _draw_tile(k, records, order[start[k] : start[k + 1]], row_first, centre, *scratch, image)


@part(_nrt=False)
def _draw_tile(k, records, order, row_first, centre, work, ints, doubles, image):
    """Draws the Gaussians of tile k of the window."""
    tile, floats, singles = work[:_TILE_END], work[_TILE_END:_PLAN_END], work[_PLAN_END:]
    height, width, _ = image.shape
    tiles_x, top = (width + TILE_W - 1) // TILE_W, row_first * TILE_H
    row0, x_lo = top + k // tiles_x * TILE_H, k % tiles_x * TILE_W
    row1, x_hi = min(row0 + TILE_H, top + height) - 1, min(x_lo + TILE_W, width) - 1
    s_lo, s_hi = x_lo >> 3, x_hi >> 3
    tile[:] = 0
    for e in range(0, len(order), 16):
        ids = order[e : e + 16]
        m = len(ids)
        for ahead in range(e + 16, min(e + 32, len(order))):
            prefetch(records, order[ahead])
        plan(floats, ints, doubles, singles, records, ids, m, s_lo, s_hi, row0, row1, 0, centre, _CUT)
        for i in range(m):
            _scatter(i, records[ids[i]], floats, ints, s_lo, s_hi, row0, tile)
    write_tile(tile, image, x_lo, x_hi, row0, row1, top)


@part(_nrt=False)
def read_cells(t, threads, grad, cells):
    """grad [H, W, 3] to strips of cells, zero outside the image."""
    height, width, _ = grad.shape
    pairs = (height + 1) // 2
    pitch = (height + 1) // 2 * CELL + 16
    flat = grad.reshape(-1)
    for y in range(pairs * t // threads * 2, pairs * (t + 1) // threads * 2, 2):
        for s in range((width + 7) // 8):
            p = s * pitch + (y >> 1) * CELL
            if y + 1 < height and 8 * s + 8 <= width:
                at = (y * width + 8 * s) * 3
                r, g, b = load_rgb(flat, at, at + 3 * width)
                store(cells, p, r)
                store(cells, p + 16, g)
                store(cells, p + 32, b)
                continue
            for i in range(16):
                inside = y + (i >> 3) < height and 8 * s + (i & 7) < width
                for c in range(3):
                    cells[p + 16 * c + i] = grad[y + (i >> 3), 8 * s + (i & 7), c] if inside else _f32(0)


@part(_nrt=False, forceinline=True)
def _gather(i, r, floats, ints, skip, row0, cells, pitch, sums):
    """Sums over the pairs of one Gaussian, lane i of the plan, in at most STRIPS strips after `skip`.

    cells: rows row0 ... of dL/dpicture.

    With G = dL/dpixel, u = w (G . colour): sums[:8] = sum of u p, u q, u p^2, u p q, u q^2, w G (three channels).
    """
    first, last = (r.x0 >> 3) + skip, r.x1 >> 3
    w11, w21, w22 = splat(r.w11), splat(r.w21), splat(r.w22)
    c0, c1, c2 = splat(r.c0), splat(r.c1), splat(r.c2)
    step, cut, zero = w22 + w22, splat(_CUT), splat(_f32(0))
    down = cell_row() * w22
    a0 = a1 = a2 = up = uq = upp = upq = uqq = zero
    for j in range(min(last - first + 1, STRIPS)):
        at = j * 16 * INTS + i
        left, row = ints[at + 16 * CELLS], ints[at + 16 * ROW]
        if left <= 0:
            continue
        at = j * 16 * FLOATS + i
        x = cell_column() - floats[at + 16 * OFFSET]
        p = fma(x, w11, splat(floats[at + 16 * P]))
        q0 = fma(x, w21, down + floats[at + 16 * Q])
        pp, k, s0, sq, st = p * p, zero, zero, zero, zero
        place = (first + j) * pitch + ((row - row0) >> 1) * CELL
        for _ in range(left):
            q = fma(k, step, q0)
            t = fma(q, q, pp)
            w = weight(t, cut)
            g0, g1, g2 = load(cells, place), load(cells, place + 16), load(cells, place + 32)
            a0, a1, a2 = fma(w, g0, a0), fma(w, g1, a1), fma(w, g2, a2)
            u = w * fma(g0, c0, fma(g1, c1, g2 * c2))
            s0, sq, st = s0 + u, fma(u, q, sq), fma(u, t, st)
            k = k + _f32(1)
            place += CELL
        up, uq = fma(p, s0, up), uq + sq
        upp, upq, uqq = fma(pp, s0, upp), fma(p, sq, upq), uqq + (st - pp * s0)
    store(sums, 0, totals(up, uq, upp, upq, uqq, a0, a1, a2))


@part(_nrt=False)
def _differentiate_conics(white, s):
    for i in range(16):
        w11, w21, w22, pp, pq, qq = white[i], white[16 + i], white[32 + i], s[2, i], s[3, i], s[4, i]
        s[0, i], s[1, i] = _UNIT * (w11 * s[0, i] + w21 * s[1, i]), _UNIT * w22 * s[1, i]
        inverse = 1.0 / (w11 * w22)
        a, b = w22 * inverse, w11 * inverse  # 1 / w11, 1 / w22
        slope = w21 * a
        s[2, i], s[3, i] = -0.5 * a * a * pp, (slope * pp - pq) * inverse
        s[4, i] = -0.5 * b * b * (qq - 2 * slope * pq + slope * slope * pp)


@part(_nrt=False)
def _differentiate_covariances(white, s):
    for i in range(16):
        w11, w21, w22, pp, pq, qq = white[i], white[16 + i], white[32 + i], s[2, i], s[3, i], s[4, i]
        s[0, i], s[1, i] = _UNIT * (w11 * s[0, i] + w21 * s[1, i]), _UNIT * w22 * s[1, i]
        h = 0.5 * _UNIT * _UNIT
        s[2, i] = h * (w11 * w11 * pp + 2 * w11 * w21 * pq + w21 * w21 * qq)
        s[3, i] = 2 * h * w22 * (w11 * pq + w21 * qq)
        s[4, i] = h * w22 * w22 * qq


@part(_nrt=False)
def differentiate(ids, m, white, conic, s, out):
    """Adds the gradients of Gaussians ids[:m] to `out`, from the sums s [8, 16] float64 of `_gather`, a lane each.

    white: w11, w21, w22, sixteen each. t = p^2 + q^2 enters as 2^(-8 t), and d^T S^-1 d = 16 ln 2 t: with
    W = [[w11, 0], [w21, w22]] the gradient of the mean is 16 ln 2 W^T sum(u (p, q)), that of S is
    1/2 (16 ln 2)^2 W^T R W with R = sum(u (p, q) (p, q)^T), and that of S^-1 is -1/2 W^-1 R W^-T. The off-diagonal
    element is one parameter and stands twice in the matrix. `s` is used up.
    """
    if conic:
        _differentiate_conics(white, s)
    else:
        _differentiate_covariances(white, s)
    grad_means, grad_shapes, grad_colors = out
    for i in range(m):
        n = ids[i]
        grad_means[n, 0] += s[0, i]
        grad_means[n, 1] += s[1, i]
        for c in range(3):
            grad_shapes[n, c] += s[2 + c, i]
            grad_colors[n, c] += s[5 + c, i]


@kernel
def collect(
    t, threads, board, records, order, start, row_first, centre, conic, grad, cells, work, all_ints, all_doubles, out
):
    """Adds the gradients that come from a window of the picture, rows row_first * TILE_H ...

    A Gaussian belongs to the tile of its first pixel in the window, and is summed with this tile alone.

    Args:
        board: 1 + 4 * threads places, and as many as tiles.
        start: offsets in `order` of the tiles of the window, and the end.
        grad: [h, W, 3] float32, dL/dpicture of these rows.
        cells: float32, room for `grad` in cells.
        work, all_ints, all_doubles: scratch as for `draw`.
        out: gradients (means [N, 2], shapes [N, 3], colours [N, 3]).
    """
    height, width, _ = grad.shape
    parts = 4 * threads
    for step in range(parts):
        part = (4 * t + step) % parts
        if take(board, 1 + part):
            read_cells(part, parts, grad, cells)
            finish(board, 0)
    wait(board, 0, parts)
    for step in range(threads):
        a, b = own_tiles(start, (t + step) % threads, threads)
        for j in range(b - a):
            k = a + j if step == 0 else b - 1 - j
            if take(board, 1 + parts + k):
                scratch = work[t], all_ints[t], all_doubles[t]
                ids = order[start[k] : start[k + 1]]
                _collect_tile(k, records, ids, row_first, height, width, centre, conic, cells, *scratch, out)


@part(_nrt=False)
def _collect_tile(k, records, order, row_first, height, width, centre, conic, cells, work, ints, all_doubles, out):
    """Adds the gradients of the Gaussians that belong to tile k of the window."""
    sums, floats, singles = work[:16], work[_TILE_END:_PLAN_END], work[_PLAN_END:]
    doubles, moments = all_doubles[:LANE_DOUBLES], all_doubles[LANE_DOUBLES:].reshape(8, 16)
    grad_means, grad_shapes, grad_colors = out
    tiles_x, row0, pitch = (width + TILE_W - 1) // TILE_W, row_first * TILE_H, (height + 1) // 2 * CELL + 16
    row1, tile_y, tile_x = row0 + height - 1, row_first + k // tiles_x, k % tiles_x
    ids = ints[PLAN_INTS:]
    m = 0
    for e in range(len(order)):
        n = order[e]
        if e + 16 < len(order):
            prefetch(records, order[e + 16])
        if max(records[n].y0, row0) // TILE_H == tile_y and records[n].x0 // TILE_W == tile_x:
            ids[m] = n
            m += 1
        if m < 16 and e + 1 < len(order):
            continue
        for i in range(m):
            prefetch(grad_means, ids[i])
            prefetch(grad_shapes, ids[i])
            prefetch(grad_colors, ids[i])
        moments[:] = 0
        skip, widest = 0, 1
        while skip < widest:
            left = plan(floats, ints, doubles, singles, records, ids, m, 0, _EVERY, row0, row1, skip, centre, _CUT)
            widest = skip + left
            for i in range(m):
                _gather(i, records[ids[i]], floats, ints, skip, row0, cells, pitch, sums)
                for c in range(8):
                    moments[c, i] += sums[c]
            skip += STRIPS
        differentiate(ids, m, doubles, conic, moments, out)
        m = 0

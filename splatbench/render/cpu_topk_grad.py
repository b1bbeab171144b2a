"""Gradients of blend `topk` on the CPU (third part).

With G = dL/dpixel, a the response of a chosen Gaussian and v = G / (S + epsilon),

    dL/dcolour = a v,    a dL/da = a (v . colour - v . pixel),

so a Gaussian is visited as in blend `sum`, with one number more per pixel, and within limits that drawing left instead
of one for all. Distances must be the very bits of the forward pass: each tile is planned as there.
Gaussians of one tile are differentiated at once; the sums of others wait until all tiles are done.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numpy as np

from .cpu_bins import TILE_H, TILE_W, own_tiles
from .cpu_plan import CELLS, FLOATS, INTS, LANE_FLOATS, OFFSET, PLAN_FLOATS, ROW, P, Q, plan
from .cpu_sum import differentiate
from .cpu_topk_cells import CELLS_HIGH, STRIPS, called, inlined, start_strip
from .cpu_topk_draw import INVERSE, LAST, LIMIT, PIXEL, state_floats
from .f32x16 import fma, load, load_rgb, prefetch, response, splat, store, totals
from .f32x16_rank import any_within, if_below, if_equal
from .jit import kernel, part
from .sharing import finish, take, wait

#: Rows of a cell for the gradient, sixteen floats each: the limit, v (three channels) and v . pixel.
_V, _MEAN, _CELL = 16, 64, 80
_STRIP = CELLS_HIGH * _CELL + 16
CELL_FLOATS = STRIPS * _STRIP  # of a tile
SUMS = 8
_f32 = np.float32


@inlined
def _gradient_cell(grad, flat, x, y, channel, spare):
    """Three channels of dL/dpicture from column x and row y on, zero outside the picture."""
    height, width, channels = grad.shape
    if channels == 3 and x + 8 <= width and y + 2 <= height:
        place = (y * width + x) * 3
        return load_rgb(flat, place, place + 3 * width)
    for i in range(16):
        inside = y + (i >> 3) < height and x + (i & 7) < width
        for c in range(3):
            known = inside and channel + c < channels
            spare[16 * c + i] = grad[y + (i >> 3), x + (i & 7), channel + c] if known else _f32(0)
    return load(spare, 0), load(spare, 16), load(spare, 32)


@called
def _prepare_tile(state, grad, x, y, channel, spare, cells):
    """From states and dL/dpicture to what `_gather` reads of the tile at column x and row y."""
    height, width, channels = grad.shape
    flat = grad.reshape(-1)
    cell_floats, strip_floats = state_floats(channels)
    for s in range((min(x + TILE_W, width) - x + 7) // 8):
        for c in range((min(y + TILE_H, height) - y + 1) // 2):
            at, to = s * strip_floats + c * cell_floats, s * _STRIP + c * _CELL
            g0, g1, g2 = _gradient_cell(grad, flat, x + 8 * s, y + 2 * c, channel, spare)
            inverse, pixel = load(state, at + INVERSE), at + PIXEL + 16 * channel
            v0, v1, v2 = g0 * inverse, g1 * inverse, g2 * inverse
            mean = fma(v0, load(state, pixel), fma(v1, load(state, pixel + 16), v2 * load(state, pixel + 32)))
            store(cells, to, load(state, at + LIMIT))
            store(cells, to + _V, v0)
            store(cells, to + _V + 16, v1)
            store(cells, to + _V + 32, v2)
            store(cells, to + _MEAN, mean)


@inlined
def _gather(i, n, r, colors, channel, floats, ints, window, state, state_pitch, cells, sums):
    """Sums over the pairs of Gaussian n with record r, lane i of the plan, in one tile.

    With u = a (v . colour - v . pixel): sums[:8] = sum of u p, u q, u p^2, u p q, u q^2, a v (three channels).
    """
    s_lo, s_hi, row0, _ = window
    cell_floats, strip_floats = state_pitch
    tied = state[CELLS_HIGH * cell_floats] > 0
    first, last = max(r.x0 >> 3, s_lo), min(r.x1 >> 3, s_hi)
    c0, c1, c2 = splat(colors[n, channel]), splat(colors[n, channel + 1]), splat(colors[n, channel + 2])
    w11, w21, w22 = _f32(r.w11), _f32(r.w21), _f32(r.w22)
    step, zero, me = splat(w22 + w22), splat(_f32(0)), splat(_f32(n))
    a0 = a1 = a2 = up = uq = upp = upq = uqq = zero
    for j in range(last - first + 1):
        at = j * 16 * INTS + i
        left, row = ints[at + 16 * CELLS], ints[at + 16 * ROW]
        if left <= 0:
            continue
        at = j * 16 * FLOATS + i
        offset, base_p, base_q = floats[at + 16 * OFFSET], floats[at + 16 * P], floats[at + 16 * Q]
        p, q0 = start_strip(offset, base_p, base_q, w11, w21, w22)
        pp, k, s0, sq, st = p * p, zero, zero, zero, zero
        cell = (row - row0) >> 1
        place = (first + j - s_lo) * _STRIP + cell * _CELL
        known = (first + j - s_lo) * strip_floats + cell * cell_floats
        for _ in range(left):
            q = fma(k, step, q0)
            t = fma(q, q, pp)
            limit = load(cells, place)
            if any_within(t, limit):  # else it is among the k strongest of no pixel here
                a = response(t, limit)
                if tied:
                    a = if_equal(t, limit, if_below(load(state, known + LAST), me, zero, a), a)
                v0, v1, v2 = load(cells, place + _V), load(cells, place + _V + 16), load(cells, place + _V + 32)
                a0, a1, a2 = fma(a, v0, a0), fma(a, v1, a1), fma(a, v2, a2)
                u = a * (fma(v0, c0, fma(v1, c1, v2 * c2)) - load(cells, place + _MEAN))
                s0, sq, st = s0 + u, fma(u, q, sq), fma(u, t, st)
            k = k + _f32(1)
            place += _CELL
            known += cell_floats
        up, uq = fma(p, s0, up), uq + sq
        upp, upq, uqq = fma(pp, s0, upp), fma(p, sq, upq), uqq + (st - pp * s0)
    store(sums, 0, totals(up, uq, upp, upq, uqq, a0, a1, a2))


@inlined
def _shared(r):
    """Whether a Gaussian touches more than one tile."""
    return (r.x0 // TILE_W != r.x1 // TILE_W) | (r.y0 // TILE_H != r.y1 // TILE_H)


@part
def _collect_tile(
    records,
    order,
    window,
    centre,
    conic,
    cut,
    colors,
    channel,
    state,
    cells,
    floats,
    ints,
    doubles,
    moments,
    out,
    waiting,
):
    """Adds the gradients of Gaussians that touch this tile alone. Of the others the ids and sums go to `waiting`.

    Returns how many wait.
    """
    singles, sums = floats[PLAN_FLOATS : PLAN_FLOATS + LANE_FLOATS], floats[PLAN_FLOATS + LANE_FLOATS :]
    s_lo, s_hi, row0, row1 = window
    pitch = state_floats(colors.shape[1])
    waiting_ids, waiting_sums = waiting
    grad_means, grad_shapes, grad_colors = out
    ids, count = np.empty(16, np.int32), 0
    for shared in (False, True):
        m = 0
        for e in range(len(order)):
            if e + 16 < len(order):
                prefetch(records, order[e + 16])
            if _shared(records[order[e]]) == shared:
                ids[m] = order[e]
                m += 1
            if m == 0 or (m < 16 and e + 1 < len(order)):
                continue
            for i in range(m):
                prefetch(grad_means, ids[i])
                prefetch(grad_shapes, ids[i])
                prefetch(grad_colors, ids[i])
            plan(floats, ints, doubles, singles, records, ids, m, s_lo, s_hi, row0, row1, 0, centre, cut)
            for i in range(m):
                _gather(i, ids[i], records[ids[i]], colors, channel, floats, ints, window, state, pitch, cells, sums)
                for k in range(SUMS):
                    moments[k, i] = sums[k]
            if shared:
                for i in range(m):
                    waiting_ids[count + i] = ids[i]
                    for k in range(SUMS):
                        waiting_sums[count + i, k] = moments[k, i]
                count += m
            else:
                differentiate(ids, m, doubles, conic, moments, out)
            m = 0
    return count


@part
def _add_waiting(part, parts, records, start, counts, ids, sums, white, moments, conic, out):
    """Adds the gradients that wait, of the Gaussians of one part, tile by tile."""
    some, m = np.empty(16, np.int32), 0
    for k in range(len(counts)):
        for e in range(start[k] - start[0], start[k] - start[0] + counts[k]):
            n = ids[e]
            if n % parts != part:
                continue
            r = records[n]
            some[m], white[m], white[16 + m], white[32 + m] = n, r.w11, r.w21, r.w22
            for c in range(SUMS):
                moments[c, m] = sums[e, c]
            m += 1
            if m == 16:
                differentiate(some, m, white, conic, moments, out)
                m = 0
    differentiate(some, m, white, conic, moments, out)


@kernel
def collect(
    t, threads, board, records, order, start, row_first, centre, conic, cut, colors, channel, grad, slots, scratch, out
):
    """Adds the gradients that come from a window of the picture, rows row_first * TILE_H ...; of the colours, those of
    three channels. Board: 1 + threads places, and as many as tiles.

    Args:
        start, colors, slots: as for `draw`, which has left states for these rows.
        channel: the first of three.
        grad: [h, W, C] float32, dL/dpicture of these rows.
        scratch: arrays [threads, ...]: floats, ints, doubles, moments, cells; and for the window: counts of Gaussians
            that wait [tiles] int64, their ids [entries] int32, their sums [entries, 8] float64.
        out: gradients (means [N, 2], shapes [N, 3], three channels of the colours [N, 3]).
    """
    all_floats, all_ints, all_doubles, all_moments, all_cells, counts, ids, sums = scratch
    floats, ints, doubles, moments, cells = all_floats[t], all_ints[t], all_doubles[t], all_moments[t], all_cells[t]
    states, slot = slots
    height, width, _ = grad.shape
    tiles_x, top, tiles = (width + TILE_W - 1) // TILE_W, row_first * TILE_H, len(start) - 1
    for step in range(threads):
        a, b = own_tiles(start, (t + step) % threads, threads)
        for j in range(b - a):
            i = a + j if step == 0 else b - 1 - j
            if not take(board, 1 + threads + i):
                continue
            y, x = i // tiles_x * TILE_H, i % tiles_x * TILE_W
            state = states[slot[row_first + i // tiles_x] + i % tiles_x]
            _prepare_tile(state, grad, x, y, channel, floats, cells)
            window = x >> 3, (min(x + TILE_W, width) - 1) >> 3, top + y, top + min(y + TILE_H, height) - 1
            lo, hi = start[i] - start[0], start[i + 1] - start[0]
            counts[i] = _collect_tile(
                records, order[start[i] : start[i + 1]], window, centre, conic, cut, colors, channel, state, cells,
                floats, ints, doubles, moments, out, (ids[lo:hi], sums[lo:hi]),
            )  # fmt: skip
            finish(board, 0)
    wait(board, 0, tiles)
    for step in range(threads):
        part = (t + step) % threads
        if take(board, 1 + part):
            _add_waiting(part, threads, records, start, counts, ids, sums, doubles, moments, conic, out)

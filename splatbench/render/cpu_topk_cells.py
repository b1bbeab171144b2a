"""All Gaussians of a cell of pixels, side by side (blend `topk` on the CPU, first part).

Ranking needs the Gaussians at a pixel together, while they are cheapest to evaluate one by one. So the plan of a tile
is sorted by strip (`list_items`), and then, one strip at a time, every Gaussian writes its distances t = p^2 + q^2,
whose response is 2^(-8 t), to the places of its cells (`count_cells`, `measure`): a counting sort whose output stays in
the second-level cache. Ranking by distance needs no exponential, and tells apart what is near a mean, where responses
round to 1.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numpy as np

from .cpu_bins import TILE_H, TILE_W
from .cpu_plan import CELLS, FLOATS, INTS, OFFSET, ROW, P, Q, plan
from .f32x16 import cell_column, cell_row, fma, load, prefetch, splat, store
from .f32x16_rank import any_below, capped
from .jit import part

STRIPS, CELLS_HIGH = TILE_W // 8, TILE_H // 2  # of a tile
#: Distances of a cell come in fours; the rest of the last four is FAR.
FOUR = 4
#: Distances that are held at once, unless a single cell has more.
ROOM = 1 << 13

#: A Gaussian in a strip: base column, p and q there, whitening, index; first cell from the top of the tile, and cells.
ITEM = np.dtype(
    [(name, "f4") for name in ("offset", "p", "q", "w11", "w21", "w22")]
    + [(name, "i4") for name in ("n", "first", "cells")]
)
_f32 = np.float32
#: What counts as near: so many times the distance that the k-th of evenly spread Gaussians has. Beyond responses of
#: 1e-6 (`_WIDEST`) a cut says nothing about how far they are spread.
_NEAR, _WIDEST = _f32(1.5), _f32(2.5)
FAR = _f32(np.finfo(np.float32).max)  # not seen, nor is NaN

#: For what pixel loops call. numba would count references to their arrays at every call, with atomic operations.
called, inlined = part(_nrt=False), part(_nrt=False, forceinline=True)


@inlined
def list_items(items, begin, end, records, order, window, centre, cut, floats, ints, doubles, singles):
    """Sorts the plan of Gaussians `order` by strip: items[begin[s] : end[s]] are those of strip s, in this order.

    window: first and last strip and row of the tile. begin, end [STRIPS + 1].
    """
    s_lo, s_hi, row0, row1 = window
    begin[:] = 0
    for e in range(len(order)):
        if e + FOUR < len(order):
            prefetch(records, order[e + FOUR])
        r = records[order[e]]
        for s in range(max(r.x0 >> 3, s_lo), min(r.x1 >> 3, s_hi) + 1):
            begin[s - s_lo + 1] += 1
    end[0] = 0
    for s in range(1, STRIPS + 1):
        begin[s] += begin[s - 1]
        end[s] = begin[s]
    for e in range(0, len(order), 16):
        m = min(16, len(order) - e)
        ids = order[e : e + m]
        plan(floats, ints, doubles, singles, records, ids, m, s_lo, s_hi, row0, row1, 0, centre, cut)
        for i in range(m):
            r = records[ids[i]]
            first = max(r.x0 >> 3, s_lo)
            for j in range(min(r.x1 >> 3, s_hi) - first + 1):
                cells, row = ints[j * 16 * INTS + i + 16 * CELLS], ints[j * 16 * INTS + i + 16 * ROW]
                if cells <= 0:
                    continue
                item, at = items[end[first + j - s_lo]], j * 16 * FLOATS + i
                end[first + j - s_lo] += 1
                item.n, item.first, item.cells = ids[i], (row - row0) >> 1, cells
                item.offset, item.p, item.q = floats[at + 16 * OFFSET], floats[at + 16 * P], floats[at + 16 * Q]
                item.w11, item.w21, item.w22 = r.w11, r.w21, r.w22


@inlined
def count_cells(items, lo, hi, counts):
    """counts[c]: how many of items[lo : hi] touch cell c of their strip. counts [CELLS_HIGH + 1] int64."""
    counts[:] = 0
    for i in range(lo, hi):
        counts[items[i].first] += 1
        counts[items[i].first + items[i].cells] -= 1
    for c in range(CELLS_HIGH):
        counts[c + 1] += counts[c]


@inlined
def place_cells(counts, places, c0, cells):
    """places[c]: where the distances of cells c0 ... begin. Returns the end of the cells for which there is room."""
    total, c = 0, c0
    while c < cells and (c == c0 or total + counts[c] <= ROOM):
        places[c] = total
        total += (counts[c] + FOUR - 1) & -FOUR
        c += 1
    return c


@inlined
def start_strip(offset, p, q, w11, w21, w22):
    """(p, q) of the pixels of the first cell that a Gaussian touches in a strip.

    Forward and backward have to agree on every bit of a distance, so that both choose the same Gaussians: all products
    are parts of explicit multiply-adds here, none is left for the compiler to fuse or not.
    """
    x = cell_column() - offset
    return fma(x, splat(w11), splat(p)), fma(x, splat(w21), fma(cell_row(), splat(w22), splat(q)))


@inlined
def measure(items, lo, hi, c0, c1, counts, places, ends, near, k_best, cut, distances, who):
    """Writes the distances of items[lo : hi] in cells c0 .. c1 - 1 of their strip: what is near to a cell from its
    first place on, what is far from its last place back. Ranking then meets the k best early and skips the others.

    counts, places: as from `count_cells` and `place_cells`. distances: float32, sixteen a place. who: int32, the
    Gaussian of a place. ends (int64), near (float32): as long as `places`, written.
    """
    far = splat(FAR)
    for c in range(c0, c1):
        ends[c] = places[c] + counts[c] - 1
        # Where Gaussians are spread evenly the squares of their distances are, too, from 0 to the cut.
        near[c] = _NEAR * k_best * min(cut, _WIDEST) / _f32(max(counts[c], 1))
    for i in range(lo, hi):
        item = items[i]
        a, b = max(item.first, c0), min(item.first + item.cells, c1)
        p, q0 = start_strip(item.offset, item.p, item.q, item.w11, item.w21, item.w22)
        step, pp, k, n = splat(item.w22 + item.w22), p * p, splat(_f32(a - item.first)), item.n
        for c in range(a, b):
            q = fma(k, step, q0)
            t = capped(fma(q, q, pp), far)
            if any_below(t, splat(near[c])):
                place = places[c]
                places[c] = place + 1
            else:
                place = ends[c]
                ends[c] = place - 1
            store(distances, 16 * place, t)
            who[place] = n
            k = k + _f32(1)


@inlined
def pad(distances, place):
    """FAR up to the next four."""
    for i in range(place, (place + FOUR - 1) & -FOUR):
        store(distances, 16 * i, splat(FAR))


@inlined
def distances_of(distances, i):
    """Four vectors from place i on."""
    at = 16 * i
    return load(distances, at), load(distances, at + 16), load(distances, at + 32), load(distances, at + 48)

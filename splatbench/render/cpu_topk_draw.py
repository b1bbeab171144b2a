"""Choosing and averaging the k strongest Gaussians of each pixel (blend `topk` on the CPU, second part).

Per cell of 8 x 2 pixels a pass over its distances keeps the k smallest, sorted; no indices are moved, for the k-th
distance tells which Gaussians are chosen. Where several are at that distance the lower indices win: rare, but for exact
duplicates. A second pass sums the chosen.

What the gradient needs of a pixel is its state: the largest distance that is chosen, the highest index that is chosen
there, 1 / (S + epsilon), and the pixel itself.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from .cpu_bins import TILE_H, TILE_W, own_tiles
from .cpu_plan import LANE_FLOATS, PLAN_FLOATS
from .cpu_topk_cells import (
    CELLS_HIGH,
    FAR,
    FOUR,
    STRIPS,
    called,
    count_cells,
    distances_of,
    inlined,
    list_items,
    measure,
    pad,
    place_cells,
)
from .f32x16 import divide, fma, load, response, splat, splat_at, store, store_rgb
from .f32x16_rank import any_below, any_equal, any_within, if_below, if_equal, larger, smaller
from .jit import kernel, part
from .sharing import take

#: Rows of a state, sixteen floats each; `PIXEL` is the first channel.
LIMIT, LAST, INVERSE, PIXEL = 0, 16, 32, 48
_f32 = np.float32


@kernel(_nrt=False)
def state_floats(channels):
    """Floats of (the state of a cell, that of a strip of a tile); the odd cache line as in `cpu_plan.PITCH`.

    The first of the odd floats of a tile tells whether `LAST` matters anywhere in it.
    """
    cell = PIXEL + 48 * ((channels + 2) // 3)
    return cell, CELLS_HIGH * cell + 16


@inlined
def _rank(distances, first, end, k, best):
    """The k smallest distances of each pixel to best[:k], ascending, and the next one to best[k]; sixteen floats each.

    Four new values at a time fall through the sorted ones, each staying where it is smaller and pushing the other on.
    """
    beyond = splat(FAR)
    for j in range(k):
        store(best, 16 * j, beyond)
    for i in range(first, end, FOUR):
        a, b, c, d = distances_of(distances, i)
        least = smaller(smaller(a, b), smaller(c, d))
        if not any_below(least, load(best, 16 * (k - 1))):  # most of them, once the first have set the measure
            beyond = smaller(beyond, least)
            continue
        for j in range(min(k, i - first + FOUR)):
            x = load(best, 16 * j)
            y, a = smaller(x, a), larger(x, a)
            x, b = smaller(y, b), larger(y, b)
            y, c = smaller(x, c), larger(x, c)
            x, d = smaller(y, d), larger(y, d)
            store(best, 16 * j, x)
        beyond = smaller(beyond, smaller(smaller(a, b), smaller(c, d)))
    store(best, 16 * k, beyond)


@called
def _break_ties(distances, who, first, end, k, best, limit, state, at):
    """Where the k-th distance equals the next: the highest index that is chosen to the state; moves the others away."""
    zero, one, none = splat(_f32(0)), splat(_f32(1)), splat(_f32(math.inf))
    room = zero  # for how many of those that are equal
    for j in range(k):
        room = room + if_equal(load(best, 16 * j), limit, one, zero)
    room = if_equal(load(best, 16 * k), limit, room, zero)
    last = if_below(zero, room, zero - one, none)
    while any_equal(larger(room, one), room):  # room for one or more, in any lane
        lowest = none
        for i in range(first, end):
            n = splat(_f32(who[i]))
            lowest = smaller(lowest, if_equal(load(distances, 16 * i), limit, if_below(last, n, n, none), none))
        last, room = if_below(zero, room, lowest, last), room - one
    for i in range(first, end):
        t = load(distances, 16 * i)
        store(distances, 16 * i, if_equal(t, limit, if_below(last, splat(_f32(who[i])), splat(FAR), t), t))
    store(state, at + LAST, last)


@inlined
def _blend(distances, who, first, end, limit, epsilon, colors, channel):
    """(1 / (S + epsilon), three channels of the weighted average) over the Gaussians within the limit."""
    zero, pitch = splat(_f32(0)), colors.shape[1]
    total = r = g = b = zero
    for i in range(first, end):
        t = load(distances, 16 * i)
        if not any_within(t, limit):
            continue
        a, at = response(t, limit), who[i] * pitch + channel
        total = total + a
        r, g = fma(a, splat_at(colors, at), r), fma(a, splat_at(colors, at + 1), g)
        b = fma(a, splat_at(colors, at + 2), b)
    inverse = divide(splat(_f32(1)), total + epsilon)
    return inverse, r * inverse, g * inverse, b * inverse


@inlined
def _draw_cell(distances, who, first, end, cut, k, epsilon, colors, best, state, at):
    """Fills the state of one cell. Returns whether there were ties."""
    limit, tied = splat(cut), False
    store(state, at + LAST, splat(_f32(math.inf)))
    if end - first > k:
        pad(distances, end)
        _rank(distances, first, end, k, best)
        limit = smaller(limit, load(best, 16 * (k - 1)))
        tied = any_equal(limit, load(best, 16 * k))
        if tied:
            _break_ties(distances, who, first, end, k, best, limit, state, at)
    store(state, at + LIMIT, limit)
    for channel in range(0, colors.shape[1], 3):
        inverse, r, g, b = _blend(distances, who, first, end, limit, epsilon, colors, channel)
        store(state, at + INVERSE, inverse)
        place = at + PIXEL + 16 * channel
        store(state, place, r)
        store(state, place + 16, g)
        store(state, place + 32, b)
    return tied


@inlined
def _write_cell(state, at, image, flat, x, y):
    """The pixels of a cell to columns x ... and rows y ... of the image."""
    height, width, channels = image.shape
    at += PIXEL
    if channels == 3 and x + 8 <= width and y + 2 <= height:
        place = (y * width + x) * 3
        store_rgb(flat, place, place + 3 * width, load(state, at), load(state, at + 16), load(state, at + 32))
        return
    for r in range(min(2, height - y)):
        for i in range(min(8, width - x)):
            for c in range(channels):
                image[y + r, x + i, c] = state[at + 16 * c + 8 * r + i]


@part
def _draw_tile(k_tile, records, order, row_first, centre, cut, k, epsilon, colors, scratch, state, image):
    """Draws tile k_tile of the window, and leaves the state of its pixels."""
    items, distances, who, floats, ints, doubles = scratch
    singles, best = floats[PLAN_FLOATS : PLAN_FLOATS + LANE_FLOATS], floats[PLAN_FLOATS + LANE_FLOATS :]
    height, width, channels = image.shape
    flat = image.reshape(-1)
    tiles_x, top = (width + TILE_W - 1) // TILE_W, row_first * TILE_H
    y, x = k_tile // tiles_x * TILE_H, k_tile % tiles_x * TILE_W
    y_end, x_end = min(y + TILE_H, height), min(x + TILE_W, width)
    window = x >> 3, (x_end - 1) >> 3, top + y, top + y_end - 1
    cells, (cell_floats, strip_floats) = (y_end - y + 1) // 2, state_floats(channels)
    tied = False
    begin, end = np.empty(STRIPS + 1, np.int64), np.empty(STRIPS + 1, np.int64)
    counts, places = np.empty(CELLS_HIGH + 1, np.int64), np.empty(CELLS_HIGH, np.int64)
    ends, near = np.empty(CELLS_HIGH, np.int64), np.empty(CELLS_HIGH, np.float32)
    list_items(items, begin, end, records, order, window, centre, cut, floats, ints, doubles, singles)
    for s in range(window[1] - window[0] + 1):
        count_cells(items, begin[s], end[s], counts)
        c = 0
        while c < cells:
            c_end = place_cells(counts, places, c, cells)
            first = 0
            measure(items, begin[s], end[s], c, c_end, counts, places, ends, near, _f32(k), cut, distances, who)
            while c < c_end:
                at, last = s * strip_floats + c * cell_floats, first + counts[c]
                tied |= _draw_cell(distances, who, first, last, cut, k, epsilon, colors, best, state, at)
                _write_cell(state, at, image, flat, x + 8 * s, y + 2 * c)
                first = (last + FOUR - 1) & -FOUR
                c += 1
    state[CELLS_HIGH * cell_floats] = tied


@kernel
def draw(t, threads, board, records, order, start, row_first, centre, cut, k, epsilon, colors, scratch, slots, image):
    """Draws rows row_first * TILE_H ... of the picture to `image`, float32 [h, W, C]. Board: as many as tiles.

    Args:
        start: offsets in `order` of the tiles of these rows, and the end.
        colors: [N, C rounded up to threes] float32.
        scratch: arrays [threads, ...]: items, distances, who, floats, ints, doubles.
        slots: (states [slots, floats of a tile] float32, slot [rows of tiles of the picture] int64: first slot of the
            tiles of a row), or -1 to keep nothing: then slot t of thread t serves all its tiles.
    """
    items, distances, who, floats, ints, doubles = scratch
    states, slot = slots
    tiles_x = (image.shape[1] + TILE_W - 1) // TILE_W
    mine = items[t], distances[t], who[t], floats[t], ints[t], doubles[t]
    for step in range(threads):
        a, b = own_tiles(start, (t + step) % threads, threads)
        for j in range(b - a):
            i = a + j if step == 0 else b - 1 - j  # others begin at the far end
            if not take(board, i):
                continue
            kept = slot[row_first + i // tiles_x]
            state = states[kept + i % tiles_x if kept >= 0 else t]
            ids = order[start[i] : start[i + 1]]
            _draw_tile(i, records, ids, row_first, centre, cut, k, epsilon, colors, mine, state, image)

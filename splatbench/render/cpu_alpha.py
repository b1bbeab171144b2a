"""Blend `alpha` on the CPU, tile by tile, front to back in both directions; `reference_alpha` has the definition.

Backward meets the Gaussians in the same order and with the same operations as forward, so it sees the same
transmittances. With G = dL/dpixel, what lies behind a Gaussian adds to (pixel . G) what is left after subtracting the
Gaussians up to it; divided by 1 - alpha, that is what a larger alpha takes away.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numpy as np

from .cpu_forms import forms_at
from .cpu_lists import CELLS, TILE_FLOATS, RecordRasterizer, strip_floats
from .cpu_plan import CELL, PITCH
from .cpu_sum import write_tile
from .f32x16 import (
    LANES,
    any_greater,
    divide,
    fma,
    load,
    minimum,
    splat,
    store,
    totals,
    weight,
    where_at_least,
    where_greater,
)
from .jit import kernel, part
from .published import TILE
from .reference_alpha import MAX_ALPHA, MIN_TRANSMITTANCE
from .sharing import take
from .threads import run_shared

_COLUMNS = 24  # of sums: nine, and room for vectors
_f32 = np.float32
_TOP, _STOP = _f32(MAX_ALPHA), _f32(MIN_TRANSMITTANCE)
_STATE = 2 * CELLS * LANES  # floats of one value per pixel of a tile


@part(_nrt=False, forceinline=True)
def _cells_of(r, x_lo, y_lo):
    """Strips [a, b) and rows of cells [c, d) of the tile at (x_lo, y_lo) that the box of a Gaussian touches."""
    a, b = (max(r.x0, x_lo) - x_lo) >> 3, ((min(r.x1, x_lo + TILE - 1) - x_lo) >> 3) + 1
    return a, b, (max(r.y0, y_lo) - y_lo) >> 1, ((min(r.y1, y_lo + TILE - 1) - y_lo) >> 1) + 1


@part(_nrt=False, forceinline=True)
def _open_all(x_lo, y_lo, width, height, through, closed):
    """Transmittance 1 everywhere; returns how many cells of the tile are in the picture."""
    through[:] = 1
    closed[:] = 0
    return ((min(x_lo + TILE, width) - x_lo + 7) >> 3) * ((min(y_lo + TILE, height) - y_lo + 1) >> 1)


@part(_nrt=False, forceinline=True)
def _composite(r, x_lo, y_lo, tile, through, ended, closed):
    """Puts a Gaussian behind what the cells hold; returns how many cells it closed.

    through: transmittance of pixels, 0 where a pixel is finished; `ended` has that with which it was finished.
    """
    a, b, c, d = _cells_of(r, x_lo, y_lo)
    step_f, step_h = splat(2 * r.fy), splat(2 * r.hy)
    c0, c1, c2, opacity = splat(r.c0), splat(r.c1), splat(r.c2), splat(r.opacity)
    zero, one, cut, top, stop = splat(_f32(0)), splat(_f32(1)), splat(r.cut), splat(_TOP), splat(_STOP)
    finished = 0
    for s in range(a, b):
        f0, h0 = forms_at(r, x_lo + 8 * s, y_lo + 2 * c)
        k = zero
        for i in range(c, d):
            f, h = fma(k, step_f, f0), fma(k, step_h, h0)
            k = k + one
            cell = s * CELLS + i
            if closed[cell]:
                continue
            alpha = minimum(weight(fma(f, f, h * h), cut) * opacity, top)
            before = load(through, cell * LANES)
            after = fma(zero - before, alpha, before)
            kept = where_greater(before, after, stop)
            after = where_greater(after, after, stop)
            v, place = kept * alpha, s * PITCH + i * CELL
            store(tile, place, fma(v, c0, load(tile, place)))
            store(tile, place + 16, fma(v, c1, load(tile, place + 16)))
            store(tile, place + 32, fma(v, c2, load(tile, place + 32)))
            store(through, cell * LANES, after)
            store(ended, cell * LANES, load(ended, cell * LANES) + (before - kept))
            if not any_greater(after, zero):
                closed[cell] = 1
                finished += 1
    return finished


@part(_nrt=False, forceinline=True)
def _add_background(tile, through, ended, background):
    b0, b1, b2 = splat(background[0]), splat(background[1]), splat(background[2])
    for s in range(2):
        for i in range(CELLS):
            cell, place = (s * CELLS + i) * LANES, s * PITCH + i * CELL
            rest = load(through, cell) + load(ended, cell)
            store(tile, place, fma(rest, b0, load(tile, place)))
            store(tile, place + 16, fma(rest, b1, load(tile, place + 16)))
            store(tile, place + 32, fma(rest, b2, load(tile, place + 32)))


@kernel
def _draw(t, threads, board, records, ids, start, background, work, states, all_closed, image):
    """The picture, [H, W, 3]. Board: rows of tiles.

    work [threads, TILE_FLOATS], states [threads, 2, _STATE] float32, all_closed [threads, 16] int32: scratch.
    """
    height, width, _ = image.shape
    tiles_x, tiles_y = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    tile, through, ended, closed = work[t], states[t, 0], states[t, 1], all_closed[t]
    for step in range(tiles_y):
        row = (tiles_y * t // threads + step) % tiles_y
        if not take(board, row):
            continue
        for column in range(tiles_x):
            x, y, k = TILE * column, TILE * row, row * tiles_x + column
            ended[:] = 0
            for s in range(2):
                tile[s * PITCH : s * PITCH + CELLS * CELL] = 0
            cells, e = _open_all(x, y, width, height, through, closed), start[k]
            while e < start[k + 1] and cells > 0:
                cells -= _composite(records[ids[e]], x, y, tile, through, ended, closed)
                e += 1
            _add_background(tile, through, ended, background)
            write_tile(tile, image, x, min(x + TILE, width) - 1, y, min(y + TILE, height) - 1, 0)


@part(_nrt=False, forceinline=True)
def _begin_rest(x_lo, y_lo, width, height, cells, grads, pitch, rest):
    """rest = pixel . G of the pixels of a tile."""
    for s in range((min(x_lo + TILE, width) - x_lo + 7) >> 3):
        for i in range((min(y_lo + TILE, height) - y_lo + 1) >> 1):
            p = ((x_lo >> 3) + s) * pitch + ((y_lo >> 1) + i) * CELL
            dot = fma(load(cells, p + 16), load(grads, p + 16), load(cells, p + 32) * load(grads, p + 32))
            store(rest, (s * CELLS + i) * LANES, fma(load(cells, p), load(grads, p), dot))


@part(_nrt=False, forceinline=True)
def _gather(r, x_lo, y_lo, grads, pitch, through, rest, closed, sums, at):
    """What a Gaussian sums in the tile at (x_lo, y_lo), to sums[at : at + 9]; returns how many cells it closed."""
    a, b, c, d = _cells_of(r, x_lo, y_lo)
    step_f, step_h = splat(2 * r.fy), splat(2 * r.hy)
    c0, c1, c2, opacity = splat(r.c0), splat(r.c1), splat(r.c2), splat(r.opacity)
    zero, one, cut, top, stop = splat(_f32(0)), splat(_f32(1)), splat(r.cut), splat(_TOP), splat(_STOP)
    a0 = a1 = a2 = su = uf = uh = uff = ufh = uhh = zero
    finished = 0
    for s in range(a, b):
        f0, h0 = forms_at(r, x_lo + 8 * s, y_lo + 2 * c)
        k = zero
        for i in range(c, d):
            f, h = fma(k, step_f, f0), fma(k, step_h, h0)
            k = k + one
            cell = s * CELLS + i
            if closed[cell]:
                continue
            response = weight(fma(f, f, h * h), cut) * opacity
            alpha = minimum(response, top)
            before = load(through, cell * LANES)
            after = fma(zero - before, alpha, before)
            kept = where_greater(before, after, stop)
            after = where_greater(after, after, stop)
            place = ((x_lo >> 3) + s) * pitch + ((y_lo >> 1) + i) * CELL
            g0, g1, g2 = load(grads, place), load(grads, place + 16), load(grads, place + 32)
            v, dot = kept * alpha, fma(g0, c0, fma(g1, c1, g2 * c2))
            a0, a1, a2 = fma(v, g0, a0), fma(v, g1, a1), fma(v, g2, a2)
            behind = fma(zero - v, dot, load(rest, cell * LANES))
            slope = where_greater(fma(kept, dot, zero - divide(behind, one - alpha)), kept, zero)
            u = where_at_least(response * slope, top, response)  # nothing beyond the cap
            u_f, u_h = u * f, u * h
            su, uf, uh = su + u, uf + u_f, uh + u_h
            uff, ufh, uhh = fma(u_f, f, uff), fma(u_f, h, ufh), fma(u_h, h, uhh)
            store(through, cell * LANES, after)
            store(rest, cell * LANES, behind)
            if not any_greater(after, zero):
                closed[cell] = 1
                finished += 1
    # whole vectors are stored: the second over the repetition in the first
    store(sums, at, totals(uf, uh, uff, ufh, uhh, a0, a1, a2))
    store(sums, at + 8, totals(su, su, su, su, su, su, su, su))
    return finished


@kernel
def _collect(t, threads, board, records, ids, start, width, height, pitch, cells, grads, states, all_closed, sums):
    """Fills sums [entries, _COLUMNS] float32. cells, grads: the picture and dL/dpicture, `pitch` floats from strip to
    strip. Otherwise as `_draw`."""
    tiles_x, tiles_y = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    flat = sums.reshape(-1)
    through, rest, closed = states[t, 0], states[t, 1], all_closed[t]
    for step in range(tiles_y):
        row = (tiles_y * t // threads + step) % tiles_y
        if not take(board, row):
            continue
        for column in range(tiles_x):
            x, y, k = TILE * column, TILE * row, row * tiles_x + column
            left, e = _open_all(x, y, width, height, through, closed), start[k]
            _begin_rest(x, y, width, height, cells, grads, pitch, rest)
            while e < start[k + 1] and left > 0:
                at = e * _COLUMNS
                left -= _gather(records[ids[e]], x, y, grads, pitch, through, rest, closed, flat, at)
                e += 1
            flat[e * _COLUMNS : start[k + 1] * _COLUMNS] = 0


class AlphaRasterizer(RecordRasterizer):
    """Blend `alpha` on the CPU. `take` with `signed=False`, Gaussians from front to back; `draw`; `backward`."""

    def draw(self, background: np.ndarray, out: np.ndarray) -> None:
        """Writes the picture, [H, W, 3] float32, contiguous. background: [3] float32."""
        work = self.buffer("work", (self.threads, TILE_FLOATS), np.float32)
        place = self.records, self.lists.ids, self.lists.start, background, work
        run_shared(self.threads, -(-self.size[0] // TILE), _draw, *place, *self._scratch(), out)

    def _scratch(self) -> tuple[np.ndarray, np.ndarray]:
        return (
            self.buffer("states", (self.threads, 2, _STATE), np.float32),
            self.buffer("closed", (self.threads, 2 * CELLS), np.int32),
        )

    def backward(self, image: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gradients by means [N, 2], covariances [N, 3] float64, colours [N, 3], opacities [N].

        image, grad: [H, W, 3] float32, the picture that was drawn and dL/dpicture.
        """
        height, width = self.size
        cells, grads = self.cells("picture", image), self.cells("gradient", grad)
        sums = self.buffer("sums", (len(self.lists.ids), _COLUMNS), np.float32)
        place = self.records, self.lists.ids, self.lists.start, width, height, strip_floats(height)
        run_shared(self.threads, -(-height // TILE), _collect, *place, cells, grads, *self._scratch(), sums)
        return self.differentiate(sums, opacities=True)

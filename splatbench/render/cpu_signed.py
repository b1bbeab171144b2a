"""Pixel loops of blend `signed`, tile by tile, forward and backward; `reference_signed` has the definition."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from .cpu_bins import CUT
from .cpu_forms import forms_at
from .cpu_lists import CELLS, TILE_FLOATS, RecordRasterizer, strip_floats
from .cpu_plan import CELL, PITCH
from .cpu_sum import write_tile
from .f32x16 import fma, load, minimum, splat, store, totals, weight, where_at_least
from .jit import kernel, part
from .published import TILE
from .reference_signed import MAX_WEIGHT, PUBLISHED_COLOR_WEIGHT
from .sharing import take
from .threads import run_shared

_COLUMNS = 16  # of sums
_f32 = np.float32
_CUT, _TOP = _f32(CUT), _f32(MAX_WEIGHT)
_PUBLISHED_TOP = _f32(PUBLISHED_COLOR_WEIGHT)
_CAPPED = _f32(-math.log2(MAX_WEIGHT) / 8)  # t below which the weight is the cap


@part(_nrt=False, forceinline=True)
def _exponent(f, h, product, squares):
    """t of forms: f h where `product` is 1 and `squares` 0, f^2 + h^2 where it is the other way round."""
    return fma(f, fma(product, h, squares * f), squares * h * h)


@part(_nrt=False, forceinline=True)
def _scatter(r, x_lo, y_lo, tile):
    """Adds a Gaussian to the cells of the tile at (x_lo, y_lo)."""
    first, last = (max(r.y0, y_lo) - y_lo) >> 1, (min(r.y1, y_lo + TILE - 1) - y_lo) >> 1
    step_f, step_h = splat(2 * r.fy), splat(2 * r.hy)
    product, squares = splat(r.indefinite), splat(_f32(1) - r.indefinite)
    c0, c1, c2 = splat(r.c0), splat(r.c1), splat(r.c2)
    zero, one, cut, top = splat(_f32(0)), splat(_f32(1)), splat(_CUT), splat(_TOP)
    for s in range((max(r.x0, x_lo) - x_lo) >> 3, ((min(r.x1, x_lo + TILE - 1) - x_lo) >> 3) + 1):
        f0, h0 = forms_at(r, x_lo + 8 * s, y_lo + 2 * first)
        place, k = s * PITCH + first * CELL, zero
        for _ in range(first, last + 1):
            t = _exponent(fma(k, step_f, f0), fma(k, step_h, h0), product, squares)
            w = minimum(where_at_least(weight(t, cut), t, zero), top)
            store(tile, place, fma(w, c0, load(tile, place)))
            store(tile, place + 16, fma(w, c1, load(tile, place + 16)))
            store(tile, place + 32, fma(w, c2, load(tile, place + 32)))
            k = k + one
            place += CELL


@kernel
def _draw(t, threads, board, records, ids, start, work, image):
    """The picture, [H, W, 3]. Board: rows of tiles. work: [threads, TILE_FLOATS] float32."""
    height, width, _ = image.shape
    tiles_x, tiles_y = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    tile = work[t]
    for step in range(tiles_y):
        row = (tiles_y * t // threads + step) % tiles_y
        if not take(board, row):
            continue
        for column in range(tiles_x):
            x, y, k = TILE * column, TILE * row, row * tiles_x + column
            for s in range(2):
                tile[s * PITCH : s * PITCH + CELLS * CELL] = 0
            for e in range(start[k], start[k + 1]):
                _scatter(records[ids[e]], x, y, tile)
            write_tile(tile, image, x, min(x + TILE, width) - 1, y, min(y + TILE, height) - 1, 0)


@part(_nrt=False, forceinline=True)
def _gather(r, x_lo, y_lo, cells, pitch, from_t, color_top, sums, at):
    """What a Gaussian sums in the tile at (x_lo, y_lo), to sums[at : at + 8]; see `_differentiate` of `cpu_lists`.

    cells: dL/dpicture. Weights with t below `from_t` have no gradient; that of colours is limited to `color_top`.
    """
    first, last = (max(r.y0, y_lo) - y_lo) >> 1, (min(r.y1, y_lo + TILE - 1) - y_lo) >> 1
    step_f, step_h = splat(2 * r.fy), splat(2 * r.hy)
    product, squares = splat(r.indefinite), splat(_f32(1) - r.indefinite)
    c0, c1, c2 = splat(r.c0), splat(r.c1), splat(r.c2)
    zero, one, cut, low, top = splat(_f32(0)), splat(_f32(1)), splat(_CUT), splat(from_t), splat(color_top)
    a0 = a1 = a2 = uf = uh = uff = ufh = uhh = zero
    for s in range((max(r.x0, x_lo) - x_lo) >> 3, ((min(r.x1, x_lo + TILE - 1) - x_lo) >> 3) + 1):
        f0, h0 = forms_at(r, x_lo + 8 * s, y_lo + 2 * first)
        place, k = ((x_lo >> 3) + s) * pitch + ((y_lo >> 1) + first) * CELL, zero
        for _ in range(first, last + 1):
            f, h = fma(k, step_f, f0), fma(k, step_h, h0)
            t = _exponent(f, h, product, squares)
            w = where_at_least(weight(t, cut), t, zero)
            g0, g1, g2 = load(cells, place), load(cells, place + 16), load(cells, place + 32)
            v = minimum(w, top)
            a0, a1, a2 = fma(v, g0, a0), fma(v, g1, a1), fma(v, g2, a2)
            u = where_at_least(w, t, low) * fma(g0, c0, fma(g1, c1, g2 * c2))
            u_f, u_h = u * f, u * h
            uf, uh = uf + u_f, uh + u_h
            uff, ufh, uhh = fma(u_f, f, uff), fma(u_f, h, ufh), fma(u_h, h, uhh)
            k = k + one
            place += CELL
    store(sums, at, totals(uf, uh, uff, ufh, uhh, a0, a1, a2))


@kernel
def _collect(t, threads, board, records, ids, start, width, height, pitch, cells, from_t, color_top, sums):
    """Fills sums [entries, _COLUMNS] float32. Board: rows of tiles. pitch: floats from strip to strip of `cells`."""
    tiles_x, tiles_y = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    flat = sums.reshape(-1)
    for step in range(tiles_y):
        row = (tiles_y * t // threads + step) % tiles_y
        if not take(board, row):
            continue
        for column in range(tiles_x):
            k = row * tiles_x + column
            for e in range(start[k], start[k + 1]):
                r = records[ids[e]]
                _gather(r, TILE * column, TILE * row, cells, pitch, from_t, color_top, flat, e * _COLUMNS)


class SignedRasterizer(RecordRasterizer):
    """Blend `signed` on the CPU. `take` with `signed=True`, then `draw`, then `backward`."""

    def draw(self, out: np.ndarray) -> None:
        """Writes the picture, [H, W, 3] float32, contiguous."""
        lists, work = self.lists, self.buffer("work", (self.threads, TILE_FLOATS), np.float32)
        run_shared(self.threads, -(-self.size[0] // TILE), _draw, self.records, lists.ids, lists.start, work, out)

    def backward(self, grad: np.ndarray, published_gradient: bool) -> tuple[np.ndarray, ...]:
        """Gradients by means [N, 2], covariances [N, 3] float64, colours [N, 3] of the picture that was taken.

        grad: [H, W, 3] float32, dL/dpicture. published_gradient: see `rasterize_signed`.
        """
        height, width = self.size
        cells = self.cells("cells", grad)
        sums = self.buffer("sums", (len(self.lists.ids), _COLUMNS), np.float32)
        rule = (_f32(0), _PUBLISHED_TOP) if published_gradient else (_CAPPED, _TOP)
        place = self.records, self.lists.ids, self.lists.start, width, height, strip_floats(height)
        run_shared(self.threads, -(-height // TILE), _collect, *place, cells, *rule, sums)
        return self.differentiate(sums, opacities=False)[:3]

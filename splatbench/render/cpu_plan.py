"""Which cells a Gaussian touches, and where it is in them (CPU renderer, second part).

Pixels are stored in cells of 8 x 2, one vector per channel. A column of cells is a strip; inside a strip the cells that
a Gaussian touches are contiguous. Sixteen Gaussians at a time are planned, strip by strip: which cells the outline
of the support meets, and the whitened coordinates of the first of them, formed in float64 because they are differences
of large numbers. Down a strip p stays and q grows by the same step, so a cell costs one polynomial and no recurrence.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from .cpu_bins import TILE_H, TILE_W
from .f32x16 import ceil, divide, floor, fma, load, maximum, minimum, narrow, splat, splat64, sqrt, store, widen
from .jit import part

CELL = 48  # floats: sixteen of each channel
#: Floats from strip to strip of a tile; the odd cache line keeps strips out of each other's cache sets.
PITCH = TILE_H // 2 * CELL + 16
TILE_FLOATS = TILE_W // 8 * PITCH

STRIPS = 16  # planned at once per Gaussian
#: Rows of a plan, per strip: base column (of 8), p and q there; and first row, number of cells.
OFFSET, P, Q, FLOATS = 0, 1, 2, 3
ROW, CELLS, INTS = 0, 1, 2
PLAN_FLOATS, PLAN_INTS = STRIPS * FLOATS * 16, STRIPS * INTS * 16
LANE_DOUBLES, LANE_FLOATS = 5 * 16, 5 * 16

_WIDER = np.float32(1.0002)  # a slightly larger outline: the weight test decides
_MARGIN = np.float32(1e-3)  # rows, against rounding of the outline
_f32 = np.float32


@part(_nrt=False, forceinline=True)
def plan(floats, ints, doubles, singles, records, ids, m, s_lo, s_hi, row0, row1, skip, centre, cut):
    """Plans Gaussians ids[:m] in strips s_lo .. s_hi, rows row0 .. row1; lane i of every row is about ids[i].

    The outline is {8 (p^2 + q^2) <= 8 cut}. Strips are counted from each Gaussian's first, after `skip`. Returns the
    largest number of strips left to visit.
    """
    strips = 0
    for i in range(m):
        r = records[ids[i]]
        first = max(r.x0 >> 3, s_lo) + skip
        ux, uy = np.float64(r.mx) - centre, np.float64(r.my) - centre
        row = math.floor(uy)
        doubles[i], doubles[16 + i], doubles[32 + i] = r.w11, r.w21, r.w22
        doubles[48 + i], doubles[64 + i] = 8.0 * first - ux, row - uy
        singles[i], singles[16 + i] = r.x0 - ux, r.x1 - ux
        singles[32 + i], singles[48 + i] = max(r.y0, row0), min(r.y1, row1)
        singles[64 + i] = row
        strips = max(strips, min(r.x1 >> 3, s_hi) + 1 - first)
    w11d, w21d, w22d = load(doubles, 0), load(doubles, 16), load(doubles, 32)
    w11, w21, w22 = narrow(w11d), narrow(w21d), narrow(w22d)
    leftd, aboved = load(doubles, 48), load(doubles, 64)
    left, above = narrow(leftd), narrow(aboved)
    x0, x1, y0, y1, row = load(singles, 0), load(singles, 16), load(singles, 32), load(singles, 48), load(singles, 64)
    zero, reach = splat(_f32(0)), splat(cut * _WIDER)
    inverse = divide(splat(_f32(1)), w22)
    top = zero - divide(w21, w11) * sqrt(divide(reach, fma(w11, w11, w21 * w21)))  # dx of the outline's highest point
    for j in range(min(strips, STRIPS)):
        l, r = maximum(left, x0), minimum(left + _f32(7), x1)
        du, dl = minimum(maximum(top, l), r), minimum(maximum(zero - top, l), r)
        pu, pl = w11 * du, w11 * dl
        up = (sqrt(maximum(reach - pu * pu, zero)) - w21 * du) * inverse - above
        lo = (zero - sqrt(maximum(reach - pl * pl, zero)) - w21 * dl) * inverse - above
        first = floor(maximum(row + ceil(lo - _MARGIN), y0) * _f32(0.5)) * _f32(2)
        last = minimum(row + floor(up + _MARGIN), y1)
        offset = minimum(maximum(floor((l + r) * _f32(0.5) - left + _f32(0.5)), zero), splat(_f32(7)))
        dx, dy = leftd + widen(offset), aboved + widen(first - row)
        at = j * 16 * FLOATS
        store(floats, at + 16 * OFFSET, offset)
        store(floats, at + 16 * P, narrow(w11d * dx))
        store(floats, at + 16 * Q, narrow(fma(w21d, dx, w22d * dy)))
        at = j * 16 * INTS
        store(ints, at + 16 * ROW, first)
        store(ints, at + 16 * CELLS, floor((last - first) * _f32(0.5)) + _f32(1))
        left = left + _f32(8)
        leftd = leftd + splat64(8.0)
    return strips

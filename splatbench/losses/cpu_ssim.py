"""L1, L2 and SSIM with their gradients, in one sweep down blocks of columns (CPU kernels).

SSIM is written in moments of the target and of the difference d = x - t. With m(.) the mean over a window,

    A1 = 2 m(t) m(x) + C1                                  B1 = A1 + m(d)^2
    A2 = 2 (var(t) + m(t d) - m(t) m(d)) + C2              B2 = A2 + var(d),   var(d) = m(d^2) - m(d)^2
    1 - SSIM = 1 - A1 A2 / (B1 B2) = (A1 var(d) + m(d)^2 B2) / (B1 B2)

is what Wang et al. 2004 (equation 13) define, but nothing cancels where the picture is close to the target: there
1 - SSIM and its gradient are sums of small terms, and exactly 0 for equal pictures.

Channels stay interleaved: C values on is the next column. Four rows at a time go through: picture and target to a ring;
filtered down, then across; derivatives of 1 - SSIM by m(d), m(d^2) and m(t d) to a second ring; filtered down, then
across; gradient. A row of the gradient needs the map five rows below, and that the picture ten rows below.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from splatbench.render.f32x16 import LANES, divide, fma, load, prefetch, splat, store
from splatbench.render.jit import kernel

from .lanes import absolute, clamped, load_bytes, sign, total, zero_outside
from .ssim import C1, C2, REACH
from .window import COLUMN, RING, ROWS, across, down_difference, down_slopes, down_target

_BLOCK = 1536  # floats of a row per block, about: longer runs of memory against rings that stay in the L2 cache
_f32 = np.float32


class Layout(NamedTuple):
    """How rows of `wide` = W C floats are cut into blocks of columns.

    A block of `columns` floats needs derivatives `lead` floats to each side, and the picture 2 `lead` to each side.
    SSIM's map has values in [left, right) x [top, bottom).
    """

    height: int
    wide: int
    stride: int
    lead: int
    columns: int
    blocks: int
    left: int
    right: int
    top: int
    bottom: int


def layout(height: int, width: int, channels: int, valid: bool) -> Layout:
    wide, lead = width * channels, -(-REACH * channels // LANES) * LANES
    blocks = -(-wide // max(_BLOCK, 4 * lead))
    columns = -(-wide // (blocks * LANES)) * LANES
    edge = REACH if valid else 0
    left, right = edge * channels, wide - edge * channels
    return Layout(height, wide, channels, lead, columns, -(-wide // columns), left, right, edge, height - edge)


def scratch_floats(lay: Layout) -> int:
    """Floats of one thread's scratch."""
    picture, slopes = lay.columns + 4 * lay.lead, lay.columns + 2 * lay.lead
    return (2 * RING + 5 * ROWS) * picture + (3 * RING + 2) * slopes + 2 * LANES


@kernel
def _parts(lay, scratch):
    """Rings of (d, t) and of SSIM's derivatives, rows filtered down, two masks, two vectors."""
    picture, slopes = lay.columns + 4 * lay.lead, lay.columns + 2 * lay.lead
    a = 2 * RING * picture
    b = a + 3 * RING * slopes
    c = b + 5 * ROWS * picture
    d = c + 2 * slopes
    return scratch[:a], scratch[a:b], scratch[b:c], scratch[c:d], scratch[d:]


@kernel
def _clear(rings, slot):
    """A row of zeros in each of the rings."""
    for p in range(slot * LANES, len(rings), COLUMN):
        store(rings, p, splat(_f32(0)))


@kernel
def _read(lay, ring, size, slot, first, x, x_start, clamp, whole, floats, t_start, edge):
    """Columns `first` ... of a row: picture minus target to the first ring, target to the second; 0 outside."""
    for v in range(size // COLUMN):
        column, place = first + LANES * v, v * COLUMN + slot * LANES
        if column >= 0 and column + LANES <= lay.wide:
            value = load(x, x_start + column)
            prefetch(x, x_start + column + lay.wide)
            t = load(floats, t_start + column) if len(floats) else load_bytes(whole, t_start + column)
        else:
            for k in range(LANES):
                i = column + k
                if i < 0 or i >= lay.wide:
                    edge[k] = edge[LANES + k] = _f32(0)
                else:
                    edge[k] = x[x_start + i]
                    edge[LANES + k] = floats[t_start + i] if len(floats) else _f32(whole[t_start + i]) / _f32(255)
            value, t = load(edge, 0), load(edge, LANES)
        if clamp:
            value = clamped(value)
        store(ring, place, value - t)
        store(ring, size + place, t)


@kernel
def _map_row(lay, filtered, pitch, j, masks, slopes, size, slot):
    """Sum of 1 - SSIM over the block's own columns of a row of the map; its derivatives to the ring `slopes`."""
    width, field, stride = size // RING, ROWS * pitch, lay.stride
    c1, c2, one, two = splat(_f32(C1)), splat(_f32(C2)), splat(_f32(1)), splat(_f32(2))
    missing = splat(_f32(0))
    for i in range(0, width, LANES):
        at = j * pitch + lay.lead - REACH * stride + i
        md, mdd = across(filtered, at, stride), across(filtered, at + field, stride)
        mtd, mt = across(filtered, at + 2 * field, stride), across(filtered, at + 3 * field, stride)
        mtt = across(filtered, at + 4 * field, stride)
        square = md * md
        vd = mdd - square
        a1 = fma(mt + mt, mt + md, c1)
        b1 = a1 + square
        a2 = fma(two, (mtt - mt * mt) + (mtd - mt * md), c2)
        b2 = a2 + vd
        scale = divide(load(masks, i), b1 * b2)  # 0 outside the map: then all that follows is 0
        miss = fma(a1, vd, square * b2) * scale
        ssim = one - miss
        by_b1, by_b2 = scale * b2, scale * b1
        q = a1 * vd * (scale * by_b2)
        slope = fma(mt, q - a2 * square * (scale * by_b1), md * ssim * (by_b1 - by_b2))
        place = i * RING + slot * LANES
        store(slopes, place, slope + slope)
        store(slopes, size + place, ssim * by_b2)
        store(slopes, 2 * size + place, q * _f32(-2))
        missing = fma(miss, load(masks, width + i), missing)
    return total(missing)


@kernel
def _gradient_row(lay, filtered, pitch, j, ring, size, slot, column, weights, x, start, clamp, out, at, edge):
    """A row of the gradient to out; returns the sums of |d| and d^2."""
    left, first = min(lay.columns, lay.wide - column), j * pitch + lay.lead - REACH * lay.stride
    second, third = first + ROWS * pitch, first + 2 * ROWS * pitch
    by_sign, by_difference, by_ssim = splat(weights[0]), splat(weights[1]), splat(weights[2])
    ones = squares = splat(_f32(0))
    for i in range(0, left, LANES):
        g0, g1 = across(filtered, first + i, lay.stride), across(filtered, second + i, lay.stride)
        g2 = across(filtered, third + i, lay.stride)
        place = (i + 2 * lay.lead) * RING + slot * LANES
        d, t = load(ring, place), load(ring, size + place)
        ones, squares = ones + absolute(d), fma(d, d, squares)
        g = fma(by_ssim, fma(d + d, g1, fma(t, g2, g0)), fma(by_sign, sign(d), by_difference * d))
        whole = i + LANES <= left
        if clamp:
            if not whole:
                for k in range(left - i):
                    edge[k] = x[start + column + i + k]
            g = zero_outside(load(x, start + column + i) if whole else load(edge, 0), g)
        if whole:
            store(out, at + column + i, g)
            continue
        store(edge, 0, g)
        for k in range(left - i):
            out[at + column + i + k] = edge[k]
    return total(ones), total(squares)


@kernel(inline="always")
def _sweep_block(lay, block, y0, y1, x, x_row0, whole, floats, t_row0, clamp, weights, out, row0, scratch, sums):
    """Rows y0 .. y1 of one block; arguments as for `sweep`."""
    ring, slopes, filtered, masks, edge = _parts(lay, scratch)
    size, slope_size, pitch = len(ring) // 2, len(slopes) // 3, len(ring) // (2 * RING)
    width, first = slope_size // RING, block * lay.columns
    for i in range(width):
        column = first - lay.lead + i
        masks[i] = _f32(lay.left <= column < lay.right)
        masks[width + i] = _f32(lay.lead <= i < lay.lead + lay.columns)
    # The map is needed from row y0 - REACH on; two rows more make groups of four, which gradient rows y0 .. start, too.
    # Each ring counts its slots from a row such that the windows of a group begin at a multiple of four.
    start = y0 - REACH - 2
    base, map_base = start - REACH, start - 2
    y = base
    for m in range(start, y1 + REACH, ROWS):
        for _ in range(y, m + REACH + ROWS):
            slot = (y - base) % RING
            if max(0, y0 - 2 * REACH) <= y < min(lay.height, y1 + 2 * REACH):
                x_start, t_start = (y - x_row0) * lay.wide, (y - t_row0) * lay.wide
                _read(lay, ring, size, slot, first - 2 * lay.lead, x, x_start, clamp, whole, floats, t_start, edge)
            else:
                _clear(ring, slot)
            y += 1
        top = (m - REACH - base) % RING
        for v in range(size // COLUMN):
            down_difference(ring, size, v, top, filtered, pitch)
            down_target(ring, size, v, top, filtered, pitch)
        for j in range(ROWS):
            row = m + j
            slot = (row - map_base) % RING
            if row < max(lay.top, y0 - REACH) or row >= min(lay.bottom, y1 + REACH):
                _clear(slopes, slot)
                continue
            missing = _map_row(lay, filtered, pitch, j, masks, slopes, slope_size, slot)
            if y0 <= row < y1:
                sums[2, row - row0, block] = missing
        if m - REACH < y0:
            continue
        for v in range(slope_size // COLUMN):
            down_slopes(slopes, slope_size, v, (m - 2 * REACH - map_base) % RING, filtered, pitch)
        for row in range(m - REACH, min(m - REACH + ROWS, y1)):
            sums[0, row - row0, block], sums[1, row - row0, block] = _gradient_row(
                lay, filtered, pitch, row - m + REACH, ring, size, (row - base) % RING, first, weights,
                x, (row - x_row0) * lay.wide, clamp, out, (row - row0) * lay.wide, edge,
            )  # fmt: skip


@kernel
def sweep(t, threads, lay, row0, row1, x, x_row0, whole, floats, t_row0, clamp, weights, out, scratch, sums):
    """Gradient of rows row0 .. row1 of the picture, and the sums that belong to them.

    Args:
        x: the picture's rows from x_row0 on, flat float32; at least [row0 - 10, row1 + 10) of them that exist.
        whole, floats: the target's rows from t_row0 on, flat: uint8 or float32, the other one empty.
        weights: factors (float32) of sign(d), d and the SSIM term in the gradient.
        out: [(row1 - row0) W C] float32, written.
        scratch: [threads, scratch_floats(lay)] float32.
        sums: [3, row1 - row0, blocks] float64, written: |d|, d^2, and 1 - SSIM of the map's rows, 0 where it has none.
    """
    rows = row1 - row0
    a, b = lay.blocks * rows * t // threads, lay.blocks * rows * (t + 1) // threads
    while a < b:  # whole blocks, or the part of one that is this thread's
        block = a // rows
        end = min(b, (block + 1) * rows)
        y0, y1 = row0 + a - block * rows, row0 + end - block * rows
        for y in range(y0, y1):
            sums[2, y - row0, block] = 0.0
        _sweep_block(lay, block, y0, y1, x, x_row0, whole, floats, t_row0, clamp, weights, out, row0, scratch[t], sums)
        a = end

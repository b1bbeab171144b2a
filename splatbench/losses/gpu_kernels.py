"""L1, L2 and SSIM with their gradients on a GPU (Triton kernels).

The formulas of SSIM and of its derivatives are those of `cpu_ssim.py`: in the difference to the target, so that nothing
cancels. A program takes a block of columns of a strip of rows and walks down: windows across come from memory (the
first cache level), windows down from sums in registers, eleven of which are under way at a time. Rows are interleaved
channels, so a window across has the stride C.
"""

# mypy: disallow-untyped-defs=False
import triton
import triton.language as tl

from . import ssim

_TAPS = tl.constexpr(ssim.TAPS)
_REACH, _WINDOW = tl.constexpr(ssim.REACH), tl.constexpr(len(ssim.TAPS))
_C1, _C2 = tl.constexpr(ssim.C1), tl.constexpr(ssim.C2)


@triton.jit
def _picture(x, inside, CLAMP: tl.constexpr):
    value = tl.load(x, mask=inside, other=0.0)
    if CLAMP:  # NaN stays NaN
        value = tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL)
        value = tl.minimum(value, 1.0, propagate_nan=tl.PropagateNan.ALL)
    return value


@triton.jit
def _target(t, inside):
    value = tl.load(t, mask=inside, other=0).to(tl.float32)
    if t.dtype.element_ty == tl.uint8:
        near = value * (1 / 255)
        value = near + tl.fma(near, -255.0, value) * (1 / 255)  # the quotient, rounded as a division rounds it
    return value


@triton.jit
def _slope(value, d, by_sign, by_difference, CLAMP: tl.constexpr, g):
    """Gradient by the picture's value: g of the SSIM term, and of L1 and L2."""
    sign = tl.where(d > 0, 1.0, tl.where(d < 0, -1.0, d))  # NaN stays NaN
    g += by_sign * sign + by_difference * d
    if CLAMP:
        g = tl.where((value < 0) | (value > 1), 0.0, g)
    return g


@triton.jit
def pixels(x, t, grad, sums, n, by_sign, by_difference, CLAMP: tl.constexpr, GRAD: tl.constexpr, BLOCK: tl.constexpr):
    """Gradient of flat values, and per program the sums of |d| and d^2: sums [3, programs] float64, the third left."""
    program = tl.program_id(0)
    at = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    value = tl.load(x + at, mask=inside, other=0.0)
    d = _picture(x + at, inside, CLAMP) - _target(t + at, inside)
    if GRAD:
        tl.store(grad + at, _slope(value, d, by_sign, by_difference, CLAMP, 0.0), mask=inside)
    tl.store(sums + program, tl.sum(tl.abs(d).to(tl.float64)))
    tl.store(sums + tl.num_programs(0) + program, tl.sum((d * d).to(tl.float64)))


@triton.jit
def _inside(column, shift: tl.constexpr, wide):
    """0 <= column + shift < wide, in one comparison."""
    return (column + shift).to(tl.uint32, bitcast=True) < wide.to(tl.uint32, bitcast=True)


@triton.jit
def _across_moments(x, t, column, wide, C: tl.constexpr, CLAMP: tl.constexpr):
    """Windows across d, d^2, t d, t, t^2 at pointers to `column` of a row, and d; zero beyond its `wide` values."""
    md = tl.zeros(column.shape, tl.float32)
    mdd, mtd, mt, mtt, middle = md, md, md, md, md
    for k in tl.static_range(_WINDOW):
        inside = _inside(column, (k - _REACH) * C, wide)
        tk = _target(t + (k - _REACH) * C, inside)
        dk = _picture(x + (k - _REACH) * C, inside, CLAMP) - tk
        if k == _REACH:
            middle = dk
        d_tap, t_tap = dk * _TAPS[k], tk * _TAPS[k]
        md += d_tap
        mdd += d_tap * dk
        mtd += d_tap * tk
        mt += t_tap
        mtt += t_tap * tk
    return middle, md, mdd, mtd, mt, mtt


@triton.jit
def _across(plane, column, wide, C: tl.constexpr):
    """Window across a plane, likewise."""
    total = tl.zeros(column.shape, tl.float32)
    for k in tl.static_range(_WINDOW):
        inside = _inside(column, (k - _REACH) * C, wide)
        total += tl.load(plane + (k - _REACH) * C, mask=inside, other=0.0) * _TAPS[k]
    return total


@triton.jit
def _empty(column):
    zero = tl.zeros(column.shape, tl.float32)
    return zero, zero, zero, zero, zero, zero, zero, zero, zero, zero


@triton.jit
def _down(sums, h):
    """Adds a row to the ten windows down that are under way: (the one that is complete, the ten that now are)."""
    s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 = sums
    h0, h1, h2, h3, h4 = h * _TAPS[0], h * _TAPS[1], h * _TAPS[2], h * _TAPS[3], h * _TAPS[4]
    return s0 + h0, (s1 + h1, s2 + h2, s3 + h3, s4 + h4, s5 + h * _TAPS[5], s6 + h4, s7 + h3, s8 + h2, s9 + h1, h0)


@triton.jit
def _place(height, wide, rows, BLOCK: tl.constexpr):
    """(start of this program's picture, its first row, its columns); programs go across, then down, then by picture."""
    blocks, strips = tl.cdiv(wide, BLOCK), tl.cdiv(height, rows)
    program = tl.program_id(0)
    picture = (program // (blocks * strips)).to(tl.int64) * height * wide
    return picture, program // blocks % strips * rows, program % blocks * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def similarity(
    x, t, slopes, sums, height, wide, plane, border, rows,
    C: tl.constexpr, CLAMP: tl.constexpr, GRAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Derivatives of 1 - SSIM by the windows of d, d^2 and t d, and the sums of |d|, d^2 and 1 - SSIM.

    Args:
        slopes: three planes of `plane` values, written where GRAD: 0 where the map has no value.
        sums: [3, programs] float64.
        plane: values of all pictures together, int64.
        border: rows and columns along the edges where the map has no values.
        rows: rows of a strip.
    """
    picture, first, column = _place(height, wide, rows, BLOCK)
    top = tl.maximum(first, 0)
    in_map = (column >= border * C) & (column < wide - border * C)
    md, mdd, mtd, mt, mtt = _empty(column), _empty(column), _empty(column), _empty(column), _empty(column)
    missing = tl.zeros(column.shape, tl.float32)
    ones, squares = missing, missing
    for y in range(first - _REACH, first + rows + _REACH):
        reading = tl.where((y >= 0) & (y < height), wide, 0)
        here = picture + tl.cast(y, tl.int64) * wide + column
        d, hd, hdd, htd, ht, htt = _across_moments(x + here, t + here, column, reading, C, CLAMP)
        if (y >= top) & (y < first + rows):
            ones += tl.abs(d)
            squares += d * d
        vd, md = _down(md, hd)
        vdd, mdd = _down(mdd, hdd)
        vtd, mtd = _down(mtd, htd)
        vt, mt = _down(mt, ht)
        vtt, mtt = _down(mtt, htt)
        row = y - _REACH
        if (row >= first) & (row < height):
            has = in_map & (row >= border) & (row < height - border)
            at = picture + tl.cast(row, tl.int64) * wide + column
            missing += _similarity_pixel(slopes + at, plane, vd, vdd, vtd, vt, vtt, has, column < wide, GRAD)
    program, programs = tl.program_id(0), tl.num_programs(0)
    tl.store(sums + program, tl.sum(ones.to(tl.float64)))
    tl.store(sums + programs + program, tl.sum(squares.to(tl.float64)))
    tl.store(sums + 2 * programs + program, tl.sum(missing.to(tl.float64)))


@triton.jit
def _similarity_pixel(slopes, plane, md, mdd, mtd, mt, mtt, has, inside, GRAD: tl.constexpr):
    """1 - SSIM from the windows' means, 0 where the map has no value; its derivatives are stored."""
    square = md * md
    variance = mdd - square
    a1 = (mt + mt) * (mt + md) + _C1
    b1 = a1 + square
    a2 = 2 * ((mtt - mt * mt) + (mtd - mt * md)) + _C2
    b2 = a2 + variance
    scale = tl.where(has, 1.0 / (b1 * b2), 0.0)
    miss = (a1 * variance + square * b2) * scale
    if GRAD:
        ssim = 1.0 - miss
        by_b1, by_b2 = scale * b2, scale * b1
        q = a1 * variance * (scale * by_b2)
        by_mean = mt * (q - a2 * square * (scale * by_b1)) + md * ssim * (by_b1 - by_b2)
        tl.store(slopes, by_mean + by_mean, mask=inside)
        tl.store(slopes + plane, ssim * by_b2, mask=inside)
        tl.store(slopes + plane + plane, q * -2.0, mask=inside)
    return miss


@triton.jit
def gradient(
    x, t, slopes, grad, height, wide, plane, rows, by_sign, by_difference, by_ssim,
    C: tl.constexpr, CLAMP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient by the picture: windows over the derivatives that `similarity` left, and those of L1 and L2."""
    picture, first, column = _place(height, wide, rows, BLOCK)
    sums0, sums1, sums2 = _empty(column), _empty(column), _empty(column)
    for y in range(first - _REACH, first + rows + _REACH):
        reading = tl.where((y >= 0) & (y < height), wide, 0)
        here = slopes + picture + tl.cast(y, tl.int64) * wide + column
        g0, sums0 = _down(sums0, _across(here, column, reading, C))
        g1, sums1 = _down(sums1, _across(here + plane, column, reading, C))
        g2, sums2 = _down(sums2, _across(here + plane + plane, column, reading, C))
        row = y - _REACH
        if (row >= first) & (row < height):
            at, inside = picture + tl.cast(row, tl.int64) * wide + column, column < wide
            value, wanted = tl.load(x + at, mask=inside, other=0.0), _target(t + at, inside)
            d = _picture(x + at, inside, CLAMP) - wanted
            g = by_ssim * (g0 + (d + d) * g1 + wanted * g2)
            tl.store(grad + at, _slope(value, d, by_sign, by_difference, CLAMP, g), mask=inside)


@triton.jit
def total(sums, value, programs, l1, l2, ssim, SSIM: tl.constexpr, BLOCK: tl.constexpr):
    """The loss from the programs' sums, always added in the same order; l1, l2, ssim: factors of the three sums."""
    ones = tl.zeros((BLOCK,), tl.float64)
    squares, missing = ones, ones
    for first in range(0, programs, BLOCK):
        at = first + tl.arange(0, BLOCK)
        inside = at < programs
        ones += tl.load(sums + at, mask=inside, other=0.0)
        squares += tl.load(sums + programs + at, mask=inside, other=0.0)
        if SSIM:
            missing += tl.load(sums + 2 * programs + at, mask=inside, other=0.0)
    result = tl.sum(ones) * l1 + tl.sum(squares) * l2 + tl.sum(missing) * ssim
    tl.store(value, result.to(tl.float32))

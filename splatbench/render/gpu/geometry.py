"""What the GPU kernels know of a Gaussian, and where it is in a tile.

Coordinates in the kernels: the centre of pixel (row i, column j) is at (j, i), so means are moved by -1/2.

Whitened coordinates. With the Cholesky factor of the covariance S a displacement d = (dx, dy) from the mean becomes

    p = w11 dx,    q = w21 dx + w22 dy,    exp(-1/2 d^T S^-1 d) = 2^-t,    t = p^2 + q^2.

They stay small wherever the weight matters, however thin the Gaussian, while the two terms of q cancel. So a mean is a
whole number of pixels and a fraction, and w21 and w22 are sums of two float32 of which the first has 12 bits: its
products with whole displacements below 4096 are exact, and so is their difference. This needs no float64 units, of
which many GPUs have next to none.

Sums and products are fused only where written so, and all kernels ask `distances` with the same tiles: the forward and
the backward pass see the same bits.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import triton
import triton.language as tl

#: Fields of a record, float32: whitening (w21 and w22: 12 bits, and the rest), the mean as whole pixels and fraction,
#: -W fraction, w21 / w22.
FIELDS = ("w11", "w21", "w22", "rest21", "rest22", "whole_x", "whole_y", "part_x", "part_y", "p0", "q0", "shear")
RECORD = tl.constexpr(len(FIELDS))
#: d^T S^-1 d / 2 = t ln 2, so W = sqrt(log2(e) / 2) L^-1 where S = L L^T.
WHITEN = tl.constexpr(math.sqrt(math.log2(math.e) / 2))
#: A range of tiles is first | last << 16. No tile has this number: ranges of Gaussians that are not drawn begin here.
NO_TILE = tl.constexpr((1 << 15) - 1)

_WIDER = tl.constexpr(1.002)  # a slightly larger outline: the test of t decides, rounding must not
_MARGIN = tl.constexpr(0.02)  # pixels, likewise
_FAR = tl.constexpr(1e12)  # pixels: beyond any picture, and _FAR^2 times the largest (w21 / w11)^2 is still a float32
_STEEP = tl.constexpr(1e15)


@triton.jit
def repeat(value, times):
    """Tuple of the same value so many times (a constant)."""
    values = ()
    for _ in tl.static_range(times):
        values += (value,)
    return values


@triton.jit
def first_of(span):
    """First tile of a range."""
    return span & 0xFFFF


@triton.jit
def last_of(span):
    """Last tile of a range."""
    return span >> 16


@triton.jit
def pixels_of(picture, tx, ty, height, width, TILE_W: tl.constexpr, TILE_H: tl.constexpr):
    """Of a tile: number of its first pixel (int64), its pixels counted from there [TILE_H, TILE_W], who is inside."""
    column, row = tl.arange(0, TILE_W)[None, :], tl.arange(0, TILE_H)[:, None]
    inside = (column < width - tx * TILE_W) & (row < height - ty * TILE_H)
    first = (picture.to(tl.int64) * height + ty * TILE_H) * width + tx * TILE_W
    return first, row * width + column, inside


@triton.jit
def load_record(records, i, mask=None):
    """The fields of Gaussian i, or of many Gaussians."""
    fields = ()
    for k in tl.static_range(RECORD):
        fields += (tl.load(records + i * RECORD + k, mask=mask, other=None if mask is None else 1.0),)
    return fields


@triton.jit
def band(record, cut, top, bottom):
    """First and last x of the outline t <= cut between the rows top and bottom, which it meets; a little wider."""
    w11, w21, w22, rest21, rest22, whole_x, whole_y, part_x, part_y, _, _, shear = record
    slant, steep = (w21 + rest21) / w11, tl.minimum((w22 + rest22) / w11, _STEEP)
    reach = tl.minimum(tl.sqrt(cut) / w11 * _WIDER, _FAR)  # dx of the rightmost point; dy is -shear reach
    above, below = (top - whole_y) - part_y - _MARGIN, (bottom - whole_y) - part_y + _MARGIN
    y_right = tl.minimum(tl.maximum(-shear * reach, above), below)
    y_left = tl.minimum(tl.maximum(shear * reach, above), below)
    norm = tl.fma(slant, slant, 1.0)
    share = 1.0 / norm
    y_right, y_left, square = y_right * steep, y_left * steep, reach * reach * norm
    right = (tl.sqrt(tl.maximum(square - y_right * y_right, 0.0)) - slant * y_right) * share
    left = (-tl.sqrt(tl.maximum(square - y_left * y_left, 0.0)) - slant * y_left) * share
    centre = whole_x + part_x
    return centre + left - _MARGIN, centre + right + _MARGIN


@triton.jit
def distances(record, left, top, TILE_W: tl.constexpr, TILE_H: tl.constexpr):
    """Whitened coordinates p [1, TILE_W], q [TILE_H, TILE_W] and t of the tile whose first pixel is (left, top).

    In every column q is counted from the pixel nearest to the long axis, where it is small: the rows add no error.
    """
    w11, w21, w22, rest21, rest22, whole_x, whole_y, _, _, p0, q0, shear = record
    column = tl.arange(0, TILE_W).to(tl.float32)[None, :]
    row = tl.arange(0, TILE_H).to(tl.float32)[:, None]
    dx, dy = column + (left - whole_x), top - whole_y
    base = tl.minimum(tl.maximum(tl.floor(0.5 - tl.fma(dx, shear, dy)), 0.0), TILE_H - 1.0)
    dy = dy + base
    p = tl.fma(dx, w11, p0)
    q = tl.fma(dx, w21, dy * w22) + tl.fma(dx, rest21, tl.fma(dy, rest22, q0))
    q = tl.fma(row - base, w22 + rest22, q)
    return p, q, tl.fma(q, q, p * p)

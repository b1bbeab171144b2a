"""Gaussians of blends `alpha` and `signed` as records for the CPU's kernels.

A Gaussian becomes two linear forms of the displacement d from its mean, (f, h) = W d, with which

    1/2 d^T S^-1 d = 8 ln 2 t,    t = f^2 + h^2 where S is positive definite,    t = f h where it is indefinite,

so that its weight is 2^(-8 t). The forms come from the eigenvectors of S in float64. They stay small wherever t does,
however thin the Gaussian, and the product has no cancellation near the lines on which t is 0.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import numpy as np

from .cpu_bins import DEGENERATE
from .f32x16 import cell_column, cell_row, fma, splat
from .jit import kernel, part
from .published import TILE, tile_range

UNIT = 8 * math.log(2.0)
_SCALE = 1 / (2 * UNIT)  # t = _SCALE (coordinate along an eigenvector)^2 / eigenvalue, summed
_STEEPEST = 1e15  # per pixel: squares of forms must not overflow
_MARGIN = 1e-4  # pixels, of boxes: the weight test decides, rounding must not
_EIGENVALUE_FLOOR = 0.1  # of the published radius, inside its square root

#: One Gaussian. cut: the largest t with which it is seen. x0 .. y1: box of pixels, inclusive; x0 > x1 where nothing is.
RECORD = np.dtype(
    [(name, "f8") for name in ("fx", "fy", "hx", "hy")]
    + [(name, "f4") for name in ("mx", "my", "c0", "c1", "c2", "opacity", "cut", "indefinite")]
    + [(name, "i4") for name in ("x0", "x1", "y0", "y1")],
    align=True,
)


@part(_nrt=False, fastmath=False)
def _radius(xx, yy, det):
    """The published radius in pixels: 3 sigma of the larger eigenvalue; 0 where that is not positive."""
    half = (xx + yy) / 2
    largest = half + math.sqrt(max(_EIGENVALUE_FLOOR, half * half - det))
    return np.ceil(3 * math.sqrt(largest)) if largest > 0 else 0.0


@part(_nrt=False, fastmath=False)
def _forms(xx, xy, yy, det):
    """(fx, fy, hx, hy) of a regular matrix that is positive definite or indefinite."""
    half, difference = (xx + yy) / 2, (xx - yy) / 2
    r = math.sqrt(difference * difference + xy * xy)
    # the eigenvalue that is larger in magnitude is a sum without cancellation, the other follows from the determinant
    dominant = half + r if half >= 0 else half - r
    other = det / dominant
    high, low = (dominant, other) if half >= 0 else (other, dominant)
    x, y = (r + difference, xy) if difference >= 0 else (abs(xy), r - difference if xy >= 0 else difference - r)
    length = math.sqrt(x * x + y * y)
    x, y = (x / length, y / length) if length > 0 else (1.0, 0.0)
    a, b = math.sqrt(_SCALE / high), math.sqrt(_SCALE / abs(low))
    px, py, qx, qy = a * x, a * y, -b * y, b * x
    if low > 0:
        return px, py, qx, qy
    return px - qx, py - qy, px + qx, py + qy


@part(_nrt=False, fastmath=False)
def _outline_pixels(u, variance, limit, pixels):
    """First and last pixel, as float64, along one axis, of those with 1/2 d^T S^-1 d <= limit."""
    reach = math.sqrt(2 * limit * variance) + _MARGIN
    return max(0.0, np.ceil(u - 0.5 - reach)), min(pixels - 1.0, np.floor(u - 0.5 + reach))


@part(_nrt=False, fastmath=False)
def _tile_pixels(u, radius, pixels):
    """First and last pixel, as float64, along one axis, of the tiles that a square of this radius touches."""
    first, end = tile_range(u, radius, (pixels + TILE - 1) // TILE)
    return float(TILE * first), min(pixels - 1.0, float(TILE * end - 1))


@part(_nrt=False, fastmath=False)
def _box(ux, uy, xx, yy, det, solid, limit, height, width, signed):
    """(x0, x1, y0, y1), inclusive, of the pixels that may see a Gaussian; x0 > x1 or y0 > y1 where there are none."""
    left, right, top, bottom = 0.0, width - 1.0, 0.0, height - 1.0
    if solid:
        left, right = _outline_pixels(ux, xx, limit, width)
        top, bottom = _outline_pixels(uy, yy, limit, height)
    if signed:
        radius = _radius(xx, yy, det)
        x0, x1 = _tile_pixels(ux, radius, width)
        y0, y1 = _tile_pixels(uy, radius, height)
        left, right, top, bottom = max(left, x0), min(right, x1), max(top, y0), min(bottom, y1)
        if radius == 0:
            right = -1.0
    return left, right, top, bottom


@kernel(fastmath=False)
def prepare(t, threads, records, means, covariances, colors, opacities, height, width, signed):
    """Fills the records of this thread's Gaussians; see `RecordRasterizer.take`."""
    n = len(records)
    for i in range(n * t // threads, n * (t + 1) // threads):
        r = records[i]
        r.x0, r.x1, r.y0, r.y1 = 0, -1, 0, -1
        xx, xy, yy = covariances[i, 0], covariances[i, 1], covariances[i, 2]
        ux, uy = np.float64(means[i, 0]), np.float64(means[i, 1])
        det = xx * yy - xy * xy
        opacity = np.float64(opacities[i]) if len(opacities) > 0 else 1.0
        solid = xx > 0 and det > (0.0 if signed else DEGENERATE * xx * yy)
        if not ((solid or (signed and det < 0)) and math.isfinite(det + ux + uy) and opacity * 255 >= 1):
            continue
        fx, fy, hx, hy = _forms(xx, xy, yy, det)
        if not abs(fx) + abs(fy) + abs(hx) + abs(hy) < _STEEPEST:  # or NaN
            continue
        limit = math.log(255 * opacity)
        left, right, top, bottom = _box(ux, uy, xx, yy, det, solid, limit, height, width, signed)
        if left > right or top > bottom:
            continue
        r.fx, r.fy, r.hx, r.hy, r.mx, r.my = fx, fy, hx, hy, ux, uy
        r.c0, r.c1, r.c2, r.opacity = colors[i, 0], colors[i, 1], colors[i, 2], opacity
        r.cut, r.indefinite = limit / UNIT, 0.0 if solid else 1.0
        r.x0, r.x1, r.y0, r.y1 = int(left), int(right), int(top), int(bottom)


@part(_nrt=False, forceinline=True)
def forms_at(r, x, y):
    """(f, h) at the pixels of the cell of 8 x 2 pixels whose first is (x, y)."""
    dx, dy = x + 0.5 - np.float64(r.mx), y + 0.5 - np.float64(r.my)
    f, h = splat(r.fx * dx + r.fy * dy), splat(r.hx * dx + r.hy * dy)
    f = fma(cell_column(), splat(r.fx), fma(cell_row(), splat(r.fy), f))
    h = fma(cell_column(), splat(r.hx), fma(cell_row(), splat(r.hy), h))
    return f, h

"""Gradients: every Gaussian walks over its own pixels (GPU renderer, third part).

One warp serves one Gaussian after another. It goes through the tiles that the outline meets, keeps the sums of
`differentiate` in registers, one per pixel of a tile, and adds them up across the warp once at the end. Nothing is
shared between Gaussians, so there are no atomic additions, and the order of all sums is fixed.

A Gaussian of very many tiles would keep one warp busy when all others are done. So those on the list of large Gaussians
are taken apart: each of ACROSS x DOWN pieces takes every so many-th tile of every so many-th row, and `finish` adds up
what they found.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math

import triton
import triton.language as tl

from .geometry import band, distances, first_of, last_of, load_record, pixels_of, repeat
from .launch import NUMBERS

#: Pieces of a large Gaussian.
ACROSS, DOWN = 4, 8
PIECES = ACROSS * DOWN
#: Sums over the pixels of a Gaussian beside one per channel: of u p, u q, u p^2, u p q, u q^2.
MOMENTS = tl.constexpr(5)
_UNIT = tl.constexpr(2 * math.log(2.0))
_HALF_SQUARE = tl.constexpr(2 * math.log(2.0) ** 2)


@triton.jit
def _load_each(at, times, step=1):
    """Tuple of what is at so many places, `step` apart."""
    values = ()
    for k in tl.static_range(times):
        values += (tl.load(at + k * step),)
    return values


@triton.jit
def _add_up(values):
    """The sum over the elements of each."""
    sums = ()
    for k in tl.static_range(len(values)):
        sums += (tl.sum(values[k]),)
    return sums


@triton.jit
def differentiate(record, i, sums, d_means, d_covariances, d_colors):
    """Writes the gradients of Gaussian i.

    sums: with u = w dL/dw over its pixels the sums of u p, u q, u p^2, u p q, u q^2; and the gradients of its colour.

    w = 2^-t and d^T S^-1 d = 2 ln 2 t: with W = [[w11, 0], [w21, w22]] the gradient of the mean is
    2 ln 2 W^T sum(u (p, q)), that of S is 1/2 (2 ln 2)^2 W^T R W with R = sum(u (p, q) (p, q)^T). The off-diagonal
    element is one parameter and stands twice in the matrix.
    """
    w11 = record[0].to(tl.float64)
    w21, w22 = record[1].to(tl.float64) + record[3], record[2].to(tl.float64) + record[4]
    p, q, pp = sums[0].to(tl.float64), sums[1].to(tl.float64), sums[2].to(tl.float64)
    pq, qq = sums[3].to(tl.float64), sums[4].to(tl.float64)
    tl.store(d_means + 2 * i, ((w11 * p + w21 * q) * _UNIT).to(tl.float32))
    tl.store(d_means + 2 * i + 1, (w22 * q * _UNIT).to(tl.float32))
    tl.store(d_covariances + 3 * i, (w11 * w11 * pp + 2 * w11 * w21 * pq + w21 * w21 * qq) * _HALF_SQUARE)
    tl.store(d_covariances + 3 * i + 1, 2 * w22 * (w11 * pq + w21 * qq) * _HALF_SQUARE)
    tl.store(d_covariances + 3 * i + 2, w22 * w22 * qq * _HALF_SQUARE)
    for c in tl.static_range(len(sums) - MOMENTS):
        tl.store(d_colors + i * (len(sums) - MOMENTS) + c, sums[MOMENTS + c])


@triton.jit
def _weight_topk(t, i, cut, chosen, first, pixel, inside):
    """Weight of Gaussian i in the average of blend `topk`."""
    inverses, thresholds, lasts = chosen
    threshold = tl.load(thresholds + first + pixel, mask=inside, other=0.0)
    last = tl.load(lasts + first + pixel, mask=inside, other=-1)
    picked = (t <= cut) & ((t < threshold) | ((t == threshold) & (i <= last)))
    return tl.where(picked, tl.exp2(-t), 0.0) * tl.load(inverses + first + pixel, mask=inside, other=0.0)


@triton.jit
def _walk_tile(sums, record, color, i, tile, picture, size, grad, image, chosen, cut, TILE_W, TILE_H, TOPK):
    """Adds one tile to the sums, which are kept by pixel."""
    tx, ty = tile
    height, width = size
    first, pixel, inside = pixels_of(picture, tx, ty, height, width, TILE_W, TILE_H)
    p, q, t = distances(record, tx * TILE_W * 1.0, ty * TILE_H * 1.0, TILE_W, TILE_H)
    if TOPK:
        w = _weight_topk(t, i, cut, chosen, first, pixel, inside)
    else:
        w = tl.where(t <= cut, tl.exp2(-t), 0.0)
    slope = tl.zeros((TILE_H, TILE_W), tl.float32)
    channels = ()
    for c in tl.static_range(len(color)):
        g = tl.load(grad + (first * len(color) + c) + pixel * len(color), mask=inside, other=0.0)
        lift = color[c]
        if TOPK:
            lift -= tl.load(image + (first * len(color) + c) + pixel * len(color), mask=inside, other=0.0)
        slope = tl.fma(g, lift, slope)
        channels += (tl.fma(w, g, sums[MOMENTS + c]),)
    u = w * slope
    up, uq = u * p, u * q
    upp, upq, uqq = tl.fma(up, p, sums[2]), tl.fma(up, q, sums[3]), tl.fma(uq, q, sums[4])
    moments = sums[0] + up, sums[1] + uq, upp, upq, uqq
    moments += channels
    return moments


@triton.jit(do_not_specialize=NUMBERS)
def walk(
    d_means,
    d_covariances,
    d_colors,
    partial,
    grad,
    image,
    inverses,
    thresholds,
    lasts,
    records,
    colors,
    spans_x,
    spans_y,
    counters,
    large,
    is_listed,
    limits,
    cut,
    n,
    total,
    height,
    width,
    tiles_x,
    tiles,
    CHANNELS: tl.constexpr,
    TILE_W: tl.constexpr,
    TILE_H: tl.constexpr,
    TOPK: tl.constexpr,
    CAPPED: tl.constexpr,
    ACROSS: tl.constexpr,
    DOWN: tl.constexpr,
):
    """Gradients of all Gaussians that are not listed as large, and the sums of pieces of those that are. Grid: any.

    Args:
        d_means, d_covariances, d_colors: [total, 2] float32, [total, 3] float64, [total, CHANNELS] float32, written.
        partial: [listed, MOMENTS + CHANNELS, ACROSS * DOWN] float32.
        grad: [pictures, height, width, CHANNELS] float32, dL/dimage.
        image, inverses, thresholds, lasts: of `draw_topk`, where TOPK.
        counters, large, is_listed: of `list_candidates`; limits: of `limit_tiles`, where CAPPED.
        The others as for the drawing kernels.
    """
    pieces = tl.load(counters + 1).to(tl.int32) * (ACROSS * DOWN)
    for item in range(tl.program_id(0), pieces + total, tl.num_programs(0)):
        is_piece = item < pieces
        whose = item // (ACROSS * DOWN)
        i = tl.where(is_piece, tl.load(large + whose, mask=is_piece, other=0), item - pieces)
        piece = tl.where(is_piece, item - whose * (ACROSS * DOWN), 0)
        step_x, step_y = tl.where(is_piece, ACROSS, 1), tl.where(is_piece, DOWN, 1)
        is_whole = (not is_piece) & (tl.load(is_listed + i) == 0)
        picture = i // n
        record = load_record(records, i)
        color = _load_each(colors + i * CHANNELS, CHANNELS)
        sums = repeat(tl.zeros((TILE_H, TILE_W), tl.float32), MOMENTS + CHANNELS)
        across, down = tl.load(spans_x + i), tl.load(spans_y + i)
        end = tl.where(is_piece | is_whole, last_of(down) + 1, 0)
        for ty in range(first_of(down) + piece // ACROSS, end, step_y):
            top = ty * TILE_H * 1.0
            x0, x1 = band(record, cut, top, top + (TILE_H - 1))
            x0, x1 = tl.minimum(tl.maximum(x0, 0.0), width), tl.minimum(tl.maximum(x1, -TILE_W), width)
            first = tl.maximum((x0 / TILE_W).to(tl.int32), first_of(across))
            last = tl.minimum((x1 / TILE_W).to(tl.int32), last_of(across))
            for tx in range(first + piece % ACROSS, last + 1, step_x):
                here = cut
                if CAPPED:
                    here = tl.where(i <= tl.load(limits + picture * tiles + ty * tiles_x + tx), cut, -1.0)
                given = i, (tx, ty), picture, (height, width), grad, image, (inverses, thresholds, lasts), here
                sums = _walk_tile(sums, record, color, *given, TILE_W, TILE_H, TOPK)
        totals = _add_up(sums)
        if is_whole:
            differentiate(record, i, totals, d_means, d_covariances, d_colors)
        elif is_piece:
            at = partial + whose * ((MOMENTS + CHANNELS) * ACROSS * DOWN) + piece
            for k in tl.static_range(MOMENTS + CHANNELS):
                tl.store(at + k * (ACROSS * DOWN), totals[k])


@triton.jit
def finish(
    d_means,
    d_covariances,
    d_colors,
    partial,
    records,
    counters,
    large,
    CHANNELS: tl.constexpr,
    PIECES: tl.constexpr,
):
    """Gradients of the large Gaussians from the sums of their pieces. Grid: any."""
    for k in range(tl.program_id(0), tl.load(counters + 1).to(tl.int32), tl.num_programs(0)):
        i = tl.load(large + k)
        at = partial + k * ((MOMENTS + CHANNELS) * PIECES) + tl.arange(0, PIECES)
        totals = _add_up(_load_each(at, MOMENTS + CHANNELS, PIECES))
        differentiate(load_record(records, i), i, totals, d_means, d_covariances, d_colors)

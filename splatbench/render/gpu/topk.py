"""Blend `topk`, forward: the average of the K strongest responses of every pixel.

A tile visits its Gaussians twice. First each pixel keeps the K smallest t (the largest responses 2^-t) in registers, in
order, values only: a new one moves through them in a minimum and a maximum each. Then the Gaussians below the K-th
value are blended, and as many of those equal to it as there is room for: the first, since they come by index.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import triton
import triton.language as tl

from .geometry import pixels_of, repeat
from .launch import NUMBERS
from .tiles import NONE, visit


@triton.jit
def _rank(best, given, i, t, cut):
    """Moves t into the ascending values, where it counts."""
    t = tl.where(t <= cut, t, float("inf"))
    better = ()
    for k in tl.static_range(len(best)):
        better += (tl.minimum(best[k], t),)
        t = tl.maximum(best[k], t)
    return better


@triton.jit
def _blend(state, given, i, t, cut):
    """Adds Gaussian i to (room for equals, last of them, sum of responses, channels ...)."""
    colors, threshold = given
    room, last, total = state[0], state[1], state[2]
    equal = (t == threshold) & (t <= cut) & (room > 0)
    a = tl.where(((t < threshold) & (t <= cut)) | equal, tl.exp2(-t), 0.0)
    blended = room - equal.to(tl.int32), tl.where(equal, i, last), total + a
    for c in tl.static_range(len(state) - 3):
        color = tl.load(colors + i * (len(state) - 3) + c)
        blended += (tl.fma(a, color, state[3 + c]),)
    return blended


@triton.jit(do_not_specialize=NUMBERS)
def draw_topk(
    image,
    inverses,
    thresholds,
    lasts,
    records,
    colors,
    spans_x,
    spans_y,
    segments,
    list_ids,
    list_x,
    list_y,
    cut,
    epsilon,
    n,
    part,
    parts,
    height,
    width,
    tiles_x,
    node_w,
    node_h,
    nodes_x,
    nodes,
    K: tl.constexpr,
    CHANNELS: tl.constexpr,
    TILE_W: tl.constexpr,
    TILE_H: tl.constexpr,
):
    """Draws image [pictures, height, width, CHANNELS] float32. Grid: (tiles, pictures).

    Args:
        inverses, thresholds [pictures, height, width] float32, lasts likewise int32: 1 / (sum of responses + epsilon)
            (0: no Gaussian), the K-th smallest t, and the last Gaussian that is chosen among those equal to it.
        colors: [pictures * n, CHANNELS] float32.
        The others as `prepare` and `list_candidates` make them.
    """
    tx, ty, picture = tl.program_id(0) % tiles_x, tl.program_id(0) // tiles_x, tl.program_id(1)
    table = segments, nodes, parts, part, n, node_w, node_h, nodes_x
    place = records, (spans_x, spans_y), (list_ids, list_x, list_y), table, (picture, tx, ty)

    best = repeat(tl.full((TILE_H, TILE_W), float("inf"), tl.float32), K)
    best = visit(_rank, best, None, *place, cut, NONE, TILE_W, TILE_H)
    threshold = best[K - 1]
    room = tl.full((TILE_H, TILE_W), K, tl.int32)
    for k in tl.static_range(K):
        room -= (best[k] < threshold).to(tl.int32)

    nobody, zero = tl.full((TILE_H, TILE_W), -1, tl.int32), tl.zeros((TILE_H, TILE_W), tl.float32)
    state = room, nobody
    state += repeat(zero, CHANNELS + 1)
    state = visit(_blend, state, (colors, threshold), *place, cut, NONE, TILE_W, TILE_H)
    last, total = state[1], state[2]

    first, pixel, inside = pixels_of(picture, tx, ty, height, width, TILE_W, TILE_H)
    inverse = tl.where(total > 0, 1.0 / (total + epsilon), 0.0)
    tl.store(inverses + first + pixel, inverse, mask=inside)
    tl.store(thresholds + first + pixel, threshold, mask=inside)
    tl.store(lasts + first + pixel, last, mask=inside)
    for c in tl.static_range(CHANNELS):
        tl.store(image + (first * CHANNELS + c) + pixel * CHANNELS, state[3 + c] * inverse, mask=inside)

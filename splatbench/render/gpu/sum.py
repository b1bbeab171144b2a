"""Blend `sum`, forward: a tile adds up the weighted colours of its Gaussians.

Weights times colours would be a matrix product, [pixels x Gaussians] times [Gaussians x channels], but with three
channels it is the wrong shape for matrix units: their smallest product is 16 x 8 x 8 (of tf32, 10 bits; three of them
make a float32), so five of eight columns would be padding, each weight would be split in two first and moved to the
operands' layout, and 128 pairs would take about as many issue slots as the plain 3 fused multiply-adds per pair, which
are the smaller part of a pair anyway (9 instructions make its weight).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import triton
import triton.language as tl

from .geometry import pixels_of, repeat
from .launch import NUMBERS
from .tiles import NONE, visit


@triton.jit
def _add(state, colors, i, t, cut):
    """Adds Gaussian i to the channels."""
    w = tl.where(t <= cut, tl.exp2(-t), 0.0)
    channels = ()
    for c in tl.static_range(len(state)):
        channels += (tl.fma(w, tl.load(colors + i * len(state) + c), state[c]),)
    return channels


@triton.jit(do_not_specialize=NUMBERS)
def draw_sum(
    image,
    records,
    colors,
    spans_x,
    spans_y,
    segments,
    list_ids,
    list_x,
    list_y,
    limits,
    cut,
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
    CHANNELS: tl.constexpr,
    TILE_W: tl.constexpr,
    TILE_H: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """Draws image [pictures, height, width, CHANNELS] float32. Grid: (tiles, pictures).

    Args:
        colors: [pictures * n, CHANNELS] float32.
        limits: of `limit_tiles`, where CAPPED.
        The others as `prepare` and `list_candidates` make them.
    """
    tile, picture = tl.program_id(0), tl.program_id(1)
    tx, ty = tile % tiles_x, tile // tiles_x
    limit = NONE
    if CAPPED:
        limit = tl.load(limits + picture * tl.num_programs(0) + tile)
    state = repeat(tl.zeros((TILE_H, TILE_W), tl.float32), CHANNELS)
    table = segments, nodes, parts, part, n, node_w, node_h, nodes_x
    spans, lists = (spans_x, spans_y), (list_ids, list_x, list_y)
    state = visit(_add, state, colors, records, spans, lists, table, (picture, tx, ty), cut, limit, TILE_W, TILE_H)
    first, pixel, inside = pixels_of(picture, tx, ty, height, width, TILE_W, TILE_H)
    for c in tl.static_range(CHANNELS):
        tl.store(image + (first * CHANNELS + c) + pixel * CHANNELS, state[c], mask=inside)

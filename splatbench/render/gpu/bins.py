"""From Gaussians to candidates of every tile (GPU renderer, first part).

`prepare` makes records and ranges of tiles. `list_candidates` collects, for nodes (rectangles of many tiles), the
Gaussians that touch them, in order; later a tile goes through the candidates of its node, thirty-two at a time, and
draws those that touch it (tiles.py). So there is no sort, no list per tile and no host in between.

Lists share one buffer; a list takes the next free places of it (where it lies is chance, what is in it is not). One
that finds too few places left is not written: its tiles go through all Gaussians instead and find the same ones in the
same order. The buffer holds eight entries per Gaussian, so a list can be missing only where typical Gaussians touch
more nodes than that, and then a tile has a good part of all Gaussians to draw anyway.

Gaussians that touch many tiles go on a list of their own, for the backward pass (walk.py).
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import triton
import triton.language as tl

from splatbench.render.reference import DEGENERATE, TILE

from .geometry import NO_TILE, RECORD, WHITEN, first_of, last_of
from .launch import NUMBERS

_TILE = tl.constexpr(float(TILE))
_DEGENERATE = tl.constexpr(DEGENERATE)
_BOX_MARGIN = tl.constexpr(1e-4)  # of the outline's box, in pixels: the test of t decides, rounding must not
_LARGEST = tl.constexpr(1.7e308)


@triton.jit
def _published_range(u, radius, tiles):
    """Tiles [first, last) that u - radius .. u + radius touches, cut towards zero, as published."""
    first = tl.minimum(tl.maximum(u / _TILE - radius / _TILE, 0.0), tiles).to(tl.int32)
    last = tl.minimum(tl.maximum(u / _TILE + radius / _TILE + 1, 0.0), tiles).to(tl.int32)
    return first, last


@triton.jit
def _box_range(u, half, pixels, TILE_SIDE: tl.constexpr):
    """Tiles [first, last) of the pixels in u - half .. u + half."""
    first = tl.ceil(tl.maximum(u - half, 0.0))
    last = tl.floor(tl.minimum(u + half, pixels - 1.0))
    some = (u - half <= pixels - 1.0) & (u + half >= 0.0) & (first <= last)  # false for NaN
    first = tl.where(some, first, 0.0).to(tl.int32)
    last = tl.where(some, last, -1.0).to(tl.int32)
    return first // TILE_SIDE, tl.where(some, last // TILE_SIDE + 1, 0)


@triton.jit
def _split(w):
    """float64 to two float32: 12 bits, and the rest."""
    high = (w.to(tl.float32).to(tl.int32, bitcast=True) & -4096).to(tl.float32, bitcast=True)
    return high, (w - high.to(tl.float64)).to(tl.float32)


@triton.jit(do_not_specialize=NUMBERS)
def prepare(
    means,
    covariances,
    records,
    spans_x,
    spans_y,
    counters,
    reach,
    total,
    height,
    width,
    TILE_W: tl.constexpr,
    TILE_H: tl.constexpr,
    PUBLISHED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Records and ranges of tiles of all Gaussians; sets the counters to zero.

    Args:
        means, covariances: [total, 2] float32, [total, 3] float64.
        records: [total, RECORD] float32; zeros of what is not drawn.
        spans_x, spans_y: [total] int32, ranges of tiles.
        counters: [2] int64: places of the lists' buffer that were asked for, length of the list of large Gaussians.
        reach: squared half size of the outline's box per variance.
        PUBLISHED: ranges by the published rule "tiles_3sigma", and not by the outline.
    """
    if tl.program_id(0) == 0:
        tl.store(counters, 0)
        tl.store(counters + 1, 0)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    mx, my = tl.load(means + 2 * i, mask=inside, other=0), tl.load(means + 2 * i + 1, mask=inside, other=0)
    ux, uy = mx.to(tl.float64) - 0.5, my.to(tl.float64) - 0.5
    sxx = tl.load(covariances + 3 * i, mask=inside, other=0)
    sxy = tl.load(covariances + 3 * i + 1, mask=inside, other=0)
    syy = tl.load(covariances + 3 * i + 2, mask=inside, other=0)
    det = sxx * syy - sxy * sxy
    drawn = (sxx > 0) & (det > sxx * _DEGENERATE * syy)  # false for NaN and infinity
    if PUBLISHED:
        half = (sxx + syy) / 2
        floor = tl.full((), 0.1, tl.float64)  # a plain number would be rounded to float32
        radius = tl.ceil(3 * tl.sqrt(half + tl.sqrt(tl.maximum(half * half - det, floor))))
        x0, x1 = _published_range(ux, radius, (width + TILE_W - 1) // TILE_W * 1.0)
        y0, y1 = _published_range(uy, radius, (height + TILE_H - 1) // TILE_H * 1.0)
        drawn &= (tl.abs(ux) <= _LARGEST) & (tl.abs(uy) <= _LARGEST) & (radius <= _LARGEST)
    else:
        x0, x1 = _box_range(ux, tl.sqrt(reach * sxx) + _BOX_MARGIN, width, TILE_W)
        y0, y1 = _box_range(uy, tl.sqrt(reach * syy) + _BOX_MARGIN, height, TILE_H)
    drawn &= (x0 < x1) & (y0 < y1)
    tl.store(spans_x + i, tl.where(drawn, x0 | (x1 - 1) << 16, NO_TILE), mask=inside)
    tl.store(spans_y + i, tl.where(drawn, y0 | (y1 - 1) << 16, NO_TILE), mask=inside)

    root, sxx = tl.sqrt(tl.where(drawn, det, 1.0)), tl.where(drawn, sxx, 1.0)
    scale = 1.0 / (tl.sqrt(sxx) * root) * WHITEN
    w11, w21, w22 = root * scale, -sxy * scale, sxx * scale
    whole_x, whole_y = tl.floor(ux + 0.5), tl.floor(uy + 0.5)
    part_x, part_y = ux - whole_x, uy - whole_y
    high21, rest21 = _split(w21)
    high22, rest22 = _split(w22)
    p0, q0 = -w11 * part_x, -(w21 * part_x + w22 * part_y)
    fields = (w11, high21, high22, rest21, rest22, whole_x, whole_y, part_x, part_y, p0, q0, w21 / w22)
    for k in tl.static_range(RECORD):
        tl.store(records + i * RECORD + k, tl.where(drawn, fields[k].to(tl.float32), 0.0), mask=inside)


@triton.jit
def _count_block(spans_x, spans_y, i, inside, x0, x1, y0, y1):
    """1 for those of Gaussians i whose tiles meet the tiles x0 .. x1, y0 .. y1, else 0; and their spans."""
    across = tl.load(spans_x + i, mask=inside, other=NO_TILE)
    down = tl.load(spans_y + i, mask=inside, other=NO_TILE)
    meet_x = (first_of(across) <= x1) & (last_of(across) >= x0)
    return (meet_x & (first_of(down) <= y1) & (last_of(down) >= y0)).to(tl.int32), across, down


@triton.jit
def _list_node(
    spans_x, spans_y, counters, segment, list_ids, list_x, list_y, capacity, begin, end, x0, x1, y0, y1, BLOCK
):
    """The list of Gaussians begin .. end - 1 that meet the tiles x0 .. x1, y0 .. y1."""
    lane = tl.arange(0, BLOCK)
    count = 0
    for j in range(begin, end, BLOCK):
        count += tl.sum(_count_block(spans_x, spans_y, j + lane, j + lane < end, x0, x1, y0, y1)[0])
    start = tl.atomic_add(counters, count.to(tl.int64), sem="relaxed")
    fits = start + count <= capacity
    tl.store(segment, tl.where(fits, start, -1).to(tl.int32))
    tl.store(segment + 1, count)
    if fits:
        place = start.to(tl.int32) - 1
        for j in range(begin, end, BLOCK):
            hit, across, down = _count_block(spans_x, spans_y, j + lane, j + lane < end, x0, x1, y0, y1)
            at = place + tl.cumsum(hit, 0)
            tl.store(list_ids + at, j + lane, mask=hit != 0)
            tl.store(list_x + at, across, mask=hit != 0)
            tl.store(list_y + at, down, mask=hit != 0)
            place += tl.sum(hit)


@triton.jit
def _list_large(spans_x, spans_y, counters, large, is_listed, begin, end, LARGE, SLOTS, BLOCK):
    """Appends those of Gaussians begin .. end - 1 that touch more than LARGE tiles, at most SLOTS of every BLOCK."""
    lane = tl.arange(0, BLOCK)
    for j in range(begin, end, BLOCK):
        i = j + lane
        across = tl.load(spans_x + i, mask=i < end, other=NO_TILE)
        down = tl.load(spans_y + i, mask=i < end, other=NO_TILE)
        wide, high = last_of(across) - first_of(across) + 1, last_of(down) - first_of(down) + 1
        found = ((wide > 0) & (wide * high > LARGE)).to(tl.int32)
        place = tl.cumsum(found, 0)
        found = tl.where(place <= SLOTS, found, 0)
        start = tl.atomic_add(counters + 1, tl.sum(found).to(tl.int64), sem="relaxed").to(tl.int32)
        tl.store(large + start + place - 1, i, mask=found != 0)
        tl.store(is_listed + i, found.to(tl.int8), mask=i < end)


@triton.jit(do_not_specialize=NUMBERS)
def list_candidates(
    spans_x,
    spans_y,
    counters,
    segments,
    list_ids,
    list_x,
    list_y,
    large,
    is_listed,
    capacity,
    n,
    part,
    node_w,
    node_h,
    nodes_x,
    nodes,
    LARGE: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Lists of nodes, and of large Gaussians. Grid: (nodes + 1, parts of the Gaussians, pictures).

    Args:
        segments: [pictures, nodes, parts, 2] int32: first entry (-1: not written), number of entries.
        list_ids, list_x, list_y: [capacity] int32: Gaussians, their ranges of tiles.
        large, is_listed: int32, [pictures * n] int8: Gaussians that the backward pass takes apart.
        n, part: Gaussians of a picture, of a part (a multiple of BLOCK).
        node_w, node_h: tiles of a node; nodes_x: nodes in a row.
    """
    node, picture = tl.program_id(0), tl.program_id(2)
    begin = picture * n + tl.program_id(1) * part
    end = tl.minimum(begin + part, (picture + 1) * n)
    if node < nodes:
        segment = segments + 2 * ((picture * nodes + node) * tl.num_programs(1) + tl.program_id(1))
        x0, y0 = node % nodes_x * node_w, node // nodes_x * node_h
        x1, y1 = x0 + node_w - 1, y0 + node_h - 1
        lists = list_ids, list_x, list_y
        _list_node(spans_x, spans_y, counters, segment, *lists, capacity, begin, end, x0, x1, y0, y1, BLOCK)
    else:
        _list_large(spans_x, spans_y, counters, large, is_listed, begin, end, LARGE, SLOTS, BLOCK)

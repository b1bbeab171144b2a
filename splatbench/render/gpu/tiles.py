"""A tile of pixels goes through its candidates (GPU renderer, second part).

One program of one warp draws one tile. Thirty-two candidates at a time are tested, one per lane, first by their range
of tiles, then by the outline in the rows of the tile. Those that are left are visited in ascending order: the next one
is the smallest index above the last, one instruction across the warp. So the order of summation is fixed, and nothing
is written before the pixels are.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import triton
import triton.language as tl

from splatbench.render.reference import CAP

from .geometry import NO_TILE, band, distances, first_of, last_of, load_record
from .launch import NUMBERS

#: No Gaussian has this index.
NONE = tl.constexpr((1 << 31) - 1)
_CAP = tl.constexpr(CAP)
_LANES = tl.constexpr(32)


@triton.jit
def _segment(segments, picture, node, k, nodes, parts, part, n):
    """Of part k of the Gaussians: first entry of the node's list (-1: not written), candidates, first Gaussian."""
    at = segments + 2 * ((picture * nodes + node) * parts + k)
    start, listed = tl.load(at), tl.load(at + 1)
    return start, tl.where(start >= 0, listed, tl.minimum(part, n - k * part)), picture * n + k * part


@triton.jit
def _candidates(lists, spans, start, begin, j, inside):
    """Candidates j of a part: indices and ranges of tiles. From its list or, without one, all of its Gaussians."""
    list_ids, list_x, list_y = lists
    spans_x, spans_y = spans
    if start >= 0:
        ids = tl.load(list_ids + start + j, mask=inside, other=0)
        across = tl.load(list_x + start + j, mask=inside, other=NO_TILE)
        down = tl.load(list_y + start + j, mask=inside, other=NO_TILE)
    else:
        ids = begin + j
        across = tl.load(spans_x + ids, mask=inside, other=NO_TILE)
        down = tl.load(spans_y + ids, mask=inside, other=NO_TILE)
    return ids, across, down


@triton.jit
def _touch(across, down, tx, ty):
    return (first_of(across) <= tx) & (last_of(across) >= tx) & (first_of(down) <= ty) & (last_of(down) >= ty)


@triton.jit
def visit(step: tl.constexpr, state, given, records, spans, lists, table, tile, cut, limit, TILE_W, TILE_H):
    """state = step(state, given, i, t, cut) for every Gaussian i of a tile, ascending; t as `distances` says.

    Args:
        spans, lists: (spans_x, spans_y), (list_ids, list_x, list_y) of `list_candidates`.
        table: (segments, nodes, parts, part, n, node_w, node_h, nodes_x), likewise.
        tile: (picture, column, row).
        limit: the last Gaussian that counts in this tile.
    """
    segments, nodes, parts, part, n, node_w, node_h, nodes_x = table
    picture, tx, ty = tile
    left, top = tx * TILE_W * 1.0, ty * TILE_H * 1.0
    node = ty // node_h * nodes_x + tx // node_w
    lane = tl.arange(0, _LANES)
    for k in range(parts):
        start, count, begin = _segment(segments, picture, node, k, nodes, parts, part, n)
        for first in range(0, count, _LANES):
            j = first + lane
            ids, across, down = _candidates(lists, spans, start, begin, j, j < count)
            hit = (j < count) & _touch(across, down, tx, ty) & (ids <= limit)
            x0, x1 = band(load_record(records, ids, mask=hit), cut, top, top + (TILE_H - 1))
            hit = hit & (x0 <= left + (TILE_W - 1)) & (x1 >= left)
            i = tl.min(tl.where(hit, ids, NONE))
            while i < NONE:
                _, _, t = distances(load_record(records, i), left, top, TILE_W, TILE_H)
                state = step(state, given, i, t, cut)
                i = tl.min(tl.where(hit & (ids > i), ids, NONE))
    return state


@triton.jit(do_not_specialize=NUMBERS)
def limit_tiles(
    limits,
    spans_x,
    spans_y,
    segments,
    list_ids,
    list_x,
    list_y,
    n,
    part,
    parts,
    tiles_x,
    node_w,
    node_h,
    nodes_x,
    nodes,
):
    """limits [pictures, tiles] int32: the last of the 256 first Gaussians of every tile; NONE where there are fewer.

    Grid: (tiles, pictures). This is the published "tile_cap_256".
    """
    tile, picture = tl.program_id(0), tl.program_id(1)
    tx, ty = tile % tiles_x, tile // tiles_x
    node = ty // node_h * nodes_x + tx // node_w
    lane = tl.arange(0, _LANES)
    seen, limit = 0, NONE
    for k in range(parts):
        start, count, begin = _segment(segments, picture, node, k, nodes, parts, part, n)
        for first in range(0, count, _LANES):
            j = first + lane
            ids, across, down = _candidates((list_ids, list_x, list_y), (spans_x, spans_y), start, begin, j, j < count)
            hit = ((j < count) & _touch(across, down, tx, ty)).to(tl.int32)
            place = seen + tl.cumsum(hit, 0)
            limit = tl.minimum(limit, tl.min(tl.where((hit != 0) & (place == _CAP), ids, NONE)))
            seen += tl.sum(hit)
    tl.store(limits + picture * tl.num_programs(0) + tile, limit)

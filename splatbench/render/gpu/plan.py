"""`Plan`: into which tiles, nodes and parts one shape of input is divided, and how long its lists may become.

What it costs (Kodak, 512 x 768, 28 000 Gaussians, 15 pairs of pixel and Gaussian in a pixel). A Gaussian touches 5
tiles, of whose 640 pixels 210 are in its support. In instructions of a warp, read off the machine code for compute
capability 9.0: drawing takes 82 per tile and Gaussian, 11 million, and 6 million for the candidates; gradients 142 per
tile, 67 per row of tiles and 400 per Gaussian, 36 million. 132 multiprocessors at 1.7 GHz issue 900 000 million a
second: 19 and 40 microseconds at best. Nothing else is near: device memory moves 15 MB in 4 microseconds. So the floor
is issue, and what counts is pairs outside the support, work per Gaussian, and the gaps between five launches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from splatbench.gaussians import COMPAT_FLAGS, MIN_WEIGHT, TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE

from .geometry import FIELDS, NO_TILE
from .launch import ceil_div

#: Pixels of a tile. The published one is 16 x 16; half of it suits a warp and small Gaussians better.
TILE_W, TILE_H, PUBLISHED_TILE_H = 16, 8, 16
#: Gaussians of one step of `list_candidates`.
BLOCK = 2048
#: Entries of the lists' buffer per Gaussian.
ENTRIES = 8
#: A Gaussian of more tiles is large. Where there are many Gaussians, at most SLOTS of every BLOCK are taken apart.
LARGE, FEW, SLOTS = 64, 1 << 14, 64
#: The K values of a pixel are kept in registers.
MOST_K = 128
#: Responses below 2^-125 are not seen: a float32 has no more exponents.
_LEAST_RESPONSE = 2.0**-125
_PROGRAMS = 1024


@dataclass(frozen=True)
class Plan:
    """The settings of a `Workspace`, which documents them, and what follows from them.

    Raises:
        ValueError: a setting out of range.
    """

    n: int
    size: tuple[int, int]
    channels: int
    batch: int = 1
    blend: str = "sum"
    compat: frozenset[str] = frozenset()
    k: int = TOP_K
    epsilon: float = TOPK_EPSILON
    min_response: float = TOPK_MIN_RESPONSE

    #: -log2 of the smallest weight that is seen.
    cut: float = field(init=False)
    #: Height of a tile, and tiles of a picture.
    tile_h: int = field(init=False)
    tiles_x: int = field(init=False)
    tiles_y: int = field(init=False)
    #: Tiles of a node, nodes in a row, nodes of a picture.
    node_w: int = field(init=False)
    node_h: int = field(init=False)
    nodes_x: int = field(init=False)
    nodes: int = field(init=False)
    #: Gaussians of a part, parts of the Gaussians of a picture.
    part: int = field(init=False)
    parts: int = field(init=False)
    #: Gaussians of all pictures (1 if there are none: no buffer is empty), entries of the lists' buffer, of every BLOCK
    #: how many large Gaussians are listed, and of all.
    total: int = field(init=False)
    capacity: int = field(init=False)
    slots: int = field(init=False)
    listed: int = field(init=False)

    def __post_init__(self) -> None:
        self._check()
        tile_h = PUBLISHED_TILE_H if self.compat else TILE_H
        total, blocks = max(1, self.n * self.batch), max(1, ceil_div(self.n, BLOCK))
        slots = BLOCK if total <= FEW else SLOTS
        least = MIN_WEIGHT if self.blend == "sum" else max(self.min_response, _LEAST_RESPONSE)
        if self.blend == "topk" and self.compat:
            least = _LEAST_RESPONSE
        found = {"cut": -math.log2(least), "tile_h": tile_h, **self._divide(tile_h, blocks), "total": total}
        found |= {"slots": slots, "listed": min(total, self.batch * blocks * slots)}
        found["capacity"] = total * min(int(found["nodes"]), ENTRIES)
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def _divide(self, tile_h: int, blocks: int) -> dict[str, int]:
        """Tiles, nodes and parts, all of which decide about time alone.

        A node's list costs a test of all Gaussians, twice, in blocks; a candidate costs every tile of its node a test.
        Both together are least near sqrt(3 tiles) nodes, however many Gaussians there are.
        """
        height, width = self.size
        tiles_x, tiles_y = ceil_div(width, TILE_W), ceil_div(height, tile_h)
        side = math.sqrt(height * width / math.sqrt(3 * tiles_x * tiles_y))
        node_w = min(max(1, round(side / TILE_W)), tiles_x)
        node_h = min(max(1, round(side / tile_h)), tiles_y)
        nodes_x = ceil_div(tiles_x, node_w)
        nodes = nodes_x * ceil_div(tiles_y, node_h)
        # about a thousand programs, each with as long a part of the Gaussians as that leaves
        part = ceil_div(blocks, min(blocks, ceil_div(_PROGRAMS, (nodes + 1) * self.batch))) * BLOCK
        return {
            "tiles_x": tiles_x,
            "tiles_y": tiles_y,
            "node_w": node_w,
            "node_h": node_h,
            "nodes_x": nodes_x,
            "nodes": nodes,
            "part": part,
            "parts": max(1, ceil_div(self.n, part)),
        }

    def _check(self) -> None:
        height, width = self.size
        known = set(COMPAT_FLAGS) if self.blend == "sum" else {"tiles_3sigma"}
        most_h, most_w = NO_TILE.value * TILE_H, NO_TILE.value * TILE_W
        most = (1 << 31) // max(ENTRIES, len(FIELDS), self.channels)  # offsets are int32
        for name, value, fits, wanted in (
            ("blend", self.blend, self.blend in ("sum", "topk"), "'sum' or 'topk'"),
            ("compat", sorted(self.compat), self.compat <= known, f"some of {sorted(known)} for blend {self.blend!r}"),
            ("size", self.size, min(height, width) >= 1, "(H, W) of at least 1 x 1"),
            ("size", self.size, height <= most_h and width <= most_w, f"at most {most_h} x {most_w} pixels"),
            ("channels", self.channels, self.channels >= 1, "at least 1"),
            ("batch", self.batch, 1 <= self.batch < 1 << 16, "1 to 65535"),
            ("n", self.n, 0 <= self.n * self.batch < most, f"0 to {most - 1} Gaussians in a batch"),
            ("k", self.k, 1 <= self.k <= MOST_K, f"1 to {MOST_K}"),
            ("epsilon", self.epsilon, 0 <= self.epsilon < math.inf, "a number of at least 0"),
            ("min_response", self.min_response, 0 < self.min_response <= 1, "a number in (0, 1]"),
        ):
            if not fits:
                raise ValueError(f"{name}: expected {wanted}, got {value}")

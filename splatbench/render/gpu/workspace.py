"""`Workspace`: the buffers and launches that draw one shape of input, again and again."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from splatbench.gaussians import COMPAT_FLAGS, MIN_WEIGHT, TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE

from . import bins, geometry, walk
from .launch import OPTIONS, ceil_div, on_device, require_device
from .sum import draw_sum
from .tiles import limit_tiles
from .topk import draw_topk

#: Pixels of a tile. The published one is 16 x 16; half of it suits a warp and small Gaussians better.
TILE_W, TILE_H, PUBLISHED_TILE_H = 16, 8, 16
#: Gaussians of one program of `prepare`, and of one step of `list_candidates`.
PREPARED, BLOCK = 128, 2048
#: Entries of the lists' buffer per Gaussian.
ENTRIES = 8
#: A Gaussian of more tiles is large. Where there are many Gaussians, at most SLOTS of every BLOCK can be taken apart.
LARGE, FEW, SLOTS = 64, 1 << 14, 64
#: Responses below 2^-125 are not seen: a float32 has no more exponents.
_LEAST_RESPONSE = 2.0**-125
_PROGRAMS_PER_MULTIPROCESSOR = 32
#: The K values of a pixel are kept in registers.
MOST_K = 128


class Workspace:
    """Draws pictures of N Gaussians, and their gradients, without allocating, synchronising or asking the device.

    Everything that `forward` and `backward` launch can be captured in a CUDA graph. The same inputs give the same bits.
    One workspace serves one picture (or batch) at a time, on one stream.

    Args:
        n: Gaussians of a picture; at least 0.
        size: (H, W) of a picture.
        channels: at least 1. Made for few: every channel takes four registers.
        batch: pictures, at least 1.
        device: a CUDA device, or the CPU where Triton interprets.
        blend: "sum" or "topk", as `splatbench.render.rasterize_sum` and `rasterize_topk` define them.
        compat: of "sum" any of `splatbench.gaussians.COMPAT_FLAGS`, of "topk" none or {"tiles_3sigma"}.
        k: of "topk", 1 to MOST_K; a constant of the compiled kernel.
        epsilon: of "topk", at least 0.
        min_response: of "topk", in (0, 1]; values below 2^-125 act as this, and "tiles_3sigma" ignores it.

    Raises:
        ValueError: values outside these ranges.
    """

    def __init__(
        self,
        n: int,
        size: tuple[int, int],
        channels: int,
        *,
        batch: int = 1,
        device: torch.device | str = "cuda",
        blend: str = "sum",
        compat: frozenset[str] = frozenset(),
        k: int = TOP_K,
        epsilon: float = TOPK_EPSILON,
        min_response: float = TOPK_MIN_RESPONSE,
    ) -> None:
        self.n, self.size, self.channels, self.batch = n, (int(size[0]), int(size[1])), channels, batch
        self.device, self.blend, self.compat = torch.device(device), blend, frozenset(compat)
        self.k, self.epsilon, self.min_response = k, epsilon, min_response
        self._check_settings()
        self._cut = -math.log2(self._least_weight())
        self._tile_h = PUBLISHED_TILE_H if compat else TILE_H
        self._warps = self._tile_h // TILE_H  # four pixels per lane: more would spill registers
        self._plan_tiles()
        self._allocate()
        self._last: tuple[Tensor, Tensor] | None = None  # colours and picture of the last forward pass

    def _check_settings(self) -> None:
        height, width = self.size
        known = set(COMPAT_FLAGS) if self.blend == "sum" else {"tiles_3sigma"}
        for name, value, fits, wanted in (
            ("blend", self.blend, self.blend in ("sum", "topk"), "'sum' or 'topk'"),
            ("compat", sorted(self.compat), self.compat <= known, f"some of {sorted(known)} for blend {self.blend!r}"),
            ("n", self.n, self.n >= 0, "at least 0"),
            ("size", self.size, min(height, width) >= 1, "(H, W) of at least 1 x 1"),
            ("channels", self.channels, self.channels >= 1, "at least 1"),
            ("batch", self.batch, 1 <= self.batch < 1 << 16, "1 to 65535"),
            ("k", self.k, 1 <= self.k <= MOST_K, f"1 to {MOST_K}"),
            ("epsilon", self.epsilon, 0 <= self.epsilon < math.inf, "a number of at least 0"),
            ("min_response", self.min_response, 0 < self.min_response <= 1, "a number in (0, 1]"),
        ):
            if not fits:
                raise ValueError(f"{name}: expected {wanted}, got {value}")
        most = geometry.NO_TILE.value
        if height > most * TILE_H or width > most * TILE_W:
            raise ValueError(f"size: at most {most * TILE_H} x {most * TILE_W} pixels in one picture, got {self.size}")
        if self.n * self.batch * ENTRIES >= 1 << 31:
            raise ValueError(f"n: at most {(1 << 31) // ENTRIES} Gaussians in a batch, got {self.batch} x {self.n}")

    def _least_weight(self) -> float:
        if self.blend == "sum":
            return MIN_WEIGHT
        return _LEAST_RESPONSE if self.compat else max(self.min_response, _LEAST_RESPONSE)

    def _plan_tiles(self) -> None:
        """Tiles, nodes and parts, all of which decide about time alone.

        A node's list costs a test of all Gaussians, twice, in blocks; a candidate costs every tile of its node a test.
        Both together are least near sqrt(3 tiles) nodes, however many Gaussians there are.
        """
        height, width = self.size
        self._tiles_x, self._tiles_y = ceil_div(width, TILE_W), ceil_div(height, self._tile_h)
        side = math.sqrt(height * width / math.sqrt(3 * self._tiles_x * self._tiles_y))
        self._node_w = min(max(1, round(side / TILE_W)), self._tiles_x)
        self._node_h = min(max(1, round(side / self._tile_h)), self._tiles_y)
        self._nodes_x = ceil_div(self._tiles_x, self._node_w)
        self._nodes = self._nodes_x * ceil_div(self._tiles_y, self._node_h)
        blocks = max(1, ceil_div(self.n, BLOCK))
        # about a thousand programs, each with as long a part of the Gaussians as that leaves
        parts = min(blocks, ceil_div(1024, (self._nodes + 1) * self.batch))
        self._part = ceil_div(blocks, parts) * BLOCK
        self._parts = max(1, ceil_div(self.n, self._part))

    def _allocate(self) -> None:
        total = max(1, self.n * self.batch)

        def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=self.device)

        self._records = empty(total, len(geometry.FIELDS), dtype=torch.float32)
        require_device(bins.prepare, "device", self._records)
        self.device = self._records.device  # with its number
        self._spans_x, self._spans_y = empty(total), empty(total)
        self._counters = empty(2, dtype=torch.int64)
        self._segments = empty(self.batch, self._nodes, self._parts, 2)
        self._capacity = total * min(self._nodes, ENTRIES)
        self._list_ids, self._list_x, self._list_y = (empty(self._capacity) for _ in range(3))
        self._slots = BLOCK if total <= FEW else SLOTS
        listed = min(total, self.batch * ceil_div(max(1, self.n), BLOCK) * self._slots)
        self._large, self._is_listed = empty(listed), empty(total, dtype=torch.int8)
        sums = walk.MOMENTS.value + self.channels
        self._partial = empty(listed, sums, walk.PIECES, dtype=torch.float32)
        capped = "tile_cap_256" in self.compat
        self._limits = empty(self.batch, self._tiles_x * self._tiles_y) if capped else empty(1)
        state = (self.batch, *self.size) if self.blend == "topk" else (1,)
        self._inverses, self._thresholds = (empty(*state, dtype=torch.float32) for _ in range(2))
        self._lasts = empty(*state)
        if self.device.type == "cuda":
            multiprocessors = torch.cuda.get_device_properties(self.device).multi_processor_count
            self._walkers = min(total, multiprocessors * _PROGRAMS_PER_MULTIPROCESSOR)
        else:
            self._walkers = 2

    def _require(self, name: str, value: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        shapes = [(self.batch, *shape), shape] if self.batch == 1 else [(self.batch, *shape)]
        if tuple(value.shape) not in shapes or value.dtype != dtype or value.device != self.device:
            raise ValueError(
                f"{name}: expected {dtype} {list(shapes[0])} on {self.device}, "
                f"got {value.dtype} {list(value.shape)} on {value.device}"
            )
        if not value.is_contiguous():
            raise ValueError(f"{name}: must be contiguous")

    def forward(self, means: Tensor, covariance: Tensor, colors: Tensor, out: Tensor) -> None:
        """Draws.

        Args:
            means: [B, N, 2] float32, (x, y) in pixels; [N, 2] too if the batch is 1, and so on.
            covariance: [B, N, 3] float64, (Sxx, Sxy, Syy) in square pixels.
            colors: [B, N, C] float32. Kept for `backward`, and not to be changed until then.
            out: [B, H, W, C] float32, written; of blend "topk" kept likewise.

        Raises:
            ValueError: a tensor that does not fit, or is not contiguous.
        """
        self._require("means", means, self.n, 2)
        self._require("covariance", covariance, self.n, 3, dtype=torch.float64)
        self._require("colors", colors, self.n, self.channels)
        self._require("out", out, *self.size, self.channels)
        self._last = colors, out
        with on_device(self.device):
            self._bin(means, covariance)
            if self.blend == "sum":
                self._draw_sum(colors, out)
            else:
                self._draw_topk(colors, out)

    def _scene(self) -> tuple[tuple[Tensor, ...], tuple[int, ...], tuple[int, ...]]:
        """What all kernels that go through tiles are given: lists, table of parts, nodes."""
        lists = self._spans_x, self._spans_y, self._segments, self._list_ids, self._list_x, self._list_y
        table = self.n, self._part, self._parts
        return lists, table, (self._tiles_x, self._node_w, self._node_h, self._nodes_x, self._nodes)

    def _draw_sum(self, colors: Tensor, out: Tensor) -> None:
        lists, table, nodes = self._scene()
        grid, capped = (self._tiles_x * self._tiles_y, self.batch), "tile_cap_256" in self.compat
        if capped:
            limit_tiles[grid](self._limits, *lists, *table, *nodes, num_warps=1, **OPTIONS)
        arrays = out, self._records, colors, *lists, self._limits
        draw_sum[grid](
            *arrays,
            self._cut,
            *table,
            *self.size,
            *nodes,
            CHANNELS=self.channels,
            TILE_W=TILE_W,
            TILE_H=self._tile_h,
            CAPPED=capped,
            num_warps=self._warps,
            **OPTIONS,
        )

    def _draw_topk(self, colors: Tensor, out: Tensor) -> None:
        lists, table, nodes = self._scene()
        arrays = out, self._inverses, self._thresholds, self._lasts, self._records, colors, *lists
        draw_topk[(self._tiles_x * self._tiles_y, self.batch)](
            *arrays,
            self._cut,
            self.epsilon,
            *table,
            *self.size,
            *nodes,
            K=self.k,
            CHANNELS=self.channels,
            TILE_W=TILE_W,
            TILE_H=self._tile_h,
            num_warps=self._warps,
            **OPTIONS,
        )

    def _bin(self, means: Tensor, covariance: Tensor) -> None:
        total = self.n * self.batch
        reach = self._cut * 2 * math.log(2)  # d^T S^-1 d on the outline
        spans = self._spans_x, self._spans_y
        bins.prepare[(max(1, ceil_div(total, PREPARED)),)](
            means,
            covariance,
            self._records,
            *spans,
            self._counters,
            reach,
            total,
            *self.size,
            TILE_W=TILE_W,
            TILE_H=self._tile_h,
            PUBLISHED=bool(self.compat),
            BLOCK=PREPARED,
            num_warps=4,
            **OPTIONS,
        )
        bins.list_candidates[(self._nodes + 1, self._parts, self.batch)](
            *spans,
            self._counters,
            self._segments,
            self._list_ids,
            self._list_x,
            self._list_y,
            self._large,
            self._is_listed,
            self._capacity,
            self.n,
            self._part,
            self._node_w,
            self._node_h,
            self._nodes_x,
            self._nodes,
            LARGE=LARGE,
            SLOTS=self._slots,
            BLOCK=BLOCK,
            num_warps=4,
            **OPTIONS,
        )

    def backward(self, grad: Tensor, d_means: Tensor, d_covariance: Tensor, d_colors: Tensor) -> None:
        """Gradients of the last `forward`.

        Args:
            grad: [B, H, W, C] float32, dL/dpicture.
            d_means, d_covariance, d_colors: shaped and typed like the inputs, written: dL/dinput. Zeros for Gaussians
                that are not drawn; the gradient of Sxy is the true derivative.

        Raises:
            RuntimeError: no forward pass before.
            ValueError: a tensor that does not fit, or is not contiguous.
        """
        if self._last is None:
            raise RuntimeError("Workspace.backward: call forward first")
        self._require("grad", grad, *self.size, self.channels)
        self._require("d_means", d_means, self.n, 2)
        self._require("d_covariance", d_covariance, self.n, 3, dtype=torch.float64)
        self._require("d_colors", d_colors, self.n, self.channels)
        with on_device(self.device):
            self._walk(grad, (d_means, d_covariance, d_colors))

    def _walk(self, grad: Tensor, gradients: tuple[Tensor, Tensor, Tensor]) -> None:
        assert self._last is not None
        colors, image = self._last
        states = self._inverses, self._thresholds, self._lasts
        lists = self._spans_x, self._spans_y, self._counters, self._large, self._is_listed, self._limits
        walk.walk[(self._walkers,)](
            *gradients,
            self._partial,
            grad,
            image,
            *states,
            self._records,
            colors,
            *lists,
            self._cut,
            self.n,
            self.n * self.batch,
            *self.size,
            self._tiles_x,
            self._tiles_x * self._tiles_y,
            CHANNELS=self.channels,
            TILE_W=TILE_W,
            TILE_H=self._tile_h,
            TOPK=self.blend == "topk",
            CAPPED="tile_cap_256" in self.compat,
            ACROSS=walk.ACROSS,
            DOWN=walk.DOWN,
            num_warps=self._warps,
            **OPTIONS,
        )
        walk.finish[(min(self._walkers, len(self._large)),)](
            *gradients,
            self._partial,
            self._records,
            self._counters,
            self._large,
            CHANNELS=self.channels,
            PIECES=walk.PIECES,
            num_warps=1,
            **OPTIONS,
        )

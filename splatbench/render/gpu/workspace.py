"""`Workspace`: the buffers and launches that draw one shape of input, again and again."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from . import geometry, plan, walk
from .bins import list_candidates, prepare
from .launch import OPTIONS, ceil_div, on_device, require_device
from .plan import Plan
from .sum import draw_sum
from .tiles import limit_tiles
from .topk import draw_topk

#: Gaussians of one program of `prepare`.
_PREPARED = 128
#: Programs of `walk` per multiprocessor: some more than run at once, so that the last to finish are short.
_WALKERS = 64


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
        k: of "topk", 1 to 128; a constant of the compiled kernel.
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
        **topk: Any,
    ) -> None:
        height, width = size
        self.plan = Plan(n, (int(height), int(width)), channels, batch, blend, frozenset(compat), **topk)
        self.device = torch.device(device)
        self._allocate()
        # four pixels per lane; more would spill registers
        self._tile = {"TILE_W": plan.TILE_W, "TILE_H": self.plan.tile_h, "num_warps": self.plan.tile_h // plan.TILE_H}
        self._capped = "tile_cap_256" in self.plan.compat
        self._last: tuple[Tensor, Tensor] | None = None  # colours and picture of the last forward pass

    def _allocate(self) -> None:
        p = self.plan

        def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=self.device)

        self._records = empty(p.total, len(geometry.FIELDS), dtype=torch.float32)
        require_device(prepare, "device", self._records)
        self.device = self._records.device  # with its number
        self._spans_x, self._spans_y = empty(p.total), empty(p.total)
        self._counters = empty(2, dtype=torch.int64)
        self._segments = empty(p.batch, p.nodes, p.parts, 2)
        self._list_ids, self._list_x, self._list_y = (empty(p.capacity) for _ in range(3))
        self._large, self._is_listed = empty(p.listed), empty(p.total, dtype=torch.int8)
        self._partial = empty(p.listed, walk.MOMENTS.value + p.channels, walk.PIECES, dtype=torch.float32)
        self._limits = empty(p.batch, p.tiles_x * p.tiles_y) if "tile_cap_256" in p.compat else empty(1)
        state = (p.batch, *p.size) if p.blend == "topk" else (1,)
        self._inverses, self._thresholds = (empty(*state, dtype=torch.float32) for _ in range(2))
        self._lasts = empty(*state)
        if self.device.type == "cuda":
            multiprocessors = torch.cuda.get_device_properties(self.device).multi_processor_count
            self._walkers = min(p.total, multiprocessors * _WALKERS)
        else:
            self._walkers = 2  # interpreted one after the other

    def _require(self, name: str, value: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        shapes = [(self.plan.batch, *shape), shape] if self.plan.batch == 1 else [(self.plan.batch, *shape)]
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
        self._require("means", means, self.plan.n, 2)
        self._require("covariance", covariance, self.plan.n, 3, dtype=torch.float64)
        self._require("colors", colors, self.plan.n, self.plan.channels)
        self._require("out", out, *self.plan.size, self.plan.channels)
        self._last = colors, out.detach()  # the picture itself may come to own this workspace
        with on_device(self.device):
            self._bin(means, covariance)
            self._draw(colors, out)

    def _bin(self, means: Tensor, covariance: Tensor) -> None:
        p, spans = self.plan, (self._spans_x, self._spans_y)
        total = p.n * p.batch
        reach = p.cut * 2 * math.log(2)  # d^T S^-1 d on the outline
        arrays = means, covariance, self._records, *spans, self._counters
        constants = {"PUBLISHED": bool(p.compat), "BLOCK": _PREPARED} | self._tile | {"num_warps": 4}
        prepare[(ceil_div(p.total, _PREPARED),)](*arrays, reach, total, *p.size, **constants, **OPTIONS)
        lists = self._segments, self._list_ids, self._list_x, self._list_y, self._large, self._is_listed
        numbers = p.capacity, p.n, p.part, p.node_w, p.node_h, p.nodes_x, p.nodes
        constants = {"LARGE": plan.LARGE, "SLOTS": p.slots, "BLOCK": plan.BLOCK, "num_warps": 4}
        grid = p.nodes + 1, p.parts, p.batch
        list_candidates[grid](*spans, self._counters, *lists, *numbers, **constants, **OPTIONS)

    def _draw(self, colors: Tensor, out: Tensor) -> None:
        p = self.plan
        grid = p.tiles_x * p.tiles_y, p.batch
        lists = self._spans_x, self._spans_y, self._segments, self._list_ids, self._list_x, self._list_y
        parts, nodes = (p.n, p.part, p.parts), (p.tiles_x, p.node_w, p.node_h, p.nodes_x, p.nodes)
        constants = {"CHANNELS": p.channels} | self._tile | OPTIONS
        if p.blend == "topk":
            states = self._inverses, self._thresholds, self._lasts
            arrays = out, *states, self._records, colors, *lists
            draw_topk[grid](*arrays, p.cut, p.epsilon, *parts, *p.size, *nodes, K=p.k, **constants)
            return
        if self._capped:
            limit_tiles[grid](self._limits, *lists, *parts, *nodes, num_warps=1, **OPTIONS)
        images = out, self._records, colors, *lists, self._limits
        draw_sum[grid](*images, p.cut, *parts, *p.size, *nodes, CAPPED=self._capped, **constants)

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
        self._require("grad", grad, *self.plan.size, self.plan.channels)
        self._require("d_means", d_means, self.plan.n, 2)
        self._require("d_covariance", d_covariance, self.plan.n, 3, dtype=torch.float64)
        self._require("d_colors", d_colors, self.plan.n, self.plan.channels)
        with on_device(self.device):
            self._walk(grad, (d_means, d_covariance, d_colors), *self._last)

    def _walk(self, grad: Tensor, gradients: tuple[Tensor, Tensor, Tensor], colors: Tensor, image: Tensor) -> None:
        p = self.plan
        states = self._inverses, self._thresholds, self._lasts
        scene = self._records, colors, self._spans_x, self._spans_y
        lists = self._counters, self._large, self._is_listed, self._limits
        arrays = *gradients, self._partial, grad, image, *states, *scene, *lists
        numbers = p.cut, p.n, p.n * p.batch, *p.size, p.tiles_x, p.tiles_x * p.tiles_y
        constants = {"CHANNELS": p.channels, "TOPK": p.blend == "topk", "CAPPED": self._capped} | self._tile
        pieces = {"ACROSS": walk.ACROSS, "DOWN": walk.DOWN}
        walk.walk[(self._walkers,)](*arrays, *numbers, **constants, **pieces, **OPTIONS)
        parts = *gradients, self._partial, self._records, self._counters, self._large
        constants = {"CHANNELS": p.channels, "PIECES": walk.PIECES, "num_warps": 1}
        walk.finish[(min(self._walkers, p.listed),)](*parts, **constants, **OPTIONS)

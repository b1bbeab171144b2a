"""`TopkRasterizer`: blend `topk` on the CPU, forward and backward, on numpy arrays."""

from __future__ import annotations

import math

import numpy as np

from splatbench.gaussians import TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE

from . import cpu_bins, cpu_plan, cpu_topk_cells, cpu_topk_draw, cpu_topk_grad
from .cpu_tiles import Gradients, TileRasterizer, plain, require
from .published import tile_clip
from .threads import run_shared

#: Indices are compared as float32, which holds whole numbers up to here.
MOST_GAUSSIANS = 1 << 24
#: Responses below 2^-125 are not seen: a float32 has no more exponents.
_LEAST_RESPONSE = 2.0**-125
_LEAST_EPSILON = 1e-30  # its inverse is still a float32


class TopkRasterizer(TileRasterizer):
    """image[y, x] = sum of a_n colour_n / (S + epsilon) over the k Gaussians with the largest responses
    a_n = exp(-1/2 d^T S_n^-1 d) >= min_response at this pixel, S = sum of a_n; and its gradients.

    Of equal responses the lower index is chosen; the choice is not differentiated. float32 arithmetic from whitened
    coordinates that are formed in float64. Gaussians whose covariance is singular, or whose mean or covariance is NaN
    or infinite, are not seen and get zero gradients. The same input gives the same bits for any number of threads.
    Workspaces are kept between calls; one instance serves one picture at a time.

    Args:
        threads: at most this many (default: all that are allowed, see `thread_count`).
    """

    def take(
        self,
        means: np.ndarray,
        covariances: np.ndarray,
        colors: np.ndarray,
        size: tuple[int, int],
        *,
        k: int = TOP_K,
        epsilon: float = TOPK_EPSILON,
        min_response: float = TOPK_MIN_RESPONSE,
        compat: frozenset[str] = frozenset(),
        rows_kept: int | None = None,
    ) -> None:
        """Takes Gaussians for `draw_rows` and `backward_rows`.

        Args:
            means: [N, 2] float32, (x, y) in pixels; the centre of the first pixel is at (0.5, 0.5).
            covariances: [N, 3] float64 (Sxx, Sxy, Syy).
            colors: [N, C >= 1] float32.
            size: (H, W).
            k: at least 1.
            epsilon: at least 1e-30.
            min_response: in (0, 1]; values below 2^-125 act as this.
            compat: empty, or {"tiles_3sigma"}: a Gaussian is seen in all pixels of the tiles of 16 x 16 that the square
                of half side ceil(3 sqrt(largest eigenvalue)) around its mean touches, and nowhere else; min_response is
                then ignored.
            rows_kept: `backward_rows` is asked for within so many rows of those drawn last (default: the whole picture;
                0: never). Takes 4 (3 + C) bytes per pixel of these rows, C rounded up to threes.

        Raises:
            ValueError: values outside these ranges, or arrays that do not fit together.
        """
        check_rule(k, epsilon, min_response, compat)
        if len(means) > MOST_GAUSSIANS:
            raise ValueError(f"means: at most {MOST_GAUSSIANS} Gaussians can be ranked, got {len(means)}")
        if colors.ndim != 2 or colors.shape[1] < 1:
            raise ValueError(f"colors: expected shape ({len(means)}, C >= 1), got {colors.shape}")
        height, width = size
        self._channels = colors.shape[1]
        self._colors = plain(colors, np.float32)
        if self._channels % 3:
            self._colors = np.pad(self._colors, ((0, 0), (0, -self._channels % 3)))
        clip = None
        if compat:
            clip, min_response = tile_clip(means, covariances, height, width, self.threads), _LEAST_RESPONSE
        cut = -math.log2(max(min_response, _LEAST_RESPONSE)) / 8
        self.begin(means, covariances, self._colors[:, :3], height, width, clip=clip, form="covariance", cut=cut)
        self._rule = np.float32(cut), k, np.float32(epsilon)
        tiles_x, tiles_y = -(-width // cpu_bins.TILE_W), -(-height // cpu_bins.TILE_H)
        ring = tiles_y if rows_kept is None else min(tiles_y, -(-rows_kept // cpu_bins.TILE_H))
        self._slots = np.arange(tiles_y) % ring * tiles_x if ring else np.full(tiles_y, -1)
        self._held = np.full(max(1, ring), -1)  # the row of tiles whose states are in a place of the ring
        floats = cpu_topk_cells.STRIPS * cpu_topk_draw.state_floats(self._channels)[1]
        self._states = self.buffer("states", (max(ring * tiles_x, self.threads), floats), np.float32)

    def draw_rows(self, row0: int = 0, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Rows row0 .. row1 - 1 of the picture (default: all).

        Args:
            row0, row1: multiples of 256, or the end of the picture.
            out: [row1 - row0, width, C] float32, written and returned; made if None.
        """
        scene = self.scene
        row1 = scene.height if row1 is None else row1
        start, first = self.window(row0, row1)
        shape = row1 - row0, scene.width, self._channels
        out = np.empty(shape, np.float32) if out is None else out
        require("out", out, shape, np.float32)
        rows = np.arange(first, -(-row1 // cpu_bins.TILE_H))
        ring = len(self._held)
        if self._slots[0] >= 0:
            if len(rows) > ring:
                raise ValueError(f"rows {row0} to {row1} are more than the rows that are kept for gradients")
            self._held[rows % ring] = rows
        cut, k, epsilon = self._rule
        place = scene.records, scene.order, start, first, scene.centre, cut, k, epsilon, self._colors
        arrays = self._draw_scratch(start, k), (self._states, self._slots), out
        run_shared(self.threads, len(start) - 1, cpu_topk_draw.draw, *place, *arrays)
        return out

    def _draw_scratch(self, start: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
        """Of every thread: items, distances, their Gaussians, and the scratch of plans with the k + 1 best."""
        most = int(np.diff(start).max(initial=0))  # Gaussians of a tile
        room = max(cpu_topk_cells.ROOM, most) + 2 * cpu_bins.TILE_H
        return (
            self.buffer("items", (self.threads, cpu_topk_cells.STRIPS * most), cpu_topk_cells.ITEM),
            self.buffer("distances", (self.threads, 16 * room), np.float32),
            self.buffer("who", (self.threads, room), np.int32),
            *self._plan_scratch(16 * (k + 1)),
        )

    def _plan_scratch(self, more: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        floats = cpu_plan.PLAN_FLOATS + cpu_plan.LANE_FLOATS + more
        return (
            self.buffer("floats", (self.threads, floats), np.float32),
            self.buffer("ints", (self.threads, cpu_plan.PLAN_INTS), np.int32),
            self.buffer("doubles", (self.threads, cpu_plan.LANE_DOUBLES), np.float64),
        )

    def backward_rows(self, row0: int, grad: np.ndarray, out: Gradients) -> None:
        """Adds to `out` the gradients that come from rows row0 ... of the picture, which have been drawn.

        Args:
            row0: a multiple of 256.
            grad: [h, width, C] float32, dL/dpicture of these rows; h a multiple of 256, or to the end of the picture.
            out: arrays like those of `zero_gradients`.

        Raises:
            RuntimeError: rows that were not drawn, or are kept no more.
        """
        scene = self.scene
        start, first = self.window(row0, row0 + len(grad))
        if grad.shape[1:] != (scene.width, self._channels):
            raise ValueError(f"grad: expected shape {(len(grad), scene.width, self._channels)}, got {grad.shape}")
        self.require_gradients(out)
        rows = np.arange(first, -(-(row0 + len(grad)) // cpu_bins.TILE_H))
        if (self._held[rows % len(self._held)] != rows).any():
            raise RuntimeError(f"rows {row0} to {row0 + len(grad)}: gradients need them drawn before, and kept")
        means, shapes, colors = out
        place = scene.records, scene.order, start, first, scene.centre, scene.conic, self._rule[0], self._colors
        for channel in range(0, self._channels, 3):
            part = colors if self._channels == 3 else np.zeros((len(colors), 3), np.float32)
            arrays = plain(grad, np.float32), (self._states, self._slots), self._grad_scratch(start)
            board = self.threads + len(start)
            run_shared(self.threads, board, cpu_topk_grad.collect, *place, channel, *arrays, (means, shapes, part))
            if part is not colors:
                colors[:, channel : channel + 3] += part[:, : self._channels - channel]

    def _grad_scratch(self, start: np.ndarray) -> tuple[np.ndarray, ...]:
        entries = int(start[-1] - start[0])
        return (
            *self._plan_scratch(16),
            self.buffer("moments", (self.threads, cpu_topk_grad.SUMS, 16), np.float64),
            self.buffer("cells", (self.threads, cpu_topk_grad.CELL_FLOATS), np.float32),
            self.buffer("waiting", (len(start) - 1,), np.int64),
            self.buffer("waiting_ids", (entries,), np.int32),
            self.buffer("waiting_sums", (entries, cpu_topk_grad.SUMS), np.float64),
        )

    def zero_gradients(self) -> Gradients:
        """Arrays for `backward_rows` to add to: means [N, 2] float32, covariances [N, 3] float64, colours [N, C]."""
        n = len(self.scene.records)
        return np.zeros((n, 2), np.float32), np.zeros((n, 3)), np.zeros((n, self._channels), np.float32)

    def require_gradients(self, out: Gradients) -> None:
        kinds = (2, np.float32), (3, np.float64), (self._channels, np.float32)
        for array, (columns, kind) in zip(out, kinds, strict=True):
            require("out", array, (len(self.scene.records), columns), kind)


def check_rule(k: int, epsilon: float, min_response: float, compat: frozenset[str]) -> None:
    """Raises ValueError unless these are values that `TopkRasterizer.take` names."""
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    if not _LEAST_EPSILON <= epsilon < math.inf:
        raise ValueError(f"epsilon: expected a number of at least {_LEAST_EPSILON}, got {epsilon}")
    if not 0 < min_response <= 1:
        raise ValueError(f"min_response: expected a number in (0, 1], got {min_response}")
    if not compat <= {"tiles_3sigma"}:
        raise ValueError(f"compat: blend 'topk' knows only 'tiles_3sigma', got {sorted(compat)}")

"""`SumRasterizer`: blend `sum` on the CPU, forward and backward, on numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from . import cpu_bins, cpu_plan, cpu_sum
from .threads import run_shared, thread_count

Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]
_NO_CLIP = np.zeros((0, 4), np.int32)


class _Scene(NamedTuple):
    """What `begin` leaves for drawing and for gradients."""

    records: np.ndarray
    order: np.ndarray
    start: np.ndarray
    centre: float
    conic: bool
    dtype: Any
    height: int
    width: int


def _plain(value: np.ndarray, dtype: Any) -> np.ndarray:
    """The same values, contiguous and writeable: kernels are compiled for this kind of array alone."""
    return np.require(value, dtype, ["C", "W"])


def _require(name: str, value: np.ndarray, shape: tuple[int, ...], dtype: Any) -> None:
    """Kernels do not check bounds: refuses an array that they would write or read beyond."""
    if value.shape != shape or value.dtype != dtype or not value.flags.c_contiguous:
        raise ValueError(f"{name}: expected contiguous {np.dtype(dtype)} {shape}, got {value.dtype} {value.shape}")


class SumRasterizer:
    """image[y, x] = sum over n of w_n(x, y) colour_n, w = exp(-1/2 d^T S^-1 d), where w >= 1/255; and its gradients.

    Three channels; float32 arithmetic from whitened coordinates that are formed in float64. Gaussians whose covariance
    is singular, or whose mean or covariance is NaN or infinite, are not seen and get zero gradients. A colour that is
    not finite makes the pixels around it not finite. The same input gives the same bits for any number of threads.
    Workspaces are kept between calls; one instance serves one picture at a time.

    Args:
        threads: at most this many (default: all that are allowed, see `thread_count`).
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = thread_count(threads)
        self._buffers: dict[str, np.ndarray] = {}
        self._begun: _Scene | None = None

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Uninitialised memory of at least this many elements, kept under a name, aligned to cache lines."""
        size = int(np.prod(shape))
        flat = self._buffers.get(name)
        if flat is None or flat.size < size:
            item = np.dtype(dtype).itemsize
            raw = np.empty((size + size // 4) * item + 64, np.uint8)
            skip = -raw.ctypes.data % 64
            flat = self._buffers[name] = raw[skip : skip + (size + size // 4) * item].view(dtype)
        return flat[:size].reshape(shape)

    def forward(
        self,
        means: np.ndarray,
        shapes: np.ndarray,
        colors: np.ndarray,
        height: int,
        width: int,
        out: np.ndarray | None = None,
        centre: float = 0.5,
        clip: np.ndarray | None = None,
        form: str = "conic",
    ) -> np.ndarray:
        """Draws a picture.

        Args:
            means: [N, 2] float32, (x, y) in pixels.
            shapes: [N, 3] float64 or float32: inverse covariances (A, B, C) or covariances (Sxx, Sxy, Syy).
            colors: [N, 3] float32.
            out: [height, width, 3] float32, written and returned; made if None.
            centre: coordinate of the centre of pixel 0.
            clip: [N, 4] int32 (x0, x1, y0, y1), x1 and y1 exclusive: pixels that each Gaussian may touch. Columns must
                be multiples of 8 and rows of 2, or the border of the picture.
            form: "conic" or "covariance": what `shapes` holds.

        Returns:
            [height, width, 3] float32, not clamped.
        """
        self.begin(means, shapes, colors, height, width, centre, clip, form)
        return self.draw_rows(0, out=out)

    def strips(
        self,
        means: np.ndarray,
        shapes: np.ndarray,
        colors: np.ndarray,
        height: int,
        width: int,
        rows: int = 256,
        centre: float = 0.5,
        clip: np.ndarray | None = None,
        form: str = "conic",
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, [h, width, 3]) from top to bottom; `rows` is rounded up to whole tiles. Bits as of `forward`."""
        self.begin(means, shapes, colors, height, width, centre, clip, form)
        step = max(1, -(-rows // cpu_bins.TILE_H)) * cpu_bins.TILE_H
        for row0 in range(0, height, step):
            yield row0, self.draw_rows(row0, min(row0 + step, height))

    def begin(
        self,
        means: np.ndarray,
        shapes: np.ndarray,
        colors: np.ndarray,
        height: int,
        width: int,
        centre: float = 0.5,
        clip: np.ndarray | None = None,
        form: str = "conic",
    ) -> None:
        """Takes Gaussians for `draw_rows` and `backward_rows`; arguments as for `forward`."""
        n = len(means)
        for name, value, columns in (("means", means, 2), ("shapes", shapes, 3), ("colors", colors, 3)):
            if value.shape != (n, columns):
                raise ValueError(f"{name}: expected shape {(n, columns)}, got {value.shape}")
        if shapes.dtype not in (np.float32, np.float64):
            raise ValueError(f"shapes: expected float64 or float32, got {shapes.dtype}")
        if form not in ("conic", "covariance"):
            raise ValueError(f"form: expected 'conic' or 'covariance', got {form!r}")
        if height < 1 or width < 1:
            raise ValueError(f"size: expected at least 1 x 1, got {height} x {width}")
        if clip is not None:
            _require("clip", clip, (n, 4), np.int32)
        self._begun = None
        tiles_x, tiles_y = -(-width // cpu_bins.TILE_W), -(-height // cpu_bins.TILE_H)
        records, keys = self._buffer("records", (n,), cpu_bins.RECORD), self._buffer("keys", (n,), np.int32)
        bins = self._buffer("bins", (self.threads, tiles_x * tiles_y * cpu_bins.BANDS), np.int32)
        order = self._buffer("order", (n + n // 2,), np.int32)
        start = self._buffer("start", (tiles_x * tiles_y + 1,), np.int64)
        lanes = self._buffer("lanes", (self.threads, 8, 16), np.float64)
        boxes = self._buffer("boxes", (self.threads, 5, 16), np.int32)
        arrays = _plain(means, np.float32), _plain(shapes, shapes.dtype), _plain(colors, np.float32)
        picture = height, width, float(centre), _NO_CLIP if clip is None else clip, cpu_bins.CUT
        lists = records, keys, bins, order, start, lanes, boxes
        board = 4 + 2 * self.threads
        run_shared(self.threads, board, cpu_bins.bin_all, *lists, *arrays, form == "conic", *picture)
        if start[-1] > len(order):
            order = self._buffer("order", (int(start[-1]),), np.int32)
            run_shared(self.threads, 1 + self.threads, cpu_bins.fill, records, keys, bins, width, order)
        self._begun = _Scene(records, order, start, float(centre), form == "conic", shapes.dtype, height, width)

    @property
    def _scene(self) -> _Scene:
        if self._begun is None:
            raise RuntimeError("rows and gradients need a `begin` or `forward` before them")
        return self._begun

    def _window(self, row0: int, row1: int) -> tuple[np.ndarray, int]:
        """(offsets of the tiles of rows row0 .. row1 - 1 and the end, first row of tiles)."""
        _, _, start, _, _, _, height, width = self._scene
        if not 0 <= row0 < row1 <= height or row0 % cpu_bins.TILE_H or (row1 % cpu_bins.TILE_H and row1 < height):
            raise ValueError(f"rows {row0} to {row1}: expected multiples of {cpu_bins.TILE_H}, or the end {height}")
        tiles_x, first = -(-width // cpu_bins.TILE_W), row0 // cpu_bins.TILE_H
        return start[first * tiles_x : -(-row1 // cpu_bins.TILE_H) * tiles_x + 1], first

    def draw_rows(self, row0: int, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Rows row0 .. row1 - 1 of the picture (default: to its end).

        Args:
            row0, row1: multiples of 256, or the end of the picture.
            out: [row1 - row0, width, 3] float32, written and returned; made if None.
        """
        scene = self._scene
        row1 = scene.height if row1 is None else row1
        start, first = self._window(row0, row1)
        shape = row1 - row0, scene.width, 3
        out = np.empty(shape, np.float32) if out is None else out
        _require("out", out, shape, np.float32)
        place = scene.records, scene.order, start, first, scene.centre
        run_shared(self.threads, len(start) - 1, cpu_sum.draw, *place, *self._scratch(), out)
        return out

    def _scratch(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pitch = -(-cpu_sum.WORK_FLOATS // 16) * 16
        return (
            self._buffer("work", (self.threads, pitch), np.float32),
            self._buffer("ints", (self.threads, cpu_plan.PLAN_INTS), np.int32),
            self._buffer("doubles", (self.threads, cpu_sum.DOUBLES), np.float64),
        )

    def backward(self, grad: np.ndarray, out: Gradients | None = None) -> Gradients:
        """Gradients of the last `forward`.

        Args:
            grad: [height, width, 3] float32, dL/dimage.
            out: arrays to write to, shaped and typed like the result.

        Returns:
            (means [N, 2] float32, shapes [N, 3] in the type of the shapes, colours [N, 3] float32). The off-diagonal
            element of a shape is one parameter: its gradient is the true derivative.
        """
        if out is None:
            out = self.zero_gradients()
        else:
            self._require_gradients(out)
            for array in out:
                array.fill(0)
        self.backward_rows(0, grad, out)
        return out

    def zero_gradients(self) -> Gradients:
        """Arrays for `backward_rows` to add to."""
        n, dtype = len(self._scene.records), self._scene.dtype
        return np.zeros((n, 2), np.float32), np.zeros((n, 3), dtype), np.zeros((n, 3), np.float32)

    def _require_gradients(self, out: Gradients) -> None:
        for array, columns, kind in zip(out, (2, 3, 3), (np.float32, self._scene.dtype, np.float32), strict=True):
            _require("out", array, (len(self._scene.records), columns), kind)

    def backward_rows(self, row0: int, grad: np.ndarray, out: Gradients) -> None:
        """Adds to `out` the gradients that come from rows row0 ... of the picture of the last `begin` or `forward`.

        Args:
            row0: a multiple of 256.
            grad: [h, width, 3] float32, dL/dpicture of these rows; h a multiple of 256, or to the end of the picture.
            out: arrays like those of `zero_gradients`.
        """
        scene = self._scene
        start, first = self._window(row0, row0 + len(grad))
        if grad.shape[1:] != (scene.width, 3):
            raise ValueError(f"grad: expected shape {(len(grad), scene.width, 3)}, got {grad.shape}")
        self._require_gradients(out)
        room = -(-scene.width // 8) * ((len(grad) + 1) // 2 * cpu_plan.CELL + 16)
        cells = self._buffer("cells", (room,), np.float32)
        place = scene.records, scene.order, start, first, scene.centre, scene.conic
        board = 4 * self.threads + len(start)
        arrays = _plain(grad, np.float32), cells, *self._scratch(), out
        run_shared(self.threads, board, cpu_sum.collect, *place, *arrays)

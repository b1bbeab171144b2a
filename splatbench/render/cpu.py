"""`SumRasterizer`: blend `sum` on the CPU, forward and backward, on numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import cpu_bins, cpu_plan, cpu_sum
from .threads import run, thread_count

Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]
_NO_CLIP = np.zeros((0, 4), np.int32)


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
        self._saved: tuple[Any, ...] | None = None

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
        tiles_y = -(-height // cpu_bins.TILE_H)
        self._prepare(means, shapes, colors, height, width, centre, clip, form)
        out = np.empty((height, width, 3), np.float32) if out is None else out
        _require("out", out, (height, width, 3), np.float32)
        self._saved = (*self._draw(out, 0, tiles_y, centre), centre, form == "conic", shapes.dtype, height, width)
        return out

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
        self._prepare(means, shapes, colors, height, width, centre, clip, form)
        step = max(1, -(-rows // cpu_bins.TILE_H))
        for first in range(0, -(-height // cpu_bins.TILE_H), step):
            row0 = first * cpu_bins.TILE_H
            strip = np.empty((min(height - row0, step * cpu_bins.TILE_H), width, 3), np.float32)
            self._draw(strip, first, first + -(-strip.shape[0] // cpu_bins.TILE_H), centre)
            yield row0, strip

    def _prepare(
        self, means: Any, shapes: Any, colors: Any, height: int, width: int, centre: float, clip: Any, form: str
    ) -> None:
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
        arrays = _plain(means, np.float32), _plain(shapes, shapes.dtype), _plain(colors, np.float32)
        box = form == "conic", height, width, float(centre)
        self._saved = None
        self._records = self._buffer("records", (n,), cpu_bins.RECORD)
        run(
            self.threads,
            cpu_bins.prepare,
            self._records,
            *arrays,
            *box,
            _NO_CLIP if clip is None else clip,
            cpu_bins.CUT,
        )

    def _draw(
        self, out: np.ndarray, row_first: int, row_last: int, centre: float
    ) -> tuple[np.ndarray, np.ndarray, int]:
        tiles_x = -(-out.shape[1] // cpu_bins.TILE_W)
        tiles = tiles_x * (row_last - row_first)
        bins = self._buffer("bins", (self.threads, tiles * cpu_bins.BANDS), np.int32)
        start = self._buffer("start", (tiles + 1,), np.int64)
        part = self._records, tiles_x, row_first, row_last, bins
        run(self.threads, cpu_bins.count, *part)
        order = self._buffer("order", (cpu_bins.offsets(bins, start),), np.int32)
        run(self.threads, cpu_bins.fill, *part, order)
        place = tiles_x, row_first, float(centre)
        run(self.threads, cpu_sum.draw, self._records, order, start, *place, *self._scratch(), out)
        return order, start, tiles_x

    def _scratch(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pitch = -(-cpu_sum.WORK_FLOATS // 16) * 16
        return (
            self._buffer("work", (self.threads, pitch), np.float32),
            self._buffer("ints", (self.threads, cpu_plan.PLAN_INTS), np.int32),
            self._buffer("doubles", (self.threads, cpu_plan.LANE_DOUBLES), np.float64),
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
        if self._saved is None:
            raise RuntimeError("backward needs a forward before it")
        order, start, tiles_x, centre, conic, dtype, height, width = self._saved
        if grad.shape != (height, width, 3):
            raise ValueError(f"grad: expected shape {(height, width, 3)}, got {grad.shape}")
        n = len(self._records)
        if out is None:
            out = np.zeros((n, 2), np.float32), np.zeros((n, 3), dtype), np.zeros((n, 3), np.float32)
        else:
            for array, columns, kind in zip(out, (2, 3, 3), (np.float32, dtype, np.float32), strict=True):
                _require("out", array, (n, columns), kind)
                array.fill(0)
        cells = self._buffer("cells", (-(-width // 8) * ((height + 1) // 2 * cpu_plan.CELL + 16),), np.float32)
        run(self.threads, cpu_sum.read_gradient, _plain(grad, np.float32), cells)
        place = tiles_x, float(centre), conic, height
        run(self.threads, cpu_sum.collect, self._records, order, start, *place, cells, *self._scratch(), out)
        return out

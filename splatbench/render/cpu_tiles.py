"""`TileRasterizer`: from Gaussians to the lists of tiles, for any blend on the CPU; workspaces; windows of rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import cpu_bins
from .threads import run_shared, thread_count

Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]
_MOST_ENTRIES = (1 << 31) - 1  # places are int32
_NO_CLIP = np.zeros((0, 4), np.int32)


class Scene(NamedTuple):
    """What `begin` leaves for drawing and for gradients."""

    records: np.ndarray
    order: np.ndarray
    start: np.ndarray
    centre: float
    conic: bool
    dtype: Any
    height: int
    width: int


def plain(value: np.ndarray, dtype: Any) -> np.ndarray:
    """The same values, contiguous and writeable: kernels are compiled for this kind of array alone."""
    return np.require(value, dtype, ["C", "W"])


def require(name: str, value: np.ndarray, shape: tuple[int, ...], dtype: Any) -> None:
    """Kernels do not check bounds: refuses an array that they would write or read beyond."""
    if value.shape != shape or value.dtype != dtype or not value.flags.c_contiguous:
        raise ValueError(f"{name}: expected contiguous {np.dtype(dtype)} {shape}, got {value.dtype} {value.shape}")


class TileRasterizer:
    """What the rasterizers of all blends share. Workspaces are kept between calls.

    Args:
        threads: at most this many (default: all that are allowed, see `thread_count`).
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = thread_count(threads)
        self._buffers: dict[str, np.ndarray] = {}
        self._begun: Scene | None = None

    def buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Uninitialised memory of at least this many elements, kept under a name, aligned to cache lines."""
        size = int(np.prod(shape))
        flat = self._buffers.get(name)
        if flat is None or flat.size < size:
            item = np.dtype(dtype).itemsize
            raw = np.empty((size + size // 4) * item + 64, np.uint8)
            skip = -raw.ctypes.data % 64
            flat = self._buffers[name] = raw[skip : skip + (size + size // 4) * item].view(dtype)
        return flat[:size].reshape(shape)

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
        cut: float = cpu_bins.CUT,
    ) -> None:
        """Takes Gaussians for `draw_rows` and `backward_rows`.

        Args:
            means: [N, 2] float32, (x, y) in pixels.
            shapes: [N, 3] float64 or float32: inverse covariances (A, B, C) or covariances (Sxx, Sxy, Syy).
            colors: [N, 3] float32.
            height, width: of the picture.
            centre: coordinate of the centre of pixel 0.
            clip: [N, 4] int32 (x0, x1, y0, y1), x1 and y1 exclusive: pixels that each Gaussian may touch. Columns must
                be multiples of 8 and rows of 2, or the border of the picture.
            form: "conic" or "covariance": what `shapes` holds.
            cut: a Gaussian is seen where its response is at least 2^(-8 cut).
        """
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
            require("clip", clip, (n, 4), np.int32)
        self._begun = None
        tiles_x, tiles_y = -(-width // cpu_bins.TILE_W), -(-height // cpu_bins.TILE_H)
        records, keys = self.buffer("records", (n,), cpu_bins.RECORD), self.buffer("keys", (n,), np.int32)
        bins = self.buffer("bins", (self.threads, tiles_x * tiles_y * cpu_bins.BANDS), np.int32)
        order = self.buffer("order", (n + n // 2,), np.int32)
        start = self.buffer("start", (tiles_x * tiles_y + 1,), np.int64)
        lanes = self.buffer("lanes", (self.threads, 8, 16), np.float64)
        boxes = self.buffer("boxes", (self.threads, 5, 16), np.int32)
        arrays = plain(means, np.float32), plain(shapes, shapes.dtype), plain(colors, np.float32)
        picture = height, width, float(centre), _NO_CLIP if clip is None else clip, cut
        lists = records, keys, bins, order, start, lanes, boxes
        board = 4 + 2 * self.threads
        run_shared(self.threads, board, cpu_bins.bin_all, *lists, *arrays, form == "conic", *picture)
        if start[-1] > _MOST_ENTRIES:
            raise ValueError(
                f"{n} Gaussians touch {int(start[-1])} tiles of the picture in all, more than {_MOST_ENTRIES}: nearly "
                "all of them cover nearly all of it, as in a fit that diverges; limit their scales"
            )
        if start[-1] > len(order):
            order = self.buffer("order", (int(start[-1]),), np.int32)
            run_shared(self.threads, 1 + self.threads, cpu_bins.fill, records, keys, bins, width, order)
        self._begun = Scene(records, order, start, float(centre), form == "conic", shapes.dtype, height, width)

    @property
    def scene(self) -> Scene:
        """What the last `begin` left."""
        if self._begun is None:
            raise RuntimeError("rows and gradients need a `begin` or `forward` before them")
        return self._begun

    def window(self, row0: int, row1: int) -> tuple[np.ndarray, int]:
        """(offsets of the tiles of rows row0 .. row1 - 1 and the end, first row of tiles)."""
        _, _, start, _, _, _, height, width = self.scene
        if not 0 <= row0 < row1 <= height or row0 % cpu_bins.TILE_H or (row1 % cpu_bins.TILE_H and row1 < height):
            raise ValueError(f"rows {row0} to {row1}: expected multiples of {cpu_bins.TILE_H}, or the end {height}")
        tiles_x, first = -(-width // cpu_bins.TILE_W), row0 // cpu_bins.TILE_H
        return start[first * tiles_x : -(-row1 // cpu_bins.TILE_H) * tiles_x + 1], first

    def zero_gradients(self) -> Gradients:
        """Arrays for `backward_rows` to add to."""
        n, dtype = len(self.scene.records), self.scene.dtype
        return np.zeros((n, 2), np.float32), np.zeros((n, 3), dtype), np.zeros((n, 3), np.float32)

    def require_gradients(self, out: Gradients) -> None:
        """Refuses arrays that are not like those of `zero_gradients`."""
        for array, columns, kind in zip(out, (2, 3, 3), (np.float32, self.scene.dtype, np.float32), strict=True):
            require("out", array, (len(self.scene.records), columns), kind)

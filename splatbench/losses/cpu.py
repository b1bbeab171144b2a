"""`CpuLoss`: an objective against one image on numpy arrays, whole pictures or rows of them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from splatbench.render.stream import HALO
from splatbench.render.threads import run, thread_count

from . import cpu_pixels, cpu_ssim

if TYPE_CHECKING:
    from .objective import Objective

_NO_BYTES, _NO_FLOATS = np.zeros(0, np.uint8), np.zeros(0, np.float32)


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Uninitialised float32 that begins with a cache line."""
    size = int(np.prod(shape))
    raw = np.empty(size + 16, np.float32)
    skip = -raw.ctypes.data % 64 // 4
    return raw[skip : skip + size].reshape(shape)


class CpuLoss:
    """See `TargetLoss`, which checks the target. The same bits come out for any number of threads."""

    def __init__(self, objective: Objective, target: np.ndarray) -> None:
        self.objective, self.target = objective, target
        height, width, channels = target.shape
        self._layout = cpu_ssim.layout(height, width, channels, objective.window == "valid")
        self._spare: list[np.ndarray] = []

    def gradient(self) -> np.ndarray:
        """Memory for the picture's gradient, that of an earlier one if nobody holds it any more: fresh memory costs a
        page fault every 4 KB, up to half of the time of the sweep itself."""
        memory = self._spare.pop() if self._spare else _aligned(self.target.shape)
        view = memory[:]
        weakref.finalize(view, self._spare.append, memory).atexit = False
        return view

    def rows(self, window: np.ndarray, window_row0: int, row0: int, row1: int, grad: np.ndarray) -> np.ndarray:
        """See `TargetLoss.rows`."""
        self._check(window, window_row0, row0, row1, grad)
        threads, o = thread_count(), self.objective
        weights = np.array([o.l1 / self._values(), 2 * o.l2 / self._values(), o.ssim / self._map_values()], np.float32)
        x, out = np.require(window, None, ["C", "W"]), grad.reshape(-1)
        if not o.ssim:
            x = x[row0 - window_row0 : row1 - window_row0].reshape(-1)
            sums = np.empty((2, -(-len(x) // cpu_pixels.BLOCK)))
            edges = _aligned((threads, 32))
            run(threads, cpu_pixels.compare, x, *self._target(row0, row1), o.clamp, weights, out, sums, edges)
            return np.array([*sums.sum(1), 0.0])
        top = max(0, row0 - HALO)
        sums = np.empty((3, row1 - row0, self._layout.blocks))
        run(
            threads, cpu_ssim.sweep, self._layout, row0, row1, x.reshape(-1), window_row0,
            *self._target(top, row1 + HALO), top, o.clamp, weights, out, self._scratch(threads), sums,
        )  # fmt: skip
        return sums.sum((1, 2))

    def value(self, total: np.ndarray) -> float:
        """See `TargetLoss.value`."""
        o, n = self.objective, self._values()
        parts = zip((o.l1 / n, o.l2 / n, o.ssim / self._map_values()), total, strict=True)
        return float(sum(weight * part for weight, part in parts if weight))

    def _values(self) -> int:
        return self.target.size

    def _map_values(self) -> int:
        lay = self._layout
        return max(1, (lay.right - lay.left) * (lay.bottom - lay.top))

    def _scratch(self, threads: int) -> np.ndarray:
        return _aligned((threads, cpu_ssim.scratch_floats(self._layout)))

    def _target(self, row0: int, row1: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the target, flat, as (uint8, float32), one of them empty; copied only if they are not contiguous, or
        not writeable (kernels are compiled for writeable arrays alone)."""
        rows = np.require(self.target[row0:row1], None, ["C", "W"]).reshape(-1)
        return (rows, _NO_FLOATS) if rows.dtype == np.uint8 else (_NO_BYTES, rows)

    def _check(self, window: np.ndarray, window_row0: int, row0: int, row1: int, grad: np.ndarray) -> None:
        """Kernels do not check bounds: refuses what they would read or write beyond."""
        height, *pixel = self.target.shape
        if not 0 <= row0 < row1 <= height:
            raise ValueError(f"loss: rows {row0} .. {row1} are not rows of a picture of {height} rows")
        reach = HALO if self.objective.ssim else 0
        first, last = max(0, row0 - reach), min(height, row1 + reach)
        if window.dtype != np.float32 or list(window.shape[1:]) != pixel:
            raise ValueError(f"loss: expected a float32 window of shape [h, {pixel[0]}, {pixel[1]}], "
                             f"got {window.dtype} {list(window.shape)}")  # fmt: skip
        if window_row0 < 0 or window_row0 > first or window_row0 + len(window) < last:
            raise ValueError(
                f"loss: rows {row0} .. {row1} need rows {first} .. {last} of the picture, but the window has "
                f"{window_row0} .. {window_row0 + len(window)}"
            )
        wanted = (row1 - row0, *pixel)
        if grad.shape != wanted or grad.dtype != np.float32 or not (grad.flags.c_contiguous and grad.flags.writeable):
            raise ValueError(f"loss: expected a contiguous, writeable float32 grad {wanted}, "
                             f"got {grad.dtype} {grad.shape}")  # fmt: skip

"""PSNR of the float picture and of the picture rounded to 8 bits."""

from __future__ import annotations

import math

import numpy as np

from splatbench.metrics.registry import Metric
from splatbench.metrics.strips import Stream, array_strips, unit

#: Highest value given out, in dB. An exact copy has an infinite PSNR, which neither a record nor a mean can hold;
#: 100 dB is an RMS error of 1e-5, beyond what float32 renders and 8-bit originals can tell apart.
CAP = 100.0

WHOLE_PIXELS = 0  # the strip-wise sum is exact: there is no other path


def from_mse(mse: float) -> float:
    """10 log10(1 / MSE) in dB for values in [0, 1], at most CAP."""
    return CAP if mse <= 10 ** (-CAP / 10) else 10 * math.log10(1 / mse)


def round_u8(picture: np.ndarray) -> np.ndarray:
    """float32 in [0, 1] -> uint8, rounded half up: floor(255 v + 0.5)."""
    # In float64, where 255 v + 0.5 is exact: float32 would round values just below a half up to it.
    return np.floor(picture.astype(np.float64) * 255 + 0.5).astype(np.uint8)


class _FloatStream:
    def __init__(self, reference: np.ndarray) -> None:
        self._reference, self._sum = reference, 0.0

    def push(self, row0: int, picture: np.ndarray) -> None:
        for begin, piece in array_strips(picture):
            rows = slice(row0 + begin, row0 + begin + piece.shape[0])
            difference = piece.astype(np.float64) - unit(self._reference[rows])
            self._sum += float(np.vdot(difference, difference))

    def value(self) -> float:
        return from_mse(self._sum / self._reference.size)


class _RoundedStream:
    def __init__(self, reference: np.ndarray) -> None:
        self._reference, self._sum = reference, 0

    def push(self, row0: int, picture: np.ndarray) -> None:
        for begin, piece in array_strips(picture):
            rows = slice(row0 + begin, row0 + begin + piece.shape[0])
            difference = round_u8(piece).astype(np.int64) - np.asarray(self._reference[rows])
            self._sum += int(np.vdot(difference, difference))

    def value(self) -> float:
        return from_mse(self._sum / (255**2 * self._reference.size))


def stream(metric: Metric, reference: np.ndarray, device: str) -> Stream:
    """Accumulates `psnr` or `psnr_u8` in float64 or integers; always on the CPU."""
    return _FloatStream(reference) if metric.name == "psnr" else _RoundedStream(reference)


def whole(metric: Metric, picture: np.ndarray, reference: np.ndarray, device: str) -> float:
    """float32 [H, W, 3] against uint8 [H, W, 3] -> dB."""
    running = stream(metric, reference, device)
    running.push(0, picture)
    return running.value()

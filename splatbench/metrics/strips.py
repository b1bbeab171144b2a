"""Pictures that are measured strip by strip, so that 200 megapixels never lie in memory as floats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from splatbench.metrics.registry import MetricError

#: (row of the strip's first line, float32 [h, W, C] in [0, 1])
Strip = tuple[int, np.ndarray]
#: Strips from top to bottom without gap or overlap: an iterable, or a function that begins anew (a renderer).
StripSource = Callable[[], Iterable[Strip]] | Iterable[Strip]

#: Rows are cut so that a piece holds about this many pixels: 3 MiB per float RGB map, which the allocator reuses. With
#: maps above 32 MiB, fresh pages for every operation cost four times the arithmetic.
PIECE_PIXELS = 1 << 18


class Stream(Protocol):
    """A metric being accumulated over strips."""

    def push(self, row0: int, picture: np.ndarray) -> None:
        """Takes the next rows, float32 [h, W, 3], beginning at row0."""

    def value(self) -> float:
        """The metric, after the last row."""


def unit(reference: np.ndarray) -> np.ndarray:
    """uint8 [h, W, 3] -> float32 in [0, 1], by true division as every reference implementation does."""
    return np.asarray(reference).astype(np.float32) / np.float32(255)


def array_strips(picture: np.ndarray, rows: int | None = None) -> Iterator[Strip]:
    """An array [H, W, 3] as strips of `rows` lines (default: pieces of about PIECE_PIXELS); no copies."""
    rows = rows or piece_rows(picture.shape[1])
    for row0 in range(0, picture.shape[0], rows):
        yield row0, picture[row0 : row0 + rows]


def piece_rows(width: int) -> int:
    """Rows of a piece of about PIECE_PIXELS; never so few that the windows' overlap dominates."""
    return max(32, PIECE_PIXELS // width)


def checked_strips(source: StripSource, shape: tuple[int, int, int]) -> Iterator[Strip]:
    """The source's strips, checked: float32, finite, in [0, 1], and together exactly the picture of that shape.

    Raises:
        MetricError: naming the row and what is wrong there.
    """
    height, expected = shape[0], 0
    for row0, strip in source() if callable(source) else source:
        if not isinstance(strip, np.ndarray) or strip.dtype != np.float32:
            kind = getattr(strip, "dtype", type(strip).__name__)
            raise MetricError(f"picture: strips must be float32 numpy arrays in [0, 1], got {kind}")
        if row0 != expected:
            raise MetricError(f"picture: expected a strip that begins at row {expected}, got row {row0}")
        if strip.ndim != 3 or strip.shape[1:] != shape[1:] or row0 + strip.shape[0] > height:
            raise MetricError(
                f"picture: the strip at row {row0} has shape {list(strip.shape)}, "
                f"which does not fit the reference of shape {list(shape)}"
            )
        if strip.shape[0]:
            check_values(strip, row0)
            yield row0, strip
        expected += strip.shape[0]
    if expected != height:
        raise MetricError(f"picture: its strips end after {expected} of {height} rows")


def check_values(strip: np.ndarray, row0: int = 0) -> None:
    """Raises MetricError unless all values are finite and in [0, 1]."""
    low, high = float(strip.min()), float(strip.max())  # NaN propagates through both
    if low >= 0 and high <= 1:
        return
    bad = ~np.isfinite(strip)
    if bad.any():
        row, column, channel = (int(i) for i in np.argwhere(bad)[0])
        raise MetricError(
            f"picture: {int(bad.sum())} values are NaN or infinite, first at row {row0 + row}, column {column}, "
            f"channel {channel}; such a picture has no score"
        )
    raise MetricError(
        f"picture: values must lie in [0, 1], found {low:g} to {high:g} near row {row0}; "
        "clamp the render first (a picture in 0..255 must be divided by 255)"
    )


@dataclass(frozen=True)
class Span:
    """Rows (or columns) [core0, core1) that are measured, seen through the window [window0, window1)."""

    core0: int
    core1: int
    window0: int
    window1: int


def spans(length: int, core: int, halo: int) -> list[Span]:
    """Cuts `length` into cores of `core` (the last may be shorter), each seen with `halo` more on either side."""
    return [
        Span(begin, min(begin + core, length), max(begin - halo, 0), min(begin + core + halo, length))
        for begin in range(0, length, core)
    ]


class Bands:
    """Collects strips of any height into windows of rows that overlap by a halo.

    Holds at most a window and one strip: `core + 2 halo` rows and what came last.
    """

    def __init__(self, height: int, core: int, halo: int) -> None:
        self._spans = spans(height, core, halo)
        self._parts: list[np.ndarray] = []
        self._begin = self._end = 0  # rows held

    def push(self, picture: np.ndarray) -> Iterator[tuple[Span, np.ndarray]]:
        """Takes the next rows [h, W, 3]; yields (span, rows window0..window1) for every window that is complete."""
        # A copy: the source may reuse its buffer for the next strip.
        self._parts.append(picture.copy())
        self._end += picture.shape[0]
        while self._spans and self._end >= self._spans[0].window1:
            span = self._spans.pop(0)
            held = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
            yield span, held[span.window0 - self._begin : span.window1 - self._begin]
            keep = self._spans[0].window0 if self._spans else self._end
            self._parts, self._begin = [held[keep - self._begin :]], keep

    def finished(self) -> bool:
        """Whether every window was given out."""
        return not self._spans

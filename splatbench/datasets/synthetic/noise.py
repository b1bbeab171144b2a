"""Random numbers that every machine makes alike, and smooth noise of them: integers alone, each value by its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

#: Fraction bits of a relative coordinate (1 is the short side of the picture).
UNIT = 24
_STEP = 12  # fraction bits inside a cell of a lattice


def mix(values: np.ndarray) -> np.ndarray:
    """A hash of uint32 values (the function "lowbias32" of Wellons, "Prospecting for hash functions", 2018)."""
    x = values.astype(np.uint32)
    x ^= x >> 16
    x *= np.uint32(0x7FEB352D)
    x ^= x >> 15
    x *= np.uint32(0x846CA68B)
    x ^= x >> 16
    return x


def draws(seed: int, stream: int, count: int) -> list[int]:
    """So many numbers from 0 to 65535, of one of the streams of a seed."""
    key = np.zeros(1, np.uint32)
    for part in (seed, seed >> 32, stream):
        key = mix(key + np.uint32(part & 0xFFFFFFFF))
    return [int(x) >> 16 for x in mix(mix(np.arange(count, dtype=np.uint32) + key) + key)]


def relative(size: int, short: int) -> np.ndarray:
    """[size] int64, centres of pixels in units of the short side, with UNIT fraction bits."""
    return ((2 * np.arange(size, dtype=np.int64) + 1) << (UNIT - 1)) // short


def smooth(t: np.ndarray) -> np.ndarray:
    """3 t^2 - 2 t^3 of fractions with `_STEP` bits."""
    return (t * t * (3 * (1 << _STEP) - 2 * t)) >> (2 * _STEP)


class Octave:
    """Values on a lattice of so many cells per short side, between -amplitude and amplitude."""

    def __init__(self, key: list[int], cells: int, amplitude: int, rows: np.ndarray, columns: np.ndarray) -> None:
        at_y, at_x = (((place * cells) >> (UNIT - _STEP)) for place in (rows, columns))
        self.row, self.row_part = at_y >> _STEP, smooth(at_y & ((1 << _STEP) - 1)).astype(np.int32)
        self.column, self.column_part = at_x >> _STEP, smooth(at_x & ((1 << _STEP) - 1)).astype(np.int32)
        self.key, self.amplitude = key, amplitude

    def across(self, first: int, last: int) -> np.ndarray:
        """[last - first, W] int32: rows of the lattice, interpolated between its columns."""
        j, i = np.arange(first, last, dtype=np.uint32), np.arange(self.column[-1] + 2, dtype=np.uint32)
        hashed = mix(mix(j + np.uint32(self.key[0] << 16))[:, None] + i + np.uint32(self.key[1]))
        nodes = ((hashed >> 16).astype(np.int32) - 32768) * self.amplitude >> 15
        left = nodes[:, self.column]
        return left + ((nodes[:, self.column + 1] - left) * self.column_part >> _STEP)

    def add(self, row0: int, row1: int, total: np.ndarray, scratch: np.ndarray) -> None:
        """Adds the values of rows row0 .. row1 of the picture, times 2^12, to `total` [row1 - row0, W] int32."""
        lattice = self.across(int(self.row[row0]), int(self.row[row1 - 1]) + 2)
        steps = np.diff(lattice, axis=0)
        lattice <<= _STEP
        for y0, y1, j in _runs(self.row[row0:row1]):
            part = scratch[: y1 - y0]
            np.multiply(steps[j], self.row_part[row0 + y0 : row0 + y1, None], out=part)
            part += lattice[j]
            total[y0:y1] += part


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(first, end, value - rows[0]) of every run of equal values."""
    ends = [0, *(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
    return ((y0, y1, int(rows[y0] - rows[0])) for y0, y1 in pairwise(ends))


class Noise:
    """Fractal noise: octaves of doubling frequency, each `fade` / 16 as strong as the one before.

    Args:
        seed, stream: of the values.
        first: cells per short side of the first octave.
        octaves: at most so many; none has cells under two pixels.
        fade: in sixteenths.
        place: relative coordinates of rows and of columns, and the short side in pixels.
    """

    def __init__(
        self, seed: int, stream: int, first: int, octaves: int, fade: int, place: tuple[np.ndarray, np.ndarray, int]
    ) -> None:
        rows, columns, short = place
        self.octaves: list[Octave] = []
        cells, amplitude = first, 1 << 14
        while len(self.octaves) < octaves and 2 * cells <= short:
            self.octaves.append(Octave(draws(seed, (stream << 16) + cells, 2), cells, amplitude, rows, columns))
            cells, amplitude = 2 * cells, amplitude * fade >> 4

    def rows(self, row0: int, row1: int, width: int) -> np.ndarray:
        """[row1 - row0, width] int32; the first octave lies between -2^14 and 2^14, the sum between -2^18 and 2^18."""
        total, scratch = np.zeros((2, row1 - row0, width), np.int32)
        for octave in self.octaves:
            octave.add(row0, row1, total, scratch)
        total >>= _STEP
        return total


def profile(seed: int, stream: int, first: int, octaves: int, fade: int, columns: np.ndarray, short: int) -> np.ndarray:
    """[W] int32: fractal noise along one line, as `Noise`."""
    line = np.zeros(1, np.int64)
    return Noise(seed, stream, first, octaves, fade, (line, columns, short)).rows(0, 1, len(columns))[0]

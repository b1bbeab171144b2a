"""Hard edges, zone plates, spokes and text: what stands in the synthetic picture's landscape.

Everything has `paint(canvas, row0)`: canvas [3, h, W] int32 holds the picture's rows row0 .. row0 + h, levels of 0 to
255 with six fraction bits. All arithmetic is of integers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from .font import ADVANCE, ROWS, dots_of
from .noise import draws, mix

BITS = 6
Color = tuple[int, int, int]

_TEXT = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG 0123456789 PACK MY BOX WITH FIVE DOZEN LIQUOR JUGS "
_TURN = 1024
#: Of a whole turn. No value lies near a half, so the sine of every machine rounds to the same table.
SINE = np.rint(4096 * np.sin(np.arange(_TURN) * (2 * np.pi / _TURN))).astype(np.int32)


class Chance:
    """Random choices, one after the other, of one stream of a seed."""

    def __init__(self, seed: int, stream: int) -> None:
        self._values = iter(draws(seed, stream, 1 << 10))

    def between(self, low: int, high: int) -> int:
        """A number from low to high."""
        return low + (next(self._values) * (high - low + 1) >> 16)

    def color(self, levels: Iterable[int], spread: int) -> Color:
        """A colour near one given in levels of 0 to 255."""
        r, g, b = (min(max(level + self.between(-spread, spread), 0), 255) << BITS for level in levels)
        return r, g, b


class Thing(Protocol):
    """What can be painted over a landscape."""

    def paint(self, canvas: np.ndarray, row0: int) -> None: ...


class Box:
    """A rectangle of the picture: rows y0 .. y1 - 1, columns x0 .. x1 - 1, cut to a picture of this size."""

    def __init__(self, y0: int, y1: int, x0: int, x1: int, height: int, width: int) -> None:
        self.y0, self.y1 = max(0, y0), min(height, y1)
        self.x0, self.x1 = max(0, x0), min(width, x1)

    def rows(self, row0: int, count: int) -> tuple[int, int]:
        """First and last of the box's rows among rows row0 .. row0 + count (first >= last where there is none)."""
        return max(self.y0, row0), min(self.y1, row0 + count) if self.x0 < self.x1 else 0


class Disk:
    """A circle; `paint` fills it with the levels that `inside` gives."""

    def __init__(self, x: int, y: int, radius: int, height: int, width: int) -> None:
        self.x, self.y, self.radius = x, y, radius
        self.box = Box(y - radius, y + radius + 1, x - radius, x + radius + 1, height, width)

    def inside(self, dx: np.ndarray, dy: np.ndarray) -> Iterable[np.ndarray]:
        """Three planes of levels at [1, w] int64 dx and [h, 1] dy, pixels from the centre."""
        raise NotImplementedError

    def paint(self, canvas: np.ndarray, row0: int) -> None:
        box = self.box
        y0, y1 = box.rows(row0, canvas.shape[1])
        if y0 >= y1:
            return
        dy = np.arange(y0 - self.y, y1 - self.y, dtype=np.int64)[:, None]
        dx = np.arange(box.x0 - self.x, box.x1 - self.x, dtype=np.int64)[None]
        within = dx * dx + dy * dy <= self.radius * self.radius
        for plane, levels in zip(canvas, self.inside(dx, dy), strict=True):
            np.copyto(plane[y0 - row0 : y1 - row0, box.x0 : box.x1], levels, where=within)


class ZonePlate(Disk):
    """Rings, from slow in the middle to two periods in five pixels at the rim, between two colours."""

    def __init__(self, x: int, y: int, radius: int, height: int, width: int, colors: tuple[Color, Color]) -> None:
        super().__init__(x, y, radius, height, width)
        self.colors = colors

    def inside(self, dx: np.ndarray, dy: np.ndarray) -> Iterable[np.ndarray]:
        # Phase 0.4 r^2 / (2 R) turns: 0.4 turns per pixel at r = R.
        phase = (dx * dx + dy * dy) * _TURN // (5 * max(1, self.radius))
        wave = SINE[phase & (_TURN - 1)] + 4096
        return [dark + (wave * ((light - dark) >> BITS) >> 13 - BITS) for dark, light in zip(*self.colors, strict=True)]


class Star(Disk):
    """Spokes: edges of all directions, meeting in a point."""

    #: Directions of edges, about even.
    _EDGES = ((64, 0), (62, 17), (55, 32), (45, 45), (32, 55), (17, 62), (0, 64), (-17, 62), (-32, 55), (-45, 45),
              (-55, 32), (-62, 17))  # fmt: skip

    def __init__(self, x: int, y: int, radius: int, height: int, width: int, colors: tuple[Color, Color]) -> None:
        super().__init__(x, y, radius, height, width)
        self.colors = colors

    def inside(self, dx: np.ndarray, dy: np.ndarray) -> Iterable[np.ndarray]:
        spoke = np.zeros((dy.shape[0], dx.shape[1]), bool)
        for a, b in self._EDGES:
            spoke ^= a * dx > b * dy
        return [np.where(spoke, dark, light) for dark, light in zip(*self.colors, strict=True)]


class Layer:
    """Everything under an outline, in a colour with a texture."""

    def __init__(self, top: np.ndarray, color: Color, strength: int) -> None:
        self.top, self.color, self.strength = top, color, strength
        self.highest = int(top.min())

    def paint(self, canvas: np.ndarray, row0: int, texture: np.ndarray) -> None:
        """`texture` [h, W] int32, about -2^16 to 2^16."""
        rows = np.arange(row0, row0 + canvas.shape[1])
        if rows[-1] < self.highest:
            return
        below = rows[:, None] >= self.top
        shade = (texture * self.strength) >> 10
        for plane, level, share in zip(canvas, self.color, (16, 15, 13), strict=True):
            np.copyto(plane, level + (shade * share >> 4), where=below)


class Skyline:
    """Houses side by side up to a horizon, with windows, some of them lit."""

    def __init__(self, chance: Chance, horizon: int, height: int, width: int) -> None:
        self.horizon = horizon
        short = min(height, width)
        self.top, shade = np.full(width, horizon), np.zeros(width, np.int32)
        window_x, glass_x = np.zeros(width, np.uint32), np.zeros(width, bool)
        pitch, narrow = max(3, short // 64), max(2, short // 40, width // 200)
        x = windows = 0
        while x < width:
            last = x + chance.between(narrow, max(narrow, short // 12))
            columns = np.arange(min(last, width) - x)
            if chance.between(0, 3):  # else a gap
                self.top[x:last] = horizon - chance.between(height // 30, height // 7)
                shade[x:last] = chance.between(40, 150)
                window_x[x:last] = windows + columns // pitch
                glass_x[x:last] = (columns % pitch >= pitch // 3) & (columns < len(columns) - pitch // 3)
                windows += len(columns) // pitch + 1
            x = last
        self.window_ids, self.window_x = np.unique(window_x, return_inverse=True)
        rows = np.arange(height)
        self.window_y, glass_y = (rows // pitch).astype(np.uint32), rows % pitch >= pitch // 2
        self.glass = glass_y, glass_x
        self.walls = [shade << BITS, (shade * 15 >> 4) << BITS, (shade * 14 >> 4) << BITS]
        self.key = np.uint32(chance.between(0, 65535))
        self.lit, self.unlit = chance.color((250, 220, 140), 20), chance.color((40, 50, 70), 12)
        self.highest = int(self.top.min())

    def paint(self, canvas: np.ndarray, row0: int) -> None:
        first, last = max(row0, self.highest), min(row0 + canvas.shape[1], self.horizon)
        if first >= last:
            return
        rows = np.arange(first, last)
        house = rows[:, None] >= self.top
        glass = house & self.glass[0][first:last, None] & self.glass[1]
        lit = mix(mix(self.window_y[first:last] + self.key)[:, None] + self.window_ids) < np.uint32(3 << 29)
        lit = lit[:, self.window_x]
        for plane, wall, bright, dark in zip(canvas, self.walls, self.lit, self.unlit, strict=True):
            part = plane[first - row0 : last - row0]
            np.copyto(part, wall, where=house)
            np.copyto(part, np.where(lit, bright, dark), where=glass)


class Sign:
    """A board with lines of text, each smaller than the one above, but not under one pixel per dot of a character."""

    def __init__(self, chance: Chance, box: Box) -> None:
        self.box = box
        self.paper, self.ink = chance.color((222, 218, 205), 20), chance.color((34, 30, 48), 20)
        tall, wide = box.y1 - box.y0, box.x1 - box.x0
        margin = max(2, min(tall, wide) // 24)
        self.lines: list[tuple[Box, np.ndarray]] = []
        y, size = box.y0 + margin, max(ROWS, tall // 5)
        while y + size <= box.y1 - margin and wide > 2 * margin:
            line = Box(y, y + size, box.x0 + margin, box.x1 - margin, box.y1, box.x1)
            self.lines.append((line, self._dots(chance, wide - 2 * margin, size)))
            y += size + max(2, size // 3)
            size = max(ROWS, size * 3 // 4)

    @staticmethod
    def _dots(chance: Chance, wide: int, size: int) -> np.ndarray:
        """bool [7, wide]: a line of text, from anywhere in it, stretched to so many pixels per 7 dots."""
        columns = np.arange(wide) * ROWS // size
        begin, count = chance.between(0, len(_TEXT) - 1), int(columns[-1]) // ADVANCE + 1
        repeats = (begin + count) // len(_TEXT) + 1
        return dots_of((_TEXT * repeats)[begin : begin + count])[:, columns]

    def paint(self, canvas: np.ndarray, row0: int) -> None:
        count = canvas.shape[1]
        y0, y1 = self.box.rows(row0, count)
        if y0 >= y1:
            return
        canvas[:, y0 - row0 : y1 - row0, self.box.x0 : self.box.x1] = np.array(self.paper)[:, None, None]
        for line, dots in self.lines:
            y0, y1 = line.rows(row0, count)
            if y0 < y1:
                ink = dots[(np.arange(y0, y1) - line.y0) * ROWS // (line.y1 - line.y0)]
                part = canvas[:, y0 - row0 : y1 - row0, line.x0 : line.x1]
                np.copyto(part, np.array(self.ink, np.int32)[:, None, None], where=ink)

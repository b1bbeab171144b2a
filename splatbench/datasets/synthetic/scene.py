"""What is in the synthetic picture, and how its rows are painted: what lies in front, later."""

from __future__ import annotations

import numpy as np

from .noise import Noise, profile, relative
from .things import BITS, Box, Chance, Layer, Sign, Skyline, Star, Thing, ZonePlate

#: Outlines: stream, top in % of the height, spread in %, colour, strength of the texture.
_FAR = (4, 47, 16, (104, 112, 138), 20)
_HILLS = (5, 62, 8, (76, 92, 66), 60)
_GROUND = (6, 74, 6, (112, 92, 62), 88)


class Scene:
    """One picture; `paint` makes any rows of it."""

    def __init__(self, height: int, width: int, seed: int) -> None:
        self.height, self.width, self.seed, self.short = height, width, seed, min(height, width)
        rows, self._columns = relative(height, self.short), relative(width, self.short)
        place = rows, self._columns, self.short
        self.clouds = Noise(seed, 1, 2, 6, 9, place)
        self.texture = Noise(seed, 2, 4, 32, 15, place)
        # A stream of random choices for each thing: none depends on how many another one makes at this size.
        self._sky(Chance(seed, 3))
        self.far, self.hills, self.ground = (self._layer(*layer) for layer in (_FAR, _HILLS, _GROUND))
        self.skyline = Skyline(Chance(seed, 7), height * 64 // 100, height, width)
        self.sun = self._plate(Chance(seed, 8), (12, 88), (14, 26), (10, 12))
        self.front: list[Thing] = [
            self._plate(Chance(seed, 9), (58, 66), (84, 88), (6, 9)),
            self._plate(Chance(seed, 10), (70, 76), (70, 74), (4, 6)),
            self._star(Chance(seed, 11)),
            self._sign(Chance(seed, 12)),
        ]

    def _sky(self, chance: Chance) -> None:
        """Levels of the sky by row, brighter towards one side; and colours of the clouds."""
        zenith, haze = chance.color((48, 92, 150), 40), chance.color((196, 190, 176), 40)
        down = np.minimum(4096, np.arange(self.height, dtype=np.int64) * 6144 // self.height)
        self.sky = [(top + ((low - top) * down >> 12)).astype(np.int32) for top, low in zip(zenith, haze, strict=True)]
        light = chance.between(-24, 24) << BITS
        self.side = (np.arange(self.width, dtype=np.int64) * light // self.width).astype(np.int32)
        self.white = chance.color((236, 232, 228), 16)

    def _layer(self, stream: int, base: int, spread: int, color: tuple[int, int, int], strength: int) -> Layer:
        outline = profile(self.seed, stream, 2, 32, 9, self._columns, self.short).astype(np.int64)
        top = self.height * base // 100 + (outline * (self.height * spread // 100) >> 15)
        return Layer(top, Chance(self.seed, stream).color(color, 24), strength)

    def _spot(self, chance: Chance, x: tuple[int, int], y: tuple[int, int]) -> tuple[int, int]:
        """A place within ranges in % of the width and of the height."""
        return chance.between(*x) * self.width // 100, chance.between(*y) * self.height // 100

    def _plate(self, chance: Chance, x: tuple[int, int], y: tuple[int, int], radius: tuple[int, int]) -> ZonePlate:
        place = *self._spot(chance, x, y), chance.between(*radius) * self.short // 100
        colors = chance.color((40, 36, 40), 36), chance.color((228, 220, 200), 26)
        return ZonePlate(*place, self.height, self.width, colors)

    def _star(self, chance: Chance) -> Star:
        place = *self._spot(chance, (84, 90), (78, 86)), chance.between(8, 11) * self.short // 100
        colors = chance.color((200, 60, 50), 50), chance.color((240, 236, 220), 14)
        return Star(*place, self.height, self.width, colors)

    def _sign(self, chance: Chance) -> Sign:
        left, top = self._spot(chance, (4, 12), (66, 70))
        right, bottom = left + self.width * 40 // 100, top + self.height * 28 // 100
        return Sign(chance, Box(top, bottom, left, right, self.height, self.width))

    def paint(self, row0: int, row1: int, out: np.ndarray) -> None:
        """Rows row0 .. row1 - 1 to `out` [row1 - row0, W, 3] uint8."""
        canvas = np.empty((3, row1 - row0, self.width), np.int32)
        for plane, sky in zip(canvas, self.sky, strict=True):
            np.add(sky[row0:row1, None], self.side, out=plane)
        clouds = self.clouds.rows(row0, row1, self.width)
        self._cover(canvas, row0, clouds)
        self.sun.paint(canvas, row0)
        texture = self.texture.rows(row0, row1, self.width)
        self.far.paint(canvas, row0, texture)
        self.skyline.paint(canvas, row0)
        texture += clouds
        self.hills.paint(canvas, row0, texture)
        self.ground.paint(canvas, row0, texture)
        for thing in self.front:
            thing.paint(canvas, row0)
        canvas += 1 << BITS - 1
        canvas >>= BITS
        np.clip(canvas, 0, 255, out=canvas)
        for channel, plane in enumerate(canvas):
            out[..., channel] = plane

    def _cover(self, canvas: np.ndarray, row0: int, clouds: np.ndarray) -> None:
        """Lays clouds over the sky; nothing of them is seen under the hills."""
        if row0 > max(self.hills.top.max(), self.ground.top.max()):
            return
        thick = np.clip(clouds + 2000, 0, 16383) >> 2
        for plane, white in zip(canvas, self.white, strict=True):
            plane += (white - plane) * thick >> 12

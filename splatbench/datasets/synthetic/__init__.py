"""A procedural test picture of any size: a landscape with the frequencies of a photograph, and a test chart in it.

The same size and seed give the same bytes on every machine, and rows can be made apart from each other, so that a
picture of 16320 x 12288 needs memory for the rows in hand alone.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np

from .scene import Scene

_PIXELS = 1 << 17  # painted at once: what fits in a second-level cache
_STRIP = 64  # rows made for a PPM file at once


def synthetic_rows(height: int, width: int, row0: int, row1: int, seed: int = 0) -> np.ndarray:
    """Rows row0 .. row1 - 1 of the picture: uint8 [row1 - row0, width, 3].

    Sky (smooth gradients), clouds and ground (fractal noise), mountains and a skyline (hard edges), zone plates, a star
    of spokes, and text. Positions scale with the picture; the finest details are of pixel size in every size.

    Args:
        height, width: of the picture, each at least 1.
        row0, row1: 0 <= row0 <= row1 <= height.
        seed: 0 or more; another seed gives another picture.

    Raises:
        ValueError: a size, range or seed that cannot be.
    """
    if height < 1 or width < 1:
        raise ValueError(f"synthetic picture: expected at least 1 x 1 pixels, got {width} x {height}")
    if not 0 <= row0 <= row1 <= height:
        raise ValueError(f"synthetic picture: rows {row0} .. {row1} are not rows of a picture of {height} rows")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"synthetic picture: a seed is a whole number from 0 to 2^64 - 1, got {seed}")
    scene = _scene(height, width, seed)
    out = np.empty((row1 - row0, width, 3), np.uint8)
    step = max(1, _PIXELS // width)
    for first in range(row0, row1, step):
        last = min(first + step, row1)
        scene.paint(first, last, out[first - row0 : last - row0])
    return out


def synthetic_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """The whole picture, uint8 [height, width, 3]; see `synthetic_rows`."""
    return synthetic_rows(height, width, 0, height, seed)


def write_synthetic(path: Path, height: int, width: int, seed: int = 0) -> None:
    """Writes the picture as PNG or, strip by strip in little memory, as PPM; whole or not at all.

    Raises:
        ValueError: an ending other than .png and .ppm, or as `synthetic_rows`.
        OSError: the file cannot be written.
    """
    from PIL import Image

    if path.suffix.lower() not in (".png", ".ppm"):
        raise ValueError(f"{path}: the synthetic picture is written as .png or .ppm")
    first = synthetic_rows(height, width, 0, min(1, height), seed)  # refuses before anything is written
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(aside, "wb") as file:
            if path.suffix.lower() == ".png":
                Image.fromarray(synthetic_image(height, width, seed)).save(file, "PNG", compress_level=3)
            else:
                file.write(b"P6\n%d %d\n255\n" % (width, height) + first.tobytes())
                for row in range(1, height, _STRIP):
                    file.write(synthetic_rows(height, width, row, min(row + _STRIP, height), seed).data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@functools.lru_cache(maxsize=4)
def _scene(height: int, width: int, seed: int) -> Scene:
    return Scene(height, width, seed)


__all__ = ["synthetic_image", "synthetic_rows", "write_synthetic"]

"""Reading a picture as uint8 sRGB [H, W, 3]: one policy for every kind of file, and a note for whatever was changed.

| file | pixels | note |
|---|---|---|
| 8-bit RGB | as stored | |
| grey, black and white, palette | replicated or looked up | |
| alpha, fully opaque | alpha dropped | |
| alpha, not opaque | laid over white, as a page shows it | yes |
| 16 bits per channel | the high 8 bits (the inverse of 8 -> 16 bits by x257) | yes |
| CMYK and other colour spaces | Pillow's plain conversion, without a colour profile | yes |
| colour profile, EXIF orientation | not applied: benchmarks score the stored pixels | yes |
| several frames, 32-bit or float samples, broken, too large | ImageError | |
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

#: Bound in pixels: twice the largest benchmark picture (16320 x 16320). Pillow's own limit (2^27.4) is lower and would
#: refuse DIV16K, none at all would let a 20 kB file ask for all memory.
MAX_PIXELS = 1 << 29

#: The formats that are tried. Named, because Pillow's full list holds some that call other programs (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "BMP", "DIB", "TIFF", "PPM", "GIF", "QOI")

#: File name endings of those formats, lower case.
SUFFIXES = frozenset(
    f".{ending}"
    for endings in (
        "png apng",
        "jpg jpeg jpe jfif mpo",
        "webp avif",
        "jp2 j2k jpx",
        "bmp dib",
        "tif tiff",
        "ppm pgm pbm pnm",
    )
    for ending in (*endings.split(), "gif", "qoi")
)

_STRIP = 1 << 24  # pixels copied from Pillow to NumPy at once, so that no third copy of a large picture exists
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, OverflowError, KeyError)
_pillow_limit = threading.Lock()


class ImageError(ValueError):
    """A picture that cannot be read; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True)
class LoadedImage:
    """A picture and what reading it changed.

    Attributes:
        pixels: uint8 [H, W, 3], sRGB as stored, C-contiguous.
        notes: one sentence for each thing that the file had and the pixels have not.
    """

    pixels: np.ndarray
    notes: list[str] = field(default_factory=list)


def pixel_sha256(pixels: np.ndarray) -> str:
    """Hex SHA-256 of uint8 [H, W, 3] pixels, row by row, R G B: the same for every lossless file of a picture."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels must be uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def central_crop(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of a picture [H, W, 3], contiguous; of an odd remainder the larger half is cut off below and right.

    Raises:
        ImageError: the picture is smaller.
    """
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    if min(top, left) < 0:
        raise ImageError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels has no crop of {width}x{height}")
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def image_size(path: Path | str) -> tuple[int, int]:
    """(width, height) in pixels from the file's header alone.

    Raises:
        ImageError: not an image.
    """
    with _opened(Path(path)) as image:
        return image.size


def load_image(path: Path | str) -> LoadedImage:
    """Reads a picture by the policy at the top of this file.

    Raises:
        ImageError: missing, unreadable, not an image, truncated or corrupt, animated, larger than MAX_PIXELS, or with
            samples that have no defined 8-bit value.
    """
    path = Path(path)
    with decoded(path) as (image, sixteen_bit, notes):
        return LoadedImage(_to_rgb(path, image, sixteen_bit, notes), notes)


@contextlib.contextmanager
def decoded(path: Path) -> Iterator[tuple[Image.Image, bool, list[str]]]:
    """A file's decoded Pillow image in its own colour mode; whether it has 16 bits per sample; and notes.

    Raises:
        ImageError: as `load_image`, but for what its conversion to RGB refuses.
    """
    with _opened(path) as image:
        if image.format == "PNG":
            _check_png(path)
        sixteen_bit = _sixteen_bit(image)
        try:
            frames = getattr(image, "n_frames", 1)
            image.load()
        except MemoryError as error:
            raise ImageError(f"{path}: {image.width}x{image.height} pixels do not fit in memory") from error
        except _BROKEN as error:
            raise ImageError(
                f"{path}: the {image.format} file is damaged or cut off ({error}); get it again"
            ) from error
        if frames > 1 and image.format != "MPO":
            raise ImageError(f"{path}: has {frames} frames or pages; save the one to use as a file of its own")
        yield image, sixteen_bit, _file_notes(image)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A Pillow image whose header is read and whose size is within MAX_PIXELS."""
    try:
        if path.is_dir():
            raise ImageError(f"{path}: is a folder, not an image")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty (0 bytes); get it again or take it away")
        with _without_pillow_limit():
            image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(
            f"{path}: is not an image that can be read (it begins with {_first_bytes(path)!r}); "
            f"known formats: {', '.join(FORMATS)}. Replace it or take it out of the folder"
        ) from None
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file") from None
    except PermissionError:
        raise ImageError(f"{path}: may not be read; change its permissions") from None
    except ImageError:
        raise
    except _BROKEN as error:
        raise ImageError(f"{path}: the file is damaged or cut off ({error}); get it again") from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(
                f"{path}: claims {image.width}x{image.height} pixels, more than the limit of {MAX_PIXELS} "
                "(splatbench.datasets.images.MAX_PIXELS); cut or scale it down"
            )
        yield image


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Lifts Pillow's global pixel limit for the moment in which a header is read; our own bound follows."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF blocks and the like: pixels alone count here
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(12)


def _check_png(path: Path) -> None:
    """Checks every chunk's CRC and the end mark, which decoding alone does not."""
    try:
        with _without_pillow_limit(), Image.open(path, formats=("PNG",)) as image:
            image.verify()
    except _BROKEN as error:
        raise ImageError(f"{path}: the PNG file is damaged or cut off ({error}); get it again") from error


def _file_notes(image: Image.Image) -> list[str]:
    notes = []
    if image.info.get("icc_profile"):
        notes.append("embedded colour profile ignored: the stored values are taken as sRGB")
    orientation = None
    with contextlib.suppress(Exception):  # EXIF is foreign data of any quality and decides nothing here
        orientation = image.getexif().get(0x0112)
    if orientation not in (None, 0, 1):
        notes.append(f"EXIF orientation {orientation} not applied: the stored pixels are scored")
    if image.format == "MPO":
        notes.append("several pictures in one JPEG file: the first is used")
    return notes


def _sixteen_bit(image: Image.Image) -> bool:
    """Whether the file stores 16 bits per sample; asked before decoding, for Pillow's mode says so for grey alone."""
    if image.format == "TIFF":
        return bool(np.max(image.tag_v2.get(258, 1)) == 16)  # type: ignore[attr-defined]
    if image.format == "PNG":
        return any(";16" in str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]
    return image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")


def _to_rgb(path: Path, image: Image.Image, sixteen_bit: bool, notes: list[str]) -> np.ndarray:
    if sixteen_bit:
        notes.append("16 bits per channel reduced to the high 8 bits")
        if image.mode.startswith("I"):  # for colour Pillow has done the same already
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode.startswith(("I", "F")):
        raise ImageError(f"{path}: 32-bit samples have no defined 8-bit value; save it with 8 bits per channel")
    try:
        if image.has_transparency_data:
            image = _over_white(image, notes)
        elif image.mode not in ("RGB", "L", "1", "P"):
            notes.append(f"converted from {image.mode} to RGB without a colour profile")
        return pixels_of(image if image.mode == "RGB" else image.convert("RGB"))
    except ValueError as error:
        raise ImageError(f"{path}: colour mode {image.mode} cannot be converted; save it as RGB") from error


def _over_white(image: Image.Image, notes: list[str]) -> Image.Image:
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba.convert("RGB")
    notes.append("transparency laid over white")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def pixels_of(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, C] of an 8-bit image, C its number of bands; copied in strips."""
    out = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        out[top : top + rows] = strip.reshape(len(strip), image.width, -1)
    return out

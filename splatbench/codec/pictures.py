"""Bytes of PNG, JPEG, WebP, AVIF and JPEG XL to pixels, with the size checked before anything is decoded."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
from PIL import AvifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin

from splatbench.codec.container import FREE_BYTES, Limits
from splatbench.codec.errors import BitstreamError
from splatbench.codec.picture_headers import PictureFormat, jxl_size, picture_format, webp_size

#: A header that declares more bytes of pixels than FREE_BYTES and this many per byte of the file is refused before
#: memory is allocated for them. Deflate never expands more than 1032 times, baseline JPEG at most 512 times (2 bits
#: per block of 8x8). The others are bounded by their groups and their arithmetic coders: a flat picture of 4096x4096
#: pixels at the lowest quality takes 178 000 (JPEG XL), 71 000 (WebP) and 65 000 (AVIF).
_EXPANSION: dict[PictureFormat, int] = {
    "PNG": 1032,
    "JPEG": 1032,
    "WebP": 1 << 18,
    "AVIF": 1 << 18,
    "JPEG XL": 1 << 18,
}

#: What the libraries raise on damaged files, beside pillow's own errors (OSError) and imagecodecs' (RuntimeError).
_LIBRARY_ERRORS = (
    OSError, RuntimeError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError,
    OverflowError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

# The other formats decode on one thread, and pillow knows no other way to say it: times are of one core for all.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def encode_png(pixels: np.ndarray, compress_level: int = 6) -> bytes:
    """PNG of uint8 [H, W, 3]; lossless."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=compress_level)
    return file.getvalue()


def decode_picture(data: bytes, format: PictureFormat | None = None, limits: Limits | None = None) -> np.ndarray:
    """uint8 [H, W, 3] of an RGB picture.

    Args:
        format: the only one that is accepted; None tells them apart by their first bytes.

    Raises:
        BitstreamError: damaged, cut off, not a still 8-bit RGB picture, beyond the limits, or larger than such a file
            can hold.
    """
    found = picture_format(data)
    if format is not None and found != format:
        raise BitstreamError(f"expected a {format} file, got {found}")
    limits = limits or Limits()
    try:
        if found == "WebP":
            _check_size(found, webp_size(data), len(data), limits)
            return _rgb(imagecodecs.webp_decode(data))
        if found == "JPEG XL":
            _check_size(found, jxl_size(data), len(data), limits)
            return _rgb(imagecodecs.jpegxl_decode(data, numthreads=1))
        return _decode_with_pillow(data, found, limits)
    except BitstreamError:
        raise
    except _LIBRARY_ERRORS as error:
        raise BitstreamError(f"not a valid {found} file: {error}") from error


#: The formats' own classes: Image.open would refuse by a process-wide pixel count instead of the limits.
_PILLOW: dict[PictureFormat, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}


def _decode_with_pillow(data: bytes, format: PictureFormat, limits: Limits) -> np.ndarray:
    with _PILLOW[format](io.BytesIO(data)) as image:
        if image.mode != "RGB" or getattr(image, "n_frames", 1) != 1:
            raise BitstreamError(f"expected one RGB picture with 8 bits per channel, got mode {image.mode}")
        _check_size(format, (image.height, image.width), len(data), limits)
        image.load()
        return np.array(image)


def _check_size(format: PictureFormat, size: tuple[int, int], file_bytes: int, limits: Limits) -> None:
    height, width = size
    if min(width, height) < 1 or width * height > min(limits.pixels, limits.decoded_bytes // 3):
        raise BitstreamError(f"a picture of {width}x{height} pixels is beyond the limits")
    if 3 * width * height > FREE_BYTES + _EXPANSION[format] * file_bytes:
        raise BitstreamError(f"{width}x{height} pixels cannot come from a file of {file_bytes} bytes")


def _rgb(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise BitstreamError(f"expected RGB with 8 bits per channel, got {pixels.dtype} {list(pixels.shape)}")
    return pixels

"""PNG and JPEG bytes through pillow, with the size checked before anything is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Literal

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from splatbench.codec.container import FREE_BYTES, Limits
from splatbench.codec.errors import BitstreamError

#: Deflate never expands more than this, baseline JPEG at most 512 times (2 bits per block of 8x8); so a header that
#: declares more pixels than its file can carry is refused before memory is allocated for them.
_EXPANSION = 1032

#: What pillow's parsers raise on damaged files, beside its own errors (which are OSError).
_PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def encode_png(pixels: np.ndarray, compress_level: int = 6) -> bytes:
    """PNG of uint8 [H, W, 3]; lossless."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=compress_level)
    return file.getvalue()


def encode_jpeg(pixels: np.ndarray, quality: int, subsampling: Literal["4:2:0", "4:2:2", "4:4:4"]) -> bytes:
    """Baseline JPEG of uint8 [H, W, 3] with Huffman tables made for this picture.

    Args:
        quality: 1 to 100, libjpeg's scale.

    Raises:
        ValueError: a side of more than 65535 pixels, which JPEG cannot hold.
    """
    height, width = pixels.shape[:2]
    if max(height, width) > 65535:
        raise ValueError(f"JPEG holds sides of up to 65535 pixels, the picture has {width}x{height}")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling, optimize=True)
    return file.getvalue()


def decode_picture(data: bytes, format: Literal["PNG", "JPEG"], limits: Limits | None = None) -> np.ndarray:
    """uint8 [H, W, 3] of an RGB picture.

    Raises:
        BitstreamError: damaged, cut off, not 8-bit RGB, beyond the limits, or larger than such a file can hold.
    """
    limits = limits or Limits()
    # The format's own class: Image.open would refuse by a process-wide pixel count instead of these limits.
    kind = PngImagePlugin.PngImageFile if format == "PNG" else JpegImagePlugin.JpegImageFile
    try:
        with kind(io.BytesIO(data)) as image:
            width, height = image.size
            if image.mode != "RGB":
                raise BitstreamError(f"expected an RGB picture with 8 bits per channel, got mode {image.mode}")
            if min(width, height) < 1 or width * height > min(limits.pixels, limits.decoded_bytes // 3):
                raise BitstreamError(f"a picture of {width}x{height} pixels is beyond the limits")
            if 3 * width * height > FREE_BYTES + _EXPANSION * len(data):
                raise BitstreamError(f"{width}x{height} pixels cannot come from a file of {len(data)} bytes")
            image.load()
            return np.array(image)
    except BitstreamError:
        raise
    except _PILLOW_ERRORS as error:
        raise BitstreamError(f"not a valid {format} file: {error}") from error

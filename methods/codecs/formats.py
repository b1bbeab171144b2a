"""The formats: what each can be asked for, and how its library is called. One thread each, so that times are of one
core and files do not depend on the machine."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
from PIL import Image, features

from splatbench.codec.pictures import encode_png


@dataclass(frozen=True)
class Request:
    """What one file is made with.

    Attributes:
        quality: on the format's own scale; None for lossless.
        effort: on the format's own scale; higher is slower and smaller.
        subsampling: of the chroma planes, where the format has a choice.
    """

    quality: int | None
    effort: int
    subsampling: str


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        qualities: lowest and highest; None for a format that is lossless only.
        efforts: lowest, default and highest.
        subsamplings: the choices, the default first.
        lossless: whether the library writes lossless RGB.
        max_side: pixels that the format, or the library's decoder, holds.
        encode: uint8 [H, W, 3] and a request to the file.
        max_pixels: the same for H * W; None where the sides alone decide.
        missing: says what to install where the library was built without this format, else "".
    """

    title: str
    suffix: str
    qualities: tuple[int, int] | None
    efforts: tuple[int, int, int]
    subsamplings: tuple[str, ...]
    lossless: bool
    max_side: int
    encode: Callable[[np.ndarray, Request], bytes]
    max_pixels: int | None = None
    missing: Callable[[], str] = str

    def check_size(self, height: int, width: int) -> None:
        """Raises ValueError for a picture that the format cannot hold."""
        if max(height, width) > self.max_side:
            raise ValueError(
                f"{self.title} holds sides of up to {self.max_side} pixels, the picture has {width}x{height}"
            )
        if self.max_pixels is not None and height * width > self.max_pixels:
            raise ValueError(f"{self.title} holds up to {self.max_pixels} pixels, the picture has {width}x{height}")


def _save(pixels: np.ndarray, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _jpeg(pixels: np.ndarray, request: Request) -> bytes:
    """Baseline, Huffman tables made for the picture."""
    return _save(pixels, "JPEG", quality=request.quality, subsampling=request.subsampling, optimize=True)


def _webp(pixels: np.ndarray, request: Request) -> bytes:
    if request.quality is None:
        # Lossless, the quality is how hard the encoder tries: as `cwebp -lossless` has it.
        return _save(pixels, "WEBP", lossless=True, quality=75, method=request.effort)
    return _save(pixels, "WEBP", quality=request.quality, method=request.effort)


def _avif(pixels: np.ndarray, request: Request) -> bytes:
    """AV1 by libaom."""
    return _save(
        pixels,
        "AVIF",
        quality=request.quality,
        subsampling=request.subsampling,
        speed=10 - request.effort,
        codec="aom",
        max_threads=1,
        autotiling=False,
    )


def _jxl(pixels: np.ndarray, request: Request) -> bytes:
    options = {"effort": request.effort, "usecontainer": False, "numthreads": 1}
    if request.quality is None:
        return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, **options))
    return bytes(imagecodecs.jpegxl_encode(pixels, distance=jxl_distance(request.quality), **options))


def jxl_distance(quality: int) -> float:
    """libjxl's target distance (Butteraugli) of a quality, as its command line maps them: 90 is 1.0, 30 is 6.4, 0 is
    25."""
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _png(pixels: np.ndarray, request: Request) -> bytes:
    return encode_png(pixels, request.effort)


def _pillow_lacks(feature: str) -> str:
    return (
        "" if features.check(feature) else "this pillow was built without it; `pip install pillow` brings one with it"
    )


def _webp_lacks() -> str:
    """Pillow writes it, imagecodecs reads it."""
    if not imagecodecs.WEBP.available:
        return "this imagecodecs was built without it; `pip install imagecodecs` brings one with it"
    return _pillow_lacks("webp")


def _imagecodecs_lacks_jxl() -> str:
    return (
        ""
        if imagecodecs.JPEGXL.available
        else "this imagecodecs was built without it; `pip install imagecodecs` brings one with it"
    )


FORMATS: dict[str, Format] = {
    # libjpeg-turbo; its default subsampling. There is no effort to choose.
    "jpeg": Format("JPEG", ".jpg", (1, 100), (0, 0, 0), ("4:2:0", "4:2:2", "4:4:4"), False, 65535, _jpeg),
    # libwebp; effort is its `method`, default 4. Lossy WebP is always 4:2:0.
    "webp": Format(
        "WebP", ".webp", (0, 100), (0, 4, 6), ("4:2:0",), True, 16383, _webp, missing=_webp_lacks
    ),
    # libavif; effort is 10 - `speed`, default speed 6. Its decoder takes up to 2^28 pixels. The lossless mode of the
    # format needs RGB planes (identity matrix), which pillow does not offer.
    "avif": Format(
        "AVIF", ".avif", (0, 100), (0, 4, 10), ("4:2:0", "4:2:2", "4:4:4"), False, 32768, _avif,
        max_pixels=1 << 28, missing=lambda: _pillow_lacks("avif"),
    ),
    # libjxl; its `effort`, default 7. Lossy JPEG XL works on XYB at full resolution; quality 100 would be lossless.
    "jxl": Format(
        "JPEG XL", ".jxl", (0, 99), (1, 7, 9), ("4:4:4",), True, 1 << 30, _jxl, missing=_imagecodecs_lacks_jxl
    ),
    # zlib's level, default 6.
    "png": Format("PNG", ".png", None, (0, 6, 9), ("4:4:4",), True, (1 << 31) - 1, _png),
}  # fmt: skip

"""Controls: JPEG, WebP, AVIF, JPEG XL and PNG at a quality, at a bit rate, or lossless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from splatbench.budget import RATE_TOLERANCE, Budget
from splatbench.codec.pictures import decode_picture
from splatbench.method import Method, MethodError
from splatbench.trace import Trace

from .formats import FORMATS, Format, Request


@dataclass(frozen=True)
class Config:
    """Settings of the control.

    Raises:
        ValueError: a setting that the format does not have.
    """

    codec: Literal["jpeg", "webp", "avif", "jxl", "png"] = "jpeg"
    lossless: bool = False  # WebP, JPEG XL; PNG always is
    effort: int | None = None  # WebP 0 to 6, AVIF 0 to 10, JPEG XL 1 to 9, PNG 0 to 9; None: the library's default
    subsampling: Literal["4:2:0", "4:2:2", "4:4:4"] | None = None  # JPEG, AVIF; None: the library's default, 4:2:0

    def __post_init__(self) -> None:
        format = self.format
        lowest, _, highest = format.efforts
        if self.effort is not None and not lowest <= self.effort <= highest:
            choice = f"must be {lowest} to {highest}" if lowest < highest else "cannot be chosen"
            raise ValueError(f"effort of {format.title} {choice}, got {self.effort}")
        if self.subsampling is not None and self.subsampling not in format.subsamplings:
            raise ValueError(f"{format.title} is always {format.subsamplings[0]}, got {self.subsampling}")
        if self.lossless and not format.lossless:
            raise ValueError(f"{format.title} is not written lossless here; webp, jxl and png are")

    @property
    def format(self) -> Format:
        return FORMATS[self.codec]

    def request(self, quality: int | None) -> Request:
        """The settings at one quality; None for lossless."""
        effort = self.format.efforts[1] if self.effort is None else self.effort
        return Request(quality, effort, self.subsampling or self.format.subsamplings[0])


@dataclass(frozen=True)
class CodecFile:
    """The file and the quality that made it; None for lossless."""

    data: bytes
    quality: int | None


class Codecs(Method):
    title = "Image codec"
    paper = "libjpeg-turbo, libwebp, libavif with libaom (all through pillow), libjxl (through imagecodecs), zlib"
    control = True
    suffixes = tuple(format.suffix for format in FORMATS.values())
    budgets = ("quality", "bpp", "native")
    Config = Config
    config: Config

    @property
    def suffix(self) -> str:
        return self.config.format.suffix

    def prepare(self) -> None:
        """Raises MethodError where the library was built without the format."""
        if why := self.config.format.missing():
            raise MethodError(f"{self.config.format.title} cannot be written: {why}")

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> CodecFile:
        """At a quality of the format's own scale, or at the quality whose file comes nearest to a bit rate, or
        lossless. The scales are coarse: a note says which quality was taken and how far off its file is.

        Raises:
            MethodError: a budget that does not fit the settings, a quality or a rate outside the scale, or a picture
                that the format cannot hold.
        """
        try:
            self.config.format.check_size(*image.shape[:2])
        except ValueError as error:
            raise MethodError(str(error)) from None
        self._check(budget)
        quality = budget.quality
        if budget.bpp is not None:
            with trace.stage("search"):
                quality = self._nearest(image, budget.bpp, trace)
        with trace.stage("encode"):
            return self._at(image, quality)

    def _check(self, budget: Budget) -> None:
        title = self.config.format.title
        if self.config.lossless or self.config.format.qualities is None:
            if not budget.native:
                raise MethodError(f"lossless {title} takes the native budget, got {budget.as_dict()}")
        elif budget.quality is None and budget.bpp is None:
            raise MethodError(f"{title} takes a quality or a bit rate, got {budget.as_dict()}")

    def _at(self, image: np.ndarray, quality: int | None) -> CodecFile:
        """Raises MethodError for a quality outside the format's scale."""
        format = self.config.format
        if quality is not None and format.qualities is not None:
            lowest, highest = format.qualities
            if not lowest <= quality <= highest:
                raise MethodError(f"{format.title} quality must be {lowest} to {highest}, got {quality}")
        return CodecFile(format.encode(image, self.config.request(quality)), quality)

    def _nearest(self, image: np.ndarray, bpp: float, trace: Trace) -> int | None:
        """Bisection for the first quality above the rate; it or the one below comes nearest."""
        assert self.config.format.qualities is not None
        pixels = image.shape[0] * image.shape[1]
        target = bpp * pixels / 8
        low, high = self.config.format.qualities
        tried: list[CodecFile] = []
        while low <= high:
            tried.append(self._at(image, (low + high) // 2))
            if len(tried[-1].data) <= target:
                low = (low + high) // 2 + 1
            else:
                high = (low + high) // 2 - 1
        best = min(tried, key=lambda file: abs(len(file.data) - target))
        off = len(best.data) / target - 1
        one_side = len({len(file.data) > target for file in tried}) == 1
        if one_side and abs(off) > RATE_TOLERANCE:
            end = "smallest" if off > 0 else "largest"
            raise MethodError(
                f"{bpp:g} bit/pixel are {target:.0f} bytes here, and the {end} file of {self.config.format.title} has "
                f"{len(best.data)} ({8 * len(best.data) / pixels:.3g} bit/pixel, quality {best.quality})"
            )
        trace.note(f"quality {best.quality}: {100 * off:+.1f} % of the rate asked for")
        return best.quality

    def to_bytes(self, encoding: CodecFile) -> bytes:
        return encoding.data

    @staticmethod
    def from_bytes(data: bytes) -> np.ndarray:
        return decode_picture(data)

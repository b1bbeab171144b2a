"""Control: JPEG (libjpeg through pillow) at a quality, or at the best quality within a bit rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from splatbench.budget import Budget
from splatbench.codec.pictures import decode_picture, encode_jpeg
from splatbench.method import Method, MethodError
from splatbench.trace import Trace


@dataclass(frozen=True)
class Config:
    """Settings of the control."""

    subsampling: Literal["4:2:0", "4:2:2", "4:4:4"] = "4:2:0"  # libjpeg's default


@dataclass(frozen=True)
class JpegFile:
    """The file and the quality (1 to 100) that made it."""

    data: bytes
    quality: int


class Jpeg(Method):
    title = "JPEG"
    paper = "ITU-T Rec. T.81 (1992); libjpeg's quality scale, optimised Huffman tables"
    suffix = ".jpg"
    control = True
    budgets = ("quality", "bpp")
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> JpegFile:
        """Raises MethodError for a budget without quality or bit rate, a quality outside 1 to 100, or an image with a
        side of more than 65535 pixels."""
        try:
            with trace.stage("encode"):
                if budget.quality is not None:
                    return self._at_quality(image, budget.quality)
                if budget.bpp is not None:
                    return self._within_rate(image, budget.bpp)
        except ValueError as error:
            raise MethodError(str(error)) from error
        raise MethodError(f"{self.title} needs a quality (1 to 100) or a bit rate, got {budget.as_dict()}")

    def _at_quality(self, image: np.ndarray, quality: int) -> JpegFile:
        if not 1 <= quality <= 100:
            raise ValueError(f"JPEG quality must be 1 to 100, got {quality}")
        return JpegFile(encode_jpeg(image, quality, self.config.subsampling), quality)

    def _within_rate(self, image: np.ndarray, bpp: float) -> JpegFile:
        """The highest quality whose file stays within the rate; quality 1 where none does (the record shows it)."""
        largest = bpp * image.shape[0] * image.shape[1] / 8
        best, low, high = self._at_quality(image, 1), 2, 100
        while low <= high:
            trial = self._at_quality(image, (low + high) // 2)
            if len(trial.data) <= largest:
                best, low = trial, trial.quality + 1
            else:
                high = trial.quality - 1
        return best

    def to_bytes(self, encoding: JpegFile) -> bytes:
        return encoding.data

    @staticmethod
    def from_bytes(data: bytes) -> np.ndarray:
        return decode_picture(data, "JPEG")

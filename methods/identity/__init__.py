"""Control: the image itself as PNG. Upper bound of every quality, and the rate that lossless costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splatbench.budget import Budget
from splatbench.codec.pictures import decode_picture, encode_png
from splatbench.method import Method, MethodError
from splatbench.trace import Trace


@dataclass(frozen=True)
class Config:
    """Settings of the control.

    Raises:
        ValueError: a value out of range.
    """

    compress_level: int = 6  # zlib's default compromise of time and size

    def __post_init__(self) -> None:
        if not 0 <= self.compress_level <= 9:
            raise ValueError(f"compress_level must be 0 to 9, got {self.compress_level}")


@dataclass(frozen=True)
class PngFile:
    data: bytes


class Identity(Method):
    title = "Identity (PNG)"
    suffixes = (".png",)
    control = True
    budgets = ("native",)
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> PngFile:
        """Raises MethodError for any budget but `native`: lossless coding has nothing to choose."""
        if not budget.native:
            raise MethodError(f"{self.title} takes only the native budget, got {budget.as_dict()}")
        with trace.stage("encode"):
            return PngFile(encode_png(image, self.config.compress_level))

    def to_bytes(self, encoding: PngFile) -> bytes:
        return encoding.data

    @staticmethod
    def from_bytes(data: bytes) -> np.ndarray:
        return decode_picture(data, "PNG")

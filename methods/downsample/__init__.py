"""Control: fewer pixels instead of Gaussians. The image reduced, stored as PNG, and enlarged again by the decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from splatbench.budget import Budget
from splatbench.codec import Attribute, BitstreamError, read, write
from splatbench.codec.pictures import decode_picture, encode_png
from splatbench.method import Method, MethodError
from splatbench.trace import Trace

#: Parameters of a Gaussian of blend `sum` (2 position, 3 covariance, 3 colour): N Gaussians buy 8N / 3 pixels.
PARAMETERS_PER_GAUSSIAN = 8
#: Largest reduction per axis: a decoder refuses more, so that a small file cannot ask for a huge picture.
MAX_FACTOR = 64
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True)
class Config:
    """Settings of the control.

    Raises:
        ValueError: a factor below 1 or above 64.
    """

    factor: float = 2.0  # reduction per axis with the native budget; other budgets set their own
    enlarge: Literal["bicubic", "lanczos"] = "lanczos"  # reduction is always Lanczos

    def __post_init__(self) -> None:
        if not 1 <= self.factor <= MAX_FACTOR:
            raise ValueError(f"factor must be 1 to {MAX_FACTOR}, got {self.factor}")


@dataclass(frozen=True)
class Reduced:
    """The reduced picture uint8 [h, w, 3] and the size (H, W) to which it is enlarged."""

    pixels: np.ndarray
    size: tuple[int, int]


class Downsample(Method):
    title = "Down- and up-sampling"
    control = True
    budgets = ("gaussians", "compression_ratio", "matched_to", "bpp", "native")
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Reduced:
        """Reduces so that 3 h w values are the 8N of N Gaussians, or so that the file keeps a bit rate.

        Never enlarges: a budget of more values than the image has keeps the image.

        Raises:
            MethodError: a budget that fixes neither.
        """
        height, width = image.shape[:2]
        with trace.stage("encode"):
            if (n := budget.count(height, width)) is not None:
                return self._reduce(image, math.sqrt(PARAMETERS_PER_GAUSSIAN * n / (3 * height * width)))
            if budget.bpp is not None:
                return self._within_rate(image, budget.bpp)
            if budget.native:
                return self._reduce(image, 1 / self.config.factor)
        raise MethodError(f"{self.title} needs a Gaussian count, a bit rate or the native factor: {budget.as_dict()}")

    def _reduce(self, image: np.ndarray, scale: float) -> Reduced:
        height, width = image.shape[:2]
        h, w = (min(n, max(round(n * scale), -(-n // MAX_FACTOR))) for n in (height, width))
        if (h, w) == (height, width):
            return Reduced(image, (height, width))
        small = Image.fromarray(image).resize((w, h), Image.Resampling.LANCZOS)
        return Reduced(np.asarray(small), (height, width))

    def _within_rate(self, image: np.ndarray, bpp: float) -> Reduced:
        """The largest scale, to about 1 %, whose file stays within the rate; the smallest scale where none does."""
        largest = bpp * image.shape[0] * image.shape[1] / 8
        best, low, high = self._reduce(image, 1 / MAX_FACTOR), math.log(1 / MAX_FACTOR), 0.0
        for _ in range(9):  # log(64) / 2^9 < 1 %
            trial = self._reduce(image, math.exp((low + high) / 2))
            if len(self.to_bytes(trial)) <= largest:
                best, low = trial, (low + high) / 2
            else:
                high = (low + high) / 2
        return best

    def to_bytes(self, encoding: Reduced) -> bytes:
        png = np.frombuffer(encode_png(encoding.pixels), np.uint8)
        pixels = Attribute("pixels", png, coder="raw")
        return write("downsample", encoding.size, "", (), [pixels], {"filter": self.config.enlarge})

    @staticmethod
    def from_bytes(data: bytes) -> np.ndarray:
        file = read(data, method="downsample")
        png, kind = file.arrays.get("pixels"), file.meta.get("filter")
        if png is None or png.dtype != np.uint8 or png.ndim != 1 or not isinstance(kind, str) or kind not in _FILTERS:
            raise BitstreamError("a down-sampled picture needs its pixels and a known filter")
        small = decode_picture(png.tobytes(), "PNG")
        height, width = file.size
        h, w = small.shape[:2]
        if not (h <= height <= MAX_FACTOR * h and w <= width <= MAX_FACTOR * w):
            raise BitstreamError(f"{w}x{h} pixels cannot be enlarged to {width}x{height} (1 to {MAX_FACTOR} times)")
        if (h, w) == (height, width):
            return small
        return np.asarray(Image.fromarray(small).resize((width, height), _FILTERS[kind]))

"""SSIM and MS-SSIM as the package pytorch-msssim defines them, for whole pictures and for strips."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytorch_msssim
import torch
import torch.nn.functional as F
from pytorch_msssim.ssim import _fspecial_gauss_1d, _ssim  # the package's own map and window: one definition
from torch import Tensor

from splatbench.metrics.registry import Metric
from splatbench.metrics.strips import Stream, array_strips, unit

#: Above this, pictures are streamed: the package holds about fifteen maps of the picture's size at once.
WHOLE_PIXELS = 1 << 20

WINDOW = 11
SIGMA = 1.5
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, as in the package


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """No gradients, and full float32 convolutions on GPUs: TF32 keeps 10 bits of mantissa and moves scores by 1e-3."""
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield


def tensor(picture: np.ndarray, device: str) -> Tensor:
    """float32 [h, W, 3] -> contiguous float32 [1, 3, h, W] on the device."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].to(device)


def whole(metric: Metric, picture: np.ndarray, reference: np.ndarray, device: str) -> float:
    """float32 [H, W, 3] against uint8 [H, W, 3] -> the package's value (data_range 1, RGB)."""
    function = pytorch_msssim.ssim if metric.name == "ssim" else pytorch_msssim.ms_ssim
    with exact():
        value: Tensor = function(tensor(picture, device), tensor(unit(reference), device), data_range=1.0)
    return float(value)


def stream(metric: Metric, reference: np.ndarray, device: str) -> Stream:
    """Accumulates `ssim` (one scale) or `ms_ssim` (five) over strips; equal to `whole` up to float32 rounding."""
    return SsimStream(reference, device, scales=1 if metric.name == "ssim" else len(WEIGHTS))


class SsimStream:
    """The scales of one picture, fed from the top; holds 10 rows per scale and the piece at hand."""

    def __init__(self, reference: np.ndarray, device: str, scales: int) -> None:
        self._reference, self._device = reference, device
        height, width = reference.shape[:2]
        self._scales = []
        for _ in range(scales):
            self._scales.append(_Scale(height, width))
            height, width = (height + 1) // 2, (width + 1) // 2  # what the padded pooling leaves

    def push(self, row0: int, picture: np.ndarray) -> None:
        for begin, piece in array_strips(picture):
            rows = slice(row0 + begin, row0 + begin + piece.shape[0])
            with exact():
                x, y = tensor(piece, self._device), tensor(unit(self._reference[rows]), self._device)
                pair: Tensor | None = torch.cat([x, y])
                for level, scale in enumerate(self._scales):
                    scale.measure(pair)
                    pair = scale.pool(pair) if level + 1 < len(self._scales) else None
                    if pair is None:
                        break

    def value(self) -> float:
        ssim = self._scales[-1].ssim()
        if len(self._scales) == 1:
            return float(ssim.mean())
        # Negative means would have no real root; the package clips them to zero likewise.
        factors = [scale.contrast() for scale in self._scales[:-1]] + [ssim]
        powers = [np.maximum(factor, 0.0) ** weight for factor, weight in zip(factors, WEIGHTS, strict=True)]
        return float(np.prod(powers, axis=0).mean())


class _Scale:
    """Sums of the SSIM and contrast maps at one scale, and the next scale's rows.

    A "pair" is [2, 3, h, W]: rows of the picture and of its reference.
    """

    def __init__(self, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._ssim, self._contrast, self._rows = np.zeros(3), np.zeros(3), 0
        self._above: Tensor | None = None  # the last WINDOW - 1 rows seen
        self._unpooled: Tensor | None = None  # a row that waits for its partner

    def measure(self, pair: Tensor | None) -> None:
        """Adds the map rows whose whole window has been seen (valid convolution: no padding)."""
        assert pair is not None
        seen = pair if self._above is None else torch.cat([self._above, pair], 2)
        rows = seen.shape[2] - (WINDOW - 1)
        if rows > 0:
            window = _fspecial_gauss_1d(WINDOW, SIGMA).repeat([3, 1, 1, 1])
            ssim, contrast = _ssim(seen[:1], seen[1:], data_range=1.0, win=window, size_average=False)
            self._ssim += rows * ssim[0].double().cpu().numpy()
            self._contrast += rows * contrast[0].double().cpu().numpy()
            self._rows += rows
        self._above = seen[:, :, max(rows, 0) :].clone()

    def pool(self, pair: Tensor | None) -> Tensor | None:
        """2x2 means for the next scale, or None while there is no complete pair of rows.

        The package pads by `size mod 2` on both sides and counts the padding: an odd side pairs its first line with a
        line of zeros, and the padding at the other end is never reached.
        """
        assert pair is not None
        if self._unpooled is None and self._height % 2:
            self._unpooled = torch.zeros_like(pair[:, :, :1])
        waiting = pair if self._unpooled is None else torch.cat([self._unpooled, pair], 2)
        even = waiting.shape[2] // 2 * 2
        self._unpooled = waiting[:, :, even:].clone()
        if even == 0:
            return None
        return F.avg_pool2d(waiting[:, :, :even], 2, padding=(0, self._width % 2))

    def ssim(self) -> np.ndarray:
        """Mean of the SSIM map per channel, float64 [3]."""
        return self._ssim / self._expected_rows()

    def contrast(self) -> np.ndarray:
        """Mean of the contrast-structure map per channel, float64 [3]."""
        return self._contrast / self._expected_rows()

    def _expected_rows(self) -> int:
        if self._rows != self._height - (WINDOW - 1):
            raise RuntimeError(f"SSIM: {self._rows} map rows of {self._height - WINDOW + 1}; the picture is incomplete")
        return self._rows

"""The eight channels that are quantised, and how a decoder turns their codes into values.

They are those of the released codec: offset (dx, dy), scale (s1, s2), angle, colour as Y, Cr, Cb. Everything is float32
with one rounding per operation, in the same order wherever it is computed: a decoded value is the encoder's to the bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from splatbench.codec import uniform_values

from .patches import Values


class Ranges(NamedTuple):
    """What a decoder needs beside the codes: value = code * step + low.

    Attributes:
        step: float32 [..., 8], positive.
        low: float32 [..., 8].
    """

    step: Tensor
    low: Tensor


def dequantise(codes: np.ndarray, ranges: Ranges) -> Values:
    """What codes, unsigned [N, 8], stand for: CPU float32 tensors, bit for bit the same wherever they are computed."""
    x = uniform_values(codes, ranges.step.detach().cpu().numpy(), ranges.low.detach().cpu().numpy())
    return from_channels(torch.from_numpy(x))


def to_channels(values: Values) -> Tensor:
    """[..., 8]: the channels that are quantised; colours as Y, Cr, Cb without offsets."""
    luma = to_ycrcb(values.colors)
    return torch.cat([values.offsets, values.scales, values.angles[..., None], luma], -1)


def from_channels(x: Tensor) -> Values:
    """Inverse of `to_channels`; colours are not clamped."""
    return Values(x[..., 0:2], x[..., 2:4], x[..., 4], to_rgb(x[..., 5:8]))


def to_ycrcb(rgb: Tensor) -> Tensor:
    """[..., 3] R, G, B to Y, Cr, Cb (BT.601 as rounded in the released code)."""
    r, g, b = rgb.unbind(-1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cr = 0.5 * r - 0.418688 * g - 0.081312 * b
    cb = -0.168736 * r - 0.331264 * g + 0.5 * b
    return torch.stack([y, cr, cb], -1)


def to_rgb(ycrcb: Tensor) -> Tensor:
    """[..., 3] Y, Cr, Cb to R, G, B, not clamped; the inverse of `to_ycrcb` up to its rounded constants (1e-6)."""
    y, cr, cb = ycrcb.unbind(-1)
    return torch.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)

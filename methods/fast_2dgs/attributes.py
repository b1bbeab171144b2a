"""What the channels of the attribute network mean (released code): activations of a map, or of values drawn from it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Attributes(NamedTuple):
    """Of pixels, channels in dimension -3 or where `activate` was told.

    Attributes:
        offset: 2 channels in (-1, 1), x and y; None where the network has none. See `gather` for the unit.
        scales: 2 channels, standard deviations in pixels, at least 0.
        colors: 3 channels, within 1 of the picture's.
        angles: 1 channel, radians in (0, 2 pi).
    """

    offset: Tensor | None
    scales: Tensor
    colors: Tensor
    angles: Tensor


def activate(raw: Tensor, image: Tensor, dim: int = -3) -> Attributes:
    """Attributes of raw channels: offset (only if there are 8) = tanh, scale = softplus, colour = tanh + picture,
    angle = 2 pi sigmoid.

    Args:
        raw: 6 or 8 channels in dimension `dim`.
        image: the picture's 3 channels at the same pixels.
    """
    channels = int(raw.shape[dim])
    if channels not in (6, 8):
        raise ValueError(f"activate: expected 6 or 8 channels, got {channels}")
    move, scales, colors, angles = raw.split([channels - 6, 2, 3, 1], dim)
    return Attributes(
        offset=torch.tanh(move) if channels == 8 else None,
        scales=functional.softplus(scales),
        colors=torch.tanh(colors) + image,
        angles=2 * math.pi * torch.sigmoid(angles),
    )

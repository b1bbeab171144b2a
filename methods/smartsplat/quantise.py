"""Quantised attributes (ours: the paper has none): fixed grids, so a file holds codes and nothing else.

    position  over the longer side of the picture and an eighth of it beyond both ends, the same step in x and y
    scale     log2 over 16 octaves from 1/16 pixel, with the larger scale first
    angle     of the larger scale's axis, over half a turn, cyclic; 0 where both scales have the same code
    colour    luma (R + 2G + B) / 4 and chromas (R - B) / 2, (2G - R - B) / 4 over [-4, 4); other than three channels as
              they are

Values beyond a grid take its last level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import Config
from .initialise import base_scale
from .model import Activated

#: Largest step of positions in base scales, where the settings do not say otherwise. Measured: finer gains little.
_POSITION_STEP = 1 / 8
_MARGIN = 1 / 8  # of the longer side
_SMALLEST_SCALE, _OCTAVES = 2.0**-4, 16  # pixels
_COLOUR_RANGE = 4.0
_TO_LUMA = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.0, -0.5], [-0.25, 0.5, -0.25]])
_FROM_LUMA = torch.tensor([[1.0, 1.0, -1.0], [1.0, 0.0, 1.0], [1.0, -1.0, -1.0]])


@dataclass(frozen=True)
class Codes:
    """Quantised Gaussians, all int32: positions [N, 2], scales [N, 2] (the first is not smaller), angles [N],
    colours [N, C]."""

    positions: Tensor
    scales: Tensor
    angles: Tensor
    colours: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def where(self, mask: Tensor, other: Codes) -> Codes:
        """These where the mask [N] is True, others elsewhere."""
        return Codes(**{name: pick(mask, value, getattr(other, name)) for name, value in vars(self).items()})

    def __getitem__(self, order: Tensor) -> Codes:
        """Rows in another order."""
        return Codes(**{name: value[order] for name, value in vars(self).items()})

    def cpu(self) -> Codes:
        return Codes(**{name: value.cpu() for name, value in vars(self).items()})


@dataclass(frozen=True)
class Grids:
    """The grids of a picture: its longer side in pixels, and the bits of each attribute."""

    side: int
    position_bits: int
    scale_bits: int
    angle_bits: int
    colour_bits: int

    @classmethod
    def of(cls, config: Config, size: tuple[int, int], count: int) -> Grids:
        bits = config.position_bits
        if bits is None:
            steps = max(size) * (1 + 2 * _MARGIN) / (_POSITION_STEP * base_scale(count, size))
            bits = min(16, math.ceil(math.log2(steps)))
        return cls(max(size), bits, config.scale_bits, config.angle_bits, config.colour_bits)

    @property
    def bits(self) -> tuple[int, int, int, int]:
        return self.position_bits, self.scale_bits, self.angle_bits, self.colour_bits

    def codes(self, values: Activated) -> Codes:
        """Nearest codes of finite values, in the one of their equivalent forms that the file holds."""
        low, step = self._positions
        positions = _code(values.means, low, step, self.position_bits)
        octaves = torch.log2(values.scales.clamp_min(_SMALLEST_SCALE))
        scales = _code(octaves, math.log2(_SMALLEST_SCALE), _OCTAVES / 2**self.scale_bits, self.scale_bits)
        turned = scales[:, 0] < scales[:, 1]
        turns = -values.theta / math.pi + 0.5 * turned
        angles = torch.round(turns * 2**self.angle_bits).int() % 2**self.angle_bits
        colours = values.colors @ _TO_LUMA.to(values.colors).T if values.colors.shape[1] == 3 else values.colors
        low, step = self._colours
        return Codes(
            positions=positions,
            scales=pick(turned, scales.flip(1), scales),
            angles=torch.where(scales[:, 0] == scales[:, 1], 0, angles),
            colours=_code(colours, low, step, self.colour_bits),
        )

    def values(self, codes: Codes) -> Activated:
        """What codes stand for, float32."""
        low, step = self._positions
        octaves = codes.scales.float() * (_OCTAVES / 2**self.scale_bits) + math.log2(_SMALLEST_SCALE)
        low_colour, step_colour = self._colours
        colors = codes.colours.float() * step_colour + low_colour
        return Activated(
            means=codes.positions.float() * step + low,
            scales=torch.exp2(octaves),
            theta=codes.angles.float() * (-math.pi / 2**self.angle_bits),
            colors=colors @ _FROM_LUMA.to(colors).T if colors.shape[1] == 3 else colors,
        )

    @property
    def _positions(self) -> tuple[float, float]:
        """First level and step, in pixels."""
        return -_MARGIN * self.side, (1 + 2 * _MARGIN) * self.side / 2**self.position_bits

    @property
    def _colours(self) -> tuple[float, float]:
        return -_COLOUR_RANGE, 2 * _COLOUR_RANGE / 2**self.colour_bits


def pick(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Rows of a where the mask [N] is True, of b elsewhere."""
    return torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)


def _code(values: Tensor, low: float, step: float, bits: int) -> Tensor:
    return torch.round((values - low) / step).clamp(0, 2**bits - 1).int()

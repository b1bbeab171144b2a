"""Patches and raw vectors: where the candidates of a stage sit, and what the eight numbers of each of them mean.

Inside the method, positions are what the published network predicts: pixels, with samples at integers (0 is the centre
of the first pixel). They become coordinates of this project once, in `means`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

#: Numbers per candidate: position (2), scales (2), rotation (1), colour (3).
RAW = 8


@dataclass(frozen=True)
class PatchGrid:
    """The patches of p x p pixels of a picture; those of the last row and column may reach beyond it.

    Attributes:
        height, width: of the picture in pixels, at least 1.
        patch: p in pixels, at least 1.
    """

    height: int
    width: int
    patch: int

    @property
    def rows(self) -> int:
        return -(-self.height // self.patch)

    @property
    def columns(self) -> int:
        return -(-self.width // self.patch)

    def __len__(self) -> int:
        """L, the number of patches: candidates per stage."""
        return self.rows * self.columns

    def centres(self, device: torch.device | str = "cpu") -> Tensor:
        """[L, 2] float32: (x, y) of the centres of the patches, row by row, samples at integers; those beyond the
        picture are moved to its last pixel."""
        offset = (self.patch - 1) / 2
        x = (torch.arange(self.columns, device=device) * self.patch + offset).clamp_max(self.width - 1)
        y = (torch.arange(self.rows, device=device) * self.patch + offset).clamp_max(self.height - 1)
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)

    def blocks(self, picture: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, L, p*p]: the pixels of each patch; beyond the picture its border is repeated."""
        padded = self.pad(picture)
        batch, channels = padded.shape[:2]
        cut = padded.reshape(batch, channels, self.rows, self.patch, self.columns, self.patch)
        return cut.transpose(3, 4).reshape(batch, channels, len(self), self.patch * self.patch)

    def pad(self, picture: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, rows * p, columns * p], the border repeated to the right and below."""
        right, below = self.columns * self.patch - self.width, self.rows * self.patch - self.height
        return functional.pad(picture, (0, right, 0, below), mode="replicate") if right or below else picture


class Values(NamedTuple):
    """What candidates are after activation: any leading shape.

    Attributes:
        offsets: [..., 2] pixels from the centre of the patch, within +-p.
        scales: [..., 2] standard deviations in pixels, (0.5, p + 0.5).
        angles: [...] radians, (0, 2 pi).
        colors: [..., 3] in (-1, 1).
    """

    offsets: Tensor
    scales: Tensor
    angles: Tensor
    colors: Tensor

    def select(self, index: Tensor) -> Values:
        """Candidates by a mask or by indices into the first axis."""
        return Values(*(value[index] for value in self))


def activate(raw: Tensor, patch: int) -> Values:
    """Raw vectors [..., 8] to values (AIR paper, Sec. 3; the position may reach into the neighbouring patches)."""
    return Values(
        patch * torch.tanh(raw[..., 0:2]),
        patch * torch.sigmoid(raw[..., 2:4]) + 0.5,
        2 * math.pi * torch.sigmoid(raw[..., 4]),
        torch.tanh(raw[..., 5:8]),
    )


def means(offsets: Tensor, centres: Tensor, size: tuple[int, int], stretch: bool) -> Tensor:
    """Positions in the coordinates of `Gaussians2D`, [..., 2] float32.

    Args:
        offsets: [..., 2] pixels.
        centres: broadcastable to it, samples at integers.
        size: (H, W).
        stretch: the published code maps a position q to [-1, 1] by W - 1 and back by W, so that it is drawn at
            q W / (W - 1), by samples at integers.
    """
    position = centres + offsets
    if stretch:
        height, width = size
        x, y = position.unbind(-1)  # no tensor of factors: nothing is copied to a GPU while a graph is recorded
        position = torch.stack([x * (width / max(width - 1, 1)), y * (height / max(height - 1, 1))], -1)
    return position + 0.5

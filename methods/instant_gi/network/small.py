"""Instant-GI-small: our network for the same method, small enough to train on two CPU cores.

The position probability is read block by block of k x k pixels, so the network works at that resolution: the pixels
of a block become channels (space to depth), and a small U-Net of 3x3 convolutions sees the surroundings. What follows,
from dithering to the heads that decode a triangle, is the published method. It is not the published network.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from splatbench.layers import Convolution, ResidualBlock

from ..decode import FEATURES, Heads


@dataclass(frozen=True)
class SmallSettings:
    """The shape of the network. All values are ours.

    Attributes:
        block: k, pixels.
        widths: channels at each level; every level has half the resolution of the one above.
        blocks: residual blocks of each level, on the way down and (all but the last level) on the way up.

    Raises:
        ValueError: a number below 1, or lists of different lengths.
    """

    block: int = 3
    widths: tuple[int, ...] = (96, 128, 160)
    blocks: tuple[int, ...] = (1, 1, 3)
    up_blocks: tuple[int, ...] = (2, 1)

    def __post_init__(self) -> None:
        if min(self.block, *self.widths, *self.blocks) < 1 or min(self.up_blocks, default=1) < 1:
            raise ValueError("Instant-GI-small: block, widths and numbers of blocks must be at least 1")
        if not len(self.widths) == len(self.blocks) == len(self.up_blocks) + 1:
            raise ValueError(
                "Instant-GI-small: needs as many blocks as widths, and up_blocks for all levels but the last"
            )


class SmallNet(nn.Module):
    """A `decode.Network` whose feature map has one cell per block of pixels."""

    least_side = 2

    def __init__(self, settings: SmallSettings | None = None) -> None:
        super().__init__()
        self.settings = s = settings or SmallSettings()
        self.block = s.block
        self.input = Convolution(3 * s.block**2, s.widths[0], 3)
        self.down = nn.ModuleList(_levels(s.widths, s.blocks))
        self.reduce = nn.ModuleList(
            Convolution(4 * above, below, 1) for above, below in zip(s.widths, s.widths[1:], strict=False)
        )
        self.raise_ = nn.ModuleList(
            Convolution(below, 4 * above, 1) for above, below in zip(s.widths, s.widths[1:], strict=False)
        )
        self.up = nn.ModuleList(_levels(s.widths[:-1], s.up_blocks))
        self.output = nn.Linear(s.widths[0], FEATURES)
        self.heads = Heads()
        self._outputs = {self.output, *_last_layers(self.heads)}
        for module in self.heads.modules():  # the released deviation of 0.02 is for its 100 epochs
            if isinstance(module, nn.Linear) and module not in self._outputs:
                module.reset_parameters()

    def features(self, image: Tensor) -> Tensor:
        """[B, 64, ceil(H/k), ceil(W/k)] float32 of pictures [B, 3, H, W] in [0, 1]."""
        height, width = (-(-int(side) // self.block) for side in image.shape[2:])
        x = functional.pixel_unshuffle(self._pad(image - 0.5), self.block).contiguous(memory_format=torch.channels_last)
        x, skips = self.input(x), []
        for level, reduce in zip(self.down, [*self.reduce, None], strict=True):
            x = level(x)
            if reduce is not None:
                skips.append(x)
                x = reduce(functional.pixel_unshuffle(x, 2))
        for level, raise_ in zip(reversed(self.up), reversed(self.raise_), strict=True):
            x = level(skips.pop() + functional.pixel_shuffle(raise_(x), 2))
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = self.output(functional.relu(x.float()).permute(0, 2, 3, 1))
            return found.permute(0, 3, 1, 2)[:, :, :height, :width]

    def density(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """[ceil(H/k), ceil(W/k)] in (0, 1) of one picture's features: one value per block, where the published network
        takes the largest of its pixels."""
        return self.densities(features)[0]

    def densities(self, features: Tensor) -> Tensor:
        """[B, ceil(H/k), ceil(W/k)] of B pictures."""
        return self.heads.position_field(features.permute(0, 2, 3, 1)).squeeze(-1).float()

    def sample(self, features: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
        """[..., 64] float32, bilinear between the middles of blocks; beyond the outer ones constant.

        Args:
            features: [1, 64, h, w].
            points: [..., 2] pixels, (0, 0) is the outer corner of the first pixel.
        """
        extent = points.new_tensor([features.shape[3], features.shape[2]]) * self.block
        at = (2 * points / extent - 1).reshape(1, 1, -1, 2)
        values = functional.grid_sample(features, at, align_corners=False, padding_mode="border")
        return values[0, :, 0].T.reshape(*points.shape[:-1], -1)

    def _pad(self, image: Tensor) -> Tensor:
        """To whole blocks on every level, the last row and column repeated."""
        unit = self.block << (len(self.settings.widths) - 1)
        right, below = (-int(image.shape[axis]) % unit for axis in (3, 2))
        return functional.pad(image, (0, right, 0, below), mode="replicate")

    def matrices(self) -> list[nn.Parameter]:
        """The weights of all layers but those that give features and what decodes a Gaussian."""
        layers = (m for m in self.modules() if isinstance(m, Convolution | nn.Linear))
        return [layer.weight for layer in layers if layer not in self._outputs]

    def describe(self) -> dict[str, Any]:
        """Its settings as plain values, for the file of its weights."""
        return asdict(self.settings)


def _levels(widths: tuple[int, ...], blocks: tuple[int, ...]) -> list[nn.Sequential]:
    return [
        nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
        for width, count in zip(widths, blocks, strict=True)
    ]


def _last_layers(heads: Heads) -> list[nn.Linear]:
    fields = (heads.position_field, heads.bc_field, heads.scale_rot_field, heads.color_field)
    return [[layer for layer in field if isinstance(layer, nn.Linear)][-1] for field in fields]

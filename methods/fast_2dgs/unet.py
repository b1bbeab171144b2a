"""The two networks of Fast-2DGS: U-Nets that know how many Gaussians are wanted (paper Sec. 3; released code).

`HeatNet` says where Gaussians should sit, `AttributeNet` what one would look like at every pixel. Names and shapes of
the weights are the published ones. Ours is `unshuffle`: the trunk sees the picture folded by u, so that a pixel of its
finest level is a block of u x u pixels, which costs 1 / u^2. With u = 1 it is the published network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attributes import Attributes, activate

#: Counts enter the network as log(1 + K) / log(1 + MOST) [C].
MOST = 100_000
#: Pixels of the pictures that the published networks were trained on [C].
TRAINED_PIXELS = 512 * 512
_POOLINGS = 4


@dataclass(frozen=True)
class Shape:
    """Shape of a network; the defaults are published.

    Attributes:
        base: c, channels of the finest level; the others have 2c, 4c, 8c and 8c.
        k_dim: channels of the bottleneck that the count modulates.
        unshuffle: u, side of the blocks of pixels that the trunk sees as one (ours).

    Raises:
        ValueError: a number below 1.
    """

    base: int = 32
    k_dim: int = 16
    unshuffle: int = 1

    def __post_init__(self) -> None:
        for name in ("base", "k_dim", "unshuffle"):
            if getattr(self, name) < 1:
                raise ValueError(f"Fast-2DGS network: {name} must be at least 1, got {getattr(self, name)}")


def equivalent_count(count: float, height: int, width: int) -> float:
    """The number of Gaussians that is as dense on 512 x 512 pixels as `count` on H x W (ours).

    The published networks have seen 512 x 512 pictures only, where a count stands for a density.
    """
    return count * TRAINED_PIXELS / (height * width)


class _DoubleConv(nn.Module):
    """Twice: convolution 3x3, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*_convolutions(inputs, outputs), *_convolutions(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y


def _convolutions(inputs: int, outputs: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, outputs, 3, padding=1)
    yield nn.BatchNorm2d(outputs)
    yield nn.ReLU(inplace=True)


class UNet(nn.Module):
    """The trunk of both networks and a head of `outputs` channels.

    Args:
        shape: sizes.
        outputs: channels of the head; with `unshuffle` u there are u^2 times as many, folded out again.
        head: name of the head in the weights.
    """

    def __init__(self, shape: Shape, outputs: int, head: str) -> None:
        super().__init__()
        self.shape, self.outputs, self._head = shape, outputs, head
        c, k, u = shape.base, shape.k_dim, shape.unshuffle
        self.inc = _DoubleConv(3 * u * u, c)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(c, 2 * c))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(2 * c, 4 * c))
        self.down3 = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(4 * c, 8 * c))
        self.down4 = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(8 * c, 8 * c))
        self.bottleneck_reduce = nn.Sequential(nn.Conv2d(8 * c, k, 1), nn.ReLU(inplace=True))
        self.bottleneck_expand = nn.Conv2d(k, 8 * c, 1)
        self.k_embed = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU())
        self.k_to_gamma, self.k_to_beta = nn.Linear(128, k), nn.Linear(128, k)
        self.up1, self.conv1 = nn.ConvTranspose2d(8 * c, 8 * c, 2, stride=2), _DoubleConv(16 * c, 4 * c)
        self.up2, self.conv2 = nn.ConvTranspose2d(4 * c, 4 * c, 2, stride=2), _DoubleConv(8 * c, 2 * c)
        self.up3, self.conv3 = nn.ConvTranspose2d(2 * c, 2 * c, 2, stride=2), _DoubleConv(4 * c, c)
        self.up4, self.conv4 = nn.ConvTranspose2d(c, c, 2, stride=2), _DoubleConv(2 * c, c)
        last = nn.Conv2d(c, outputs * u * u, 1)
        self.add_module(head, nn.Sequential(*_convolutions(c, c), *_convolutions(c, c), last))

    def raw(self, image: Tensor, count: Tensor) -> Tensor:
        """What the head gives, without activations.

        Args:
            image: [B, 3, H, W] float32 in [0, 1], of any size: it is mirrored (where that is not enough, its edge is
                repeated) to multiples of 16 u at the right and below, and the result is cut.
            count: [B, 1] float32, numbers of Gaussians on 512 x 512 pixels; see `equivalent_count`.

        Returns:
            [B, outputs, H, W] float32.
        """
        height, width = image.shape[-2:]
        u = self.shape.unshuffle
        folded = functional.pixel_unshuffle(pad(image, (1 << _POOLINGS) * u), u)
        x1 = self.inc(folded.contiguous(memory_format=torch.channels_last))
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        gamma, beta = self._modulation(count)
        z = gamma * self.bottleneck_reduce(self.down4(x4)) + beta
        x = self.bottleneck_expand(z)
        x = self.conv1(torch.cat([self.up1(x), x4], 1))
        x = self.conv2(torch.cat([self.up2(x), x3], 1))
        x = self.conv3(torch.cat([self.up3(x), x2], 1))
        x = self.conv4(torch.cat([self.up4(x), x1], 1))
        head: nn.Sequential = getattr(self, self._head)
        x = head[:-1](x)
        with torch.autocast(x.device.type, enabled=False):  # positions need more than the 8 bits of bfloat16
            x = functional.pixel_shuffle(head[-1](x.float()), u)
        return x[..., :height, :width]

    def _modulation(self, count: Tensor) -> tuple[Tensor, Tensor]:
        """Factor and summand of the bottleneck, [B, k_dim, 1, 1]; float32, where 1 % more Gaussians is a change."""
        if count.ndim != 2 or count.shape[1] != 1:
            raise ValueError(f"Fast-2DGS network: counts must be [B, 1], got {list(count.shape)}")
        with torch.autocast(count.device.type, enabled=False):
            embedded = self.k_embed(torch.log1p(count.float()) / math.log1p(MOST))
            return self.k_to_gamma(embedded)[..., None, None], self.k_to_beta(embedded)[..., None, None]


class HeatNet(UNet):
    """Where Gaussians should sit."""

    head: ClassVar[str] = "pos_conv"

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__(shape or Shape(), 1, self.head)

    def forward(self, image: Tensor, count: Tensor) -> Tensor:
        """Arguments as for `UNet.raw`. Returns heat [B, 1, H, W], any real value; see `sampling.probabilities`."""
        return self.raw(image, count)


@dataclass(frozen=True)
class Maps:
    """What `AttributeNet` says about every pixel of B pictures.

    Attributes:
        raw: [B, 6 or 8, H, W] float32, not activated.
        image: [B, 3, H, W], the pictures.
    """

    raw: Tensor
    image: Tensor

    def activated(self) -> Attributes:
        """Maps of attributes, each [B, columns, H, W]."""
        return activate(self.raw, self.image)


class AttributeNet(UNet):
    """What a Gaussian at a pixel would look like.

    Args:
        shape: sizes; the published network with offsets has k_dim 64.
        offset: whether Gaussians may move away from their pixels (published as "Plus").
    """

    head: ClassVar[str] = "out_conv"

    def __init__(self, shape: Shape | None = None, offset: bool = True) -> None:
        super().__init__(shape or Shape(k_dim=64 if offset else 16), 8 if offset else 6, self.head)

    def forward(self, image: Tensor, count: Tensor) -> Maps:
        """Arguments as for `UNet.raw`."""
        return Maps(self.raw(image, count), image)


def pad(image: Tensor, multiple: int) -> Tensor:
    """[B, C, H, W] continued at the right and below until both sides are multiples: mirrored, or where it is too small
    for that, by its edge."""
    for axis in (2, 3):
        side = int(image.shape[axis])
        more = -side % multiple
        if more:
            amount = (0, more, 0, 0) if axis == 3 else (0, 0, 0, more)
            image = functional.pad(image, amount, mode="reflect" if more < side else "replicate")
    return image

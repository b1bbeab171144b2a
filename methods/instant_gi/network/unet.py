"""The decoder of the U-Net and the first convolution; names are those of the released weights."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .convnext import ConvNeXt


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in evaluation mode may be those of the pictures at hand.

    The released inference never leaves training mode: it normalises with mean and (biased) variance of its one picture.
    The same is done here without touching the running statistics.
    """

    def __init__(self, channels: int, batch_statistics: bool) -> None:
        super().__init__(channels)
        self.batch_statistics = batch_statistics

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not self.batch_statistics:
            return super().forward(x)
        return functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def convolutions(channels: tuple[int, ...], batch_statistics: bool) -> nn.Sequential:
    """3x3 convolutions without bias, each with batch norm and ReLU, from one number of channels to the next."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            BatchNorm(outputs, batch_statistics),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class InConv(nn.Module):
    """One convolution, at full resolution."""

    def __init__(self, inputs: int, outputs: int, batch_statistics: bool) -> None:
        super().__init__()
        self.in_conv = convolutions((inputs, outputs), batch_statistics)

    def forward(self, x: Tensor) -> Tensor:
        return self.in_conv(x)


class DoubleConv(nn.Module):
    """Two convolutions."""

    def __init__(self, inputs: int, outputs: int, batch_statistics: bool) -> None:
        super().__init__()
        self.double_conv = convolutions((inputs, outputs, outputs), batch_statistics)

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Up(nn.Module):
    """Doubles the resolution, adds zeros up to the size of the skip connection, and joins it."""

    def __init__(self, inputs: int, outputs: int, batch_statistics: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv = DoubleConv(2 * outputs, outputs, batch_statistics)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        below, right = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = functional.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))
        return self.conv(torch.cat([skip, x], 1))


class OutConv(nn.Module):
    """A linear map of the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Decoder(nn.Module):
    """From the coarsest map back to full resolution.

    Args:
        widths: channels from full resolution down to the coarsest.
        outputs: channels that come out.
        batch_statistics: see `BatchNorm`.
    """

    def __init__(self, widths: tuple[int, ...], outputs: int, batch_statistics: bool) -> None:
        super().__init__()
        for number, (above, below) in enumerate(zip(widths[-2::-1], widths[:0:-1], strict=True), 1):
            self.add_module(f"up{number}", Up(below, above, batch_statistics))
        self.outc = OutConv(widths[0], outputs)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from full resolution down to the coarsest; the list is emptied, so that memory is free early."""
        x = maps.pop()
        for name, layer in self.named_children():
            if name != "outc":
                x = layer(x, maps.pop())
        return self.outc(x)


class FeatureNet(nn.Module):
    """The U-Net: [B, 3, H, W] -> [B, outputs, H, W]."""

    def __init__(
        self, widths: tuple[int, ...], depths: tuple[int, ...], outputs: int, batch_statistics: bool, gamma: float
    ) -> None:
        super().__init__()
        first = widths[0] // 2
        self.in_conv = InConv(3, first, batch_statistics)
        self.convnext_encoder = ConvNeXt(first, widths, depths, gamma)
        self.unet_decoder = Decoder((first, *widths), outputs, batch_statistics)

    def forward(self, image: Tensor) -> Tensor:
        full = self.in_conv(image)
        return self.unet_decoder([full, *self.convnext_encoder(full)])

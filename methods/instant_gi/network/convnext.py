"""The encoder: ConvNeXt (Liu et al., CVPR 2022) behind a stem that halves the resolution once instead of twice.

Names are those of the released weights. Memory is channels last where the input is: then nothing is copied around the
norms and linear layers.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPSILON = 1e-6  # of all norms here [released code]
_EXPANSION = 4  # of the width inside a block


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """x + gamma * (Linear GELU Linear Norm (7x7 depthwise convolution)) (x)."""

    def __init__(self, width: int, gamma: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), gamma))
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.pwconv1 = nn.Linear(width, _EXPANSION * width)
        self.pwconv2 = nn.Linear(_EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        inner = self.pwconv2(functional.gelu(self.pwconv1(inner)))
        return x + (self.gamma * inner).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """The outputs of all stages but the last, and of the last.

    Args:
        inputs: channels that come in.
        widths: channels of each stage; each has half the resolution of the one before, odd rows and columns are lost.
        depths: blocks of each stage.
        gamma: at first.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], depths: tuple[int, ...], gamma: float) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(inputs, widths[0], 2, stride=2), ChannelNorm(widths[0]))
        between = (
            nn.Sequential(ChannelNorm(above), nn.Conv2d(above, below, 2, stride=2)) for above, below in pairwise(widths)
        )
        self.downsample_layers = nn.ModuleList([stem, *between])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width, gamma) for _ in range(depth)))
            for width, depth in zip(widths, depths, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> the outputs of the stages, the finest first."""
        outputs = []
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
            outputs.append(x)
        return outputs

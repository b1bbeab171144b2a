"""The pyramid stack that takes features from 1/16 of the resolution to all of it: AIR's neck, and its decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: Channels at 1/16, 1/8, 1/4, 1/2 and 1/1 of the resolution [C].
WIDTHS = (1024, 256, 128, 64, 32)


class PyramidStack(nn.Module):
    """x_0 = in_0(f_0); x_l = up(x_(l-1)) + in_l(f_l); then the residual blocks of level l; the output is x_l, at the
    last level after a projection where there is one.

    Levels are asked for one by one (`level`), so that two stacks in a row never hold all maps of all levels. The last
    way up is bilinear, the others are transposed convolutions; a 3x3 convolution with replicated borders follows each.

    Args:
        inputs: channels of f_l.
        widths: channels of x_l.
        blocks: number of residual blocks at each level.
        projection: a 1x1 convolution at the end of the last level.
        checkpointing: while training, keep no activations within ways up and residual blocks.

    Raises:
        ValueError: the three do not have one number per level.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        widths: Sequence[int],
        blocks: Sequence[int],
        projection: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if not len(inputs) == len(widths) == len(blocks) >= 2:
            raise ValueError(f"PyramidStack: inputs {inputs}, widths {widths} and blocks {blocks} need as many levels")
        self.checkpointing = checkpointing
        last = len(widths) - 1
        self.input_blocks = nn.ModuleList(nn.Conv2d(n, c, 1) for n, c in zip(inputs, widths, strict=True))
        self.resamplers = nn.ModuleList(_way_up(widths[i], widths[i + 1], i + 1 == last) for i in range(last))
        self.res_blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(c) for _ in range(n))) for c, n in zip(widths, blocks, strict=True)
        )
        self.output_blocks = nn.ModuleList(nn.Identity() for _ in widths)
        if projection:
            self.output_blocks[last] = nn.Conv2d(widths[last], widths[last], 1)

    def level(self, level: int, feature: Tensor, below: Tensor | None = None) -> Tensor:
        """The output of a level.

        Args:
            level: from 0.
            feature: [B or 1, inputs[level], h 2^level, w 2^level].
            below: the output of the level below, [B, widths[level - 1], ...]; None at level 0.

        Returns:
            [B, widths[level], h 2^level, w 2^level]
        """
        x = self.input_blocks[level](feature)
        if below is not None:
            x = self._run(self.resamplers[level - 1], below) + x
        for block in self.res_blocks[level]:
            x = self._run(block, x)
        return self.output_blocks[level](x)

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(module, x, use_reentrant=False)
        return module(x)


class ResidualBlock(nn.Module):
    """x + conv3x3(relu(conv3x3(relu(x)))), without normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The places of the convolutions are those of the released weights, where 0 and 3 are norms that do nothing.
        self.layers = nn.Sequential(
            nn.Identity(),
            nn.ReLU(),
            _conv3x3(width, width),
            nn.Identity(),
            nn.ReLU(inplace=True),
            _conv3x3(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def uv_map(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Coordinates of pixel centres, (x, y) from the centre of the picture, whose corners are at distance 1.

    Returns:
        [1, 2, height, width] float32
    """
    diagonal = (height**2 + width**2) ** 0.5
    v, u = ((2 * torch.arange(n, device=device, dtype=torch.float32) + 1 - n) / diagonal for n in (height, width))
    return torch.stack([u.expand(height, -1), v[:, None].expand(-1, width)])[None]


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")


def _way_up(inputs: int, outputs: int, bilinear: bool) -> nn.Sequential:
    if bilinear:
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), _conv3x3(inputs, outputs))
    up = nn.ConvTranspose2d(inputs, outputs, 2, 2)
    with torch.no_grad():  # the four taps start equal: no checkerboard at the beginning of training
        up.weight.copy_(up.weight[:, :, :1, :1].expand_as(up.weight).clone())
    return nn.Sequential(up, _conv3x3(outputs, outputs))

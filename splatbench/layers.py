"""Layers that small networks of several methods are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Convolution(nn.Module):
    """A convolution of k x k that keeps the size, whose weight is one matrix: [outputs, k * k * inputs]. Optimisers for
    matrices see it as it acts on a patch; read by rows it is in the order that fast kernels want."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.inputs, self.side = inputs, side
        bound = (inputs * side * side) ** -0.5
        self.weight = nn.Parameter(torch.empty(outputs, side * side * inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.unflatten(1, (self.side, self.side, self.inputs)).permute(0, 3, 1, 2)
        return functional.conv2d(x, kernel, self.bias, padding=self.side // 2)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))) with convolutions of 3x3, the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Convolution(width, width, 3)
        self.second = Convolution(width, width, 3)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(functional.relu(x))
        return x + self.second(functional.relu(inner))

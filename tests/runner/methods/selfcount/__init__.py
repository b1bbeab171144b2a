"""Test method: chooses its own number of Gaussians, one per 100 pixels of the picture, all of them black."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from splatbench.budget import Budget
from splatbench.codec import Attribute, gaussians_from_arrays, read, write
from splatbench.gaussians import Gaussians2D
from splatbench.method import Method
from splatbench.trace import Trace


@dataclass(frozen=True)
class Config:
    pixels: int = 100
    infinite: bool = False


class SelfCount(Method):
    title = "Chooses its own count"
    budgets = ("native",)
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Gaussians2D:
        n = max(1, image.shape[0] * image.shape[1] // self.config.pixels)
        scales = torch.ones(n, 2) * (float("inf") if self.config.infinite else 1)
        return Gaussians2D(torch.zeros(n, 2), torch.zeros(n, 3), image.shape[:2], scales=scales, angles=torch.zeros(n))

    def to_bytes(self, encoding: Gaussians2D) -> bytes:
        attributes = [Attribute(name, value.numpy()) for name, value in encoding.tensors().items()]
        return write("selfcount", encoding.size, encoding.blend, encoding.compat, attributes)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        file = read(data)
        return gaussians_from_arrays(file, file.arrays)

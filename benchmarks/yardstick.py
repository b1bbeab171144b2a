"""Adapter of `SumRasterizer` to an external benchmark: forward(means, conics, colors, height, width), backward(grad),
with pixel centres at integers. `Rasterizer` uses all allowed threads (SPLATBENCH_THREADS)."""

from __future__ import annotations

import numpy as np

from splatbench.render.cpu import SumRasterizer
from splatbench.render.cpu_tiles import Gradients


class Rasterizer:
    """The interface that the benchmark asks for."""

    def __init__(self) -> None:
        self._rasterizer = SumRasterizer()

    def forward(self, means: np.ndarray, conics: np.ndarray, colors: np.ndarray, height: int, width: int) -> np.ndarray:
        return self._rasterizer.forward(means, conics, colors, height, width, centre=0.0)

    def backward(self, grad: np.ndarray) -> Gradients:
        return self._rasterizer.backward(grad)

"""Control: Gaussians at random positions with the colour of the pixel below, nothing fitted. A lower bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from splatbench.budget import Budget
from splatbench.codec import Attribute, gaussians_from_arrays, read, spatial_order, write
from splatbench.gaussians import MIN_WEIGHT, Gaussians2D
from splatbench.method import Method, MethodError
from splatbench.trace import Trace

#: Smaller Gaussians fall between the pixel centres and leave holes.
MIN_SIGMA = 0.5


@dataclass(frozen=True)
class Config:
    """Settings of the control.

    Raises:
        ValueError: a sigma that is not positive.
    """

    sigma: float = 1.0  # standard deviation in units of the mean spacing sqrt(HW / N); ours: smaller leaves holes

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise ValueError(f"sigma must be positive, got {self.sigma}")


class RandomGaussians(Method):
    title = "Random Gaussians"
    control = True
    budgets = ("gaussians", "compression_ratio", "matched_to")
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Gaussians2D:
        """N isotropic Gaussians, uniform over the image, sorted along the curve that the file codes best.

        All have sigma = max(0.5 px, config.sigma * sqrt(HW / N)). Colours are the pixel's in [0, 1] times
        HW / (N 2 pi sigma^2 (1 - 1/255)), which makes the weights sum to 1 in expectation: 2 pi sigma^2 is the integral
        of a Gaussian, 1 - 1/255 its share above the cut-off.

        Raises:
            MethodError: the budget does not fix a count.
        """
        height, width = image.shape[:2]
        n = budget.count(height, width)
        if n is None:
            raise MethodError(f"{self.title} need a Gaussian count or a compression ratio, got {budget.as_dict()}")
        with trace.stage("initialise"):
            means = np.random.default_rng(seed).random((n, 2), np.float32) * np.float32([width, height])
            means = means[spatial_order(means)]
            # float32 rounding may carry a mean onto the far border.
            column, row = (np.minimum(means[:, a].astype(np.int64), s - 1) for a, s in enumerate((width, height)))
            sigma = max(MIN_SIGMA, self.config.sigma * math.sqrt(height * width / n))
            amplitude = height * width / (n * 2 * math.pi * sigma**2 * (1 - MIN_WEIGHT))
            colors = image[row, column].astype(np.float32) * np.float32(amplitude / 255)
            return Gaussians2D(
                means=torch.from_numpy(means),
                colors=torch.from_numpy(colors),
                size=(height, width),
                scales=torch.full((n, 2), sigma),
                angles=torch.zeros(n),
                blend="sum",
            )

    def to_bytes(self, encoding: Gaussians2D) -> bytes:
        attributes = [Attribute(name, value.numpy()) for name, value in encoding.tensors().items()]
        return write("random_gaussians", encoding.size, encoding.blend, encoding.compat, attributes)

    @staticmethod
    def from_bytes(data: bytes) -> Gaussians2D:
        file = read(data, method="random_gaussians")
        return gaussians_from_arrays(file, file.arrays)

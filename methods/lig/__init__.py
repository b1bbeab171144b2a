"""LIG, "Large Images are Gaussians" (Zhu et al., AAAI 2025): a coarse and a fine set of Gaussians, one after the other,
the fine one on what the coarse one left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import Budget
from splatbench.codec import spatial_order
from splatbench.method import Method, MethodError
from splatbench.trace import Trace

from . import bitstream
from .config import Config
from .fit import Part, fit_level
from .levels import Level, Share, shares, start, unit_of
from .picture import LevelPicture, Range, add_level, clamped, enlarged, reduced, residual_target


class LIG(Method):
    """Written from the paper and from the behaviour of the released code.

    Not repeated is one deviation of the published kernel: a picture of ones where no Gaussian meets any tile.
    """

    title = "LIG"
    paper = (
        "L. Zhu et al., Large Images are Gaussians: High-Quality Large Image Representation with Levels of 2D Gaussian "
        "Splatting, AAAI 2025"
    )
    blend = "sum"
    devices = ("cpu",)
    budgets = ("gaussians", "compression_ratio", "matched_to")
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> LevelPicture:
        """Fits `image` (uint8 [H, W, 3]); the budget's number of Gaussians is that of all levels.

        A snapshot before the last level is the enlarged picture of the levels so far.

        Raises:
            MethodError: the budget does not fix a count, or there are too few pixels or Gaussians for the levels.
            splatbench.trace.Diverged: a loss became NaN or infinite.
        """
        size = height, width = image.shape[:2]
        n = budget.count(height, width)
        if n is None:
            raise MethodError(f"{self.title} needs a Gaussian count or a compression ratio, got {budget.as_dict()}")
        wanted = torch.from_numpy(np.array(image)).to(self.device).float() / 255
        generator = torch.Generator().manual_seed(seed)
        levels: list[Level] = []
        ranges: list[Range] = []
        estimate: Tensor | None = None
        plan = shares(size, n, self.config)
        for k, share in enumerate(plan):
            with trace.stage(f"level {k}"):
                target, gain = reduced(wanted, share.size), 1.0
                if estimate is not None:
                    estimate = enlarged(estimate, share.size)
                    target, values = residual_target(target, estimate)
                    ranges.append(values)
                    gain = values.high - values.low
                part = self._part(k, plan, budget, trace, gain)
                so_far = lambda level: LevelPicture((*levels, level), tuple(ranges), size=size)  # noqa: E731
                levels.append(self._fit(share, target, part, trace, so_far, generator))
                drawn = clamped(levels[-1])
                estimate = drawn if estimate is None else add_level(estimate, drawn, ranges[-1])
        return LevelPicture(tuple(levels), tuple(ranges), size=size)

    def _fit(
        self,
        share: Share,
        target: Tensor,
        part: Part,
        trace: Trace,
        snapshot: Callable[[Level], LevelPicture],
        generator: torch.Generator,
    ) -> Level:
        first, unit = start(share, self.config, generator), unit_of(share, self.config)
        # a sum does not care for the order, the caches do
        order = torch.from_numpy(spatial_order(first.means.numpy()))
        tensors = {name: value[order].to(self.device) for name, value in first.tensors().items()}
        first = Level(**tensors, size=first.size, form=first.form, published_gradient=first.published_gradient)
        return fit_level(first, unit, target.contiguous(), self.config.learning_rate, part, trace, snapshot)

    def _part(self, k: int, plan: list[Share], budget: Budget, trace: Trace, gain: float) -> Part:
        """Steps and time of level k."""
        levels, iterations = len(plan), budget.iterations or self.config.iterations
        total = iterations if self.config.split_iterations else levels * iterations
        before, after = total * k // levels, total * (k + 1) // levels
        last = k == levels - 1
        seconds = float("inf") if budget.seconds is None else budget.seconds * (k + 1) / levels
        late = trace.out_of_time if last else lambda: trace.seconds >= seconds
        return Part(before, after - before, total, gain if last else None, late)

    def to_bytes(self, encoding: LevelPicture) -> bytes:
        return bitstream.write_levels(encoding, self.config)

    @staticmethod
    def from_bytes(data: bytes) -> LevelPicture:
        return bitstream.read_levels(data)

    def nominal_bits(self, encoding: LevelPicture) -> int:
        """56 N: the 7 bytes that SmartSplat's compression ratio takes for every method; LIG has no quantiser."""
        return 56 * len(encoding)

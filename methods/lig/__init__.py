"""LIG, "Large Images are Gaussians" (Zhu et al., AAAI 2025): a coarse and a fine set of Gaussians, one after the other,
the fine one on what the coarse one left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from splatbench.budget import NOMINAL_BYTES_PER_GAUSSIAN, Budget
from splatbench.codec import spatial_order
from splatbench.method import Method
from splatbench.rate import Profile, encode_at_rate
from splatbench.trace import Trace

from . import bitstream
from .config import Config
from .fit import Part, fit_level
from .levels import Level, Share, shares, start, unit_of
from .picture import LevelPicture, Range, add_level, clamped, enlarged, reduced, residual_target

#: Bit depths beside the configured ones that a budget in bytes may choose, for quantised files. Ours.
PROFILES: tuple[Profile, ...] = (
    {"covariance_bits": 8, "color_bits": 6},
    {"covariance_bits": 10, "color_bits": 7},
    {"covariance_bits": 12, "color_bits": 8},
)


@dataclass(frozen=True)
class Fitted:
    """Fitted levels and the settings that made them."""

    picture: LevelPicture
    config: Config

    def __len__(self) -> int:
        return len(self.picture)


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
    budgets = ("gaussians", "compression_ratio", "bpp", "matched_to")
    warm = False  # each level is fitted to what the coarser ones leave: one set of Gaussians is none of them
    Config = Config
    config: Config

    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Fitted:
        """Fits `image` (uint8 [H, W, 3]); the budget's number of Gaussians is that of all levels. A budget in bytes
        finds the number, and in quantised files the bit depths.

        A snapshot before the last level is the enlarged picture of the levels so far.

        Raises:
            MethodError: the budget fixes neither a count nor a rate that can be met, or there are too few pixels or
                Gaussians for the levels.
            splatbench.trace.Diverged: a loss became NaN or infinite.
        """
        if budget.bpp is not None:
            steps, profiles = budget.iterations or self.config.iterations, PROFILES if self.config.quantise else ()
            return encode_at_rate(self, image, budget, trace, seed, steps=steps, profiles=profiles)
        size = image.shape[:2]
        n = self.count_for(image, budget)
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
                so_far = lambda level: self._fitted([*levels, level], ranges, size)  # noqa: E731
                levels.append(self._fit(share, target, part, trace, so_far, generator))
                drawn = clamped(levels[-1])
                estimate = drawn if estimate is None else add_level(estimate, drawn, ranges[-1])
        return self._fitted(levels, ranges, size)

    def _fitted(self, levels: list[Level], ranges: list[Range], size: tuple[int, int]) -> Fitted:
        return Fitted(LevelPicture(tuple(levels), tuple(ranges), size=size), self.config)

    def _fit(
        self,
        share: Share,
        target: Tensor,
        part: Part,
        trace: Trace,
        snapshot: Callable[[Level], Fitted],
        generator: torch.Generator,
    ) -> Level:
        first, unit = start(share, self.config, generator), unit_of(share, self.config)
        # a sum does not care for the order, the caches do
        order = torch.from_numpy(spatial_order(first.means.numpy()))
        tensors = {name: value[order].to(self.device) for name, value in first.tensors().items()}
        return fit_level(
            replace(first, **tensors), unit, target.contiguous(), self.config.learning_rate, part, trace, snapshot
        )

    def _part(self, k: int, plan: list[Share], budget: Budget, trace: Trace, gain: float) -> Part:
        """Steps and time of level k."""
        levels, iterations = len(plan), budget.iterations or self.config.iterations
        total = iterations if self.config.split_iterations else levels * iterations
        before, after = total * k // levels, total * (k + 1) // levels
        last = k == levels - 1
        seconds = float("inf") if budget.seconds is None else budget.seconds * (k + 1) / levels
        late = trace.out_of_time if last else lambda: trace.seconds >= seconds
        return Part(before, after - before, total, gain if last else None, late)

    def to_bytes(self, encoding: Fitted) -> bytes:
        return bitstream.write_levels(encoding.picture, encoding.config)

    @staticmethod
    def from_bytes(data: bytes) -> LevelPicture:
        return bitstream.read_levels(data)

    def nominal_bits(self, encoding: Fitted) -> int:
        """56 N: the 7 bytes that SmartSplat's compression ratio takes for every method; LIG has no quantiser."""
        return 8 * NOMINAL_BYTES_PER_GAUSSIAN * len(encoding)

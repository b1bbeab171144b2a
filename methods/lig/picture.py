"""The picture of several levels: each adds, in its own range of values, to the enlarged picture of those before."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .levels import Level


@dataclass(frozen=True)
class Range:
    """Smallest and largest value of a level's target, the residual plus 1/2, before it was stretched to [0, 1]."""

    low: float
    high: float


@dataclass(frozen=True)
class LevelPicture:
    """Levels from coarse to fine, as the file holds them; a `splatbench.render.LayeredPicture`.

    Attributes:
        levels: at least one; the last may be coarser than the picture, which is then an enlargement.
        ranges: of the levels after the first.
        size: (H, W) of the picture.
    """

    levels: tuple[Level, ...]
    ranges: tuple[Range, ...]
    size: tuple[int, int] = field(kw_only=True)

    def __len__(self) -> int:
        return sum(len(level) for level in self.levels)

    def render(self) -> Tensor:
        """[H, W, 3] float32, not clamped."""
        with torch.no_grad():
            picture = clamped(self.levels[0])
            for level, values in zip(self.levels[1:], self.ranges, strict=True):
                picture = add_level(enlarged(picture, level.size), clamped(level), values)
            return enlarged(picture, self.size)

    def check_finite(self) -> None:
        """Raises ValueError naming the first attribute that holds NaN or infinity."""
        for k, level in enumerate(self.levels):
            for name, value in level.tensors().items():
                bad = int((~torch.isfinite(value)).sum())
                if bad:
                    raise ValueError(f"LIG, level {k}: {bad} values of {name} are NaN or infinite")


def clamped(level: Level) -> Tensor:
    """What a level draws, limited to [0, 1]."""
    return level.draw().clamp_(0, 1)


def enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """[H, W, 3] by bilinear interpolation between the centres of pixels."""
    if tuple(picture.shape[:2]) == size:
        return picture
    planes = picture.permute(2, 0, 1)[None]
    return interpolate(planes, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


def reduced(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """[H, W, 3] by averages over areas."""
    if tuple(picture.shape[:2]) == size:
        return picture
    return interpolate(picture.permute(2, 0, 1)[None], size, mode="area")[0].permute(1, 2, 0)


def residual_target(wanted: Tensor, estimate: Tensor) -> tuple[Tensor, Range]:
    """(what is missing of an estimate, stretched to [0, 1]; its range).

    Where nothing is missing anywhere, or the same everywhere, there is nothing to stretch: the target is zero, and the
    range alone makes the picture. (The released code divides by zero.)
    """
    missing = wanted - estimate + 0.5
    values = Range(float(missing.min()), float(missing.max()))
    if values.low == values.high:
        return torch.zeros_like(missing), values
    return (missing - values.low) / (values.high - values.low), values


def add_level(estimate: Tensor, drawn: Tensor, values: Range) -> Tensor:
    """The inverse of `residual_target` for what a level has drawn."""
    return estimate + drawn * (values.high - values.low) + (values.low - 0.5)

"""Levels: their sizes and counts, their random start, and what one of them draws (paper Sec. 3.3; released code)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from splatbench.method import MethodError
from splatbench.render import covariance_from_cholesky, rasterize_signed, rasterize_sum

from .config import Config

#: Square pixels: the smallest variance along an axis with which a Cholesky factor starts (ours).
SMALLEST_START = 0.1


@dataclass(frozen=True)
class Share:
    """What a level is given: its picture's size (H, W), and its number of Gaussians."""

    size: tuple[int, int]
    count: int


def level_size(size: tuple[int, int], level: int, levels: int) -> tuple[int, int]:
    """(H, W) of a level, each side halved (and cut to whole pixels) once per level below the last."""
    scale = 2.0 ** (level - levels + 1)
    return math.trunc(size[0] * scale), math.trunc(size[1] * scale)


def shares(size: tuple[int, int], count: int, config: Config) -> list[Share]:
    """Sizes and counts of all levels, the coarsest first.

    Raises:
        MethodError: the picture is too small, or the Gaussians too few, for so many levels.
    """
    levels = config.levels
    sizes = [level_size(size, k, levels) for k in range(levels)]
    if min(sizes[0]) < 1:
        raise MethodError(
            f"LIG: a picture of {size[1]}x{size[0]} pixels is too small for {levels} levels; set levels lower"
        )
    counts = [math.trunc(count * 4.0 ** (k - levels + 1) * config.allocation) for k in range(levels - 1)]
    if counts and counts[0] < 1:
        needed = math.ceil(4.0 ** (levels - 1) / config.allocation)
        raise MethodError(
            f"LIG: of {count} Gaussians none is left for the first of {levels} levels, which needs {needed} in all; "
            "ask for more, or set levels lower"
        )
    counts.append(count - sum(counts))
    if counts[-1] < 1:
        raise MethodError(f"LIG: allocation {config.allocation:g} leaves no Gaussian for the last level; set it lower")
    return [Share(s, n) for s, n in zip(sizes, counts, strict=True)]


@dataclass(frozen=True)
class Level:
    """Gaussians of one level.

    Attributes:
        means: [N, 2] float32, (x, y) in pixels of this level; the centre of the first pixel at (0.5, 0.5).
        shape: [N, 3] float32: (Sxx, Sxy, Syy) in square pixels, or a Cholesky factor (l11, l21, l22) in pixels.
        colors: [N, 3] float32.
        size: (H, W).
        form: what `shape` holds, "direct" or "cholesky".
        published_gradient: of "direct"; see `rasterize_signed`.
    """

    means: Tensor
    shape: Tensor
    colors: Tensor
    size: tuple[int, int]
    form: Literal["direct", "cholesky"]
    published_gradient: bool = False

    def __len__(self) -> int:
        return len(self.means)

    def draw(self, out: Tensor | None = None) -> Tensor:
        """[H, W, 3] float32, not clamped, differentiable; written to `out` if given."""
        if self.form == "cholesky":
            covariance = covariance_from_cholesky(self.shape)
            return rasterize_sum(self.means, covariance, self.colors, self.size, out=out)
        return rasterize_signed(
            self.means,
            self.shape.double(),
            self.colors,
            self.size,
            published_gradient=self.published_gradient,
            out=out,
        )

    def tensors(self) -> dict[str, Tensor]:
        return {"means": self.means, "shape": self.shape, "colors": self.colors}


def unit_of(share: Share, config: Config) -> float:
    """Pixels that lengths of a level are counted in; see `Config.footprint`."""
    if config.footprint == "published":
        return 1.0
    return max(1.0, math.sqrt(share.size[0] * share.size[1] / (math.pi * share.count)))


def start(share: Share, config: Config, generator: torch.Generator) -> Level:
    """Random start in units of `unit_of`: means uniform over the picture, the elements of covariances uniform in
    [0, 1), which makes 5 of 9 of them indefinite; colours zero.

    A Cholesky factor starts from the absolute value of that matrix (the same axes, positive variances).
    """
    height, width = share.size
    unit = unit_of(share, config)
    means = torch.rand(share.count, 2, generator=generator) * torch.tensor([width / unit, height / unit])
    shape = torch.rand(share.count, 3, generator=generator)
    if config.form == "cholesky":
        shape = factor_of_absolute(shape)
    return Level(means, shape, torch.zeros(share.count, 3), share.size, config.form, config.published_gradient)


def factor_of_absolute(covariance: Tensor) -> Tensor:
    """Cholesky factors [N, 3] float32 of the absolute values of symmetric matrices [N, 3] (Sxx, Sxy, Syy): eigenvalues
    by their magnitude, at least SMALLEST_START."""
    values, vectors = torch.linalg.eigh(covariance.double()[:, [0, 1, 1, 2]].view(-1, 2, 2))
    positive = (vectors * values.abs().clamp_min(SMALLEST_START)[:, None, :]) @ vectors.mT
    factor = torch.linalg.cholesky(positive)
    return torch.stack([factor[:, 0, 0], factor[:, 1, 0], factor[:, 1, 1]], 1).float()


def in_pixels(raw: Level, unit: float) -> Level:
    """A level whose lengths were counted in `unit` pixels, in pixels."""
    if unit == 1:
        return raw
    by = unit if raw.form == "cholesky" else unit * unit
    return replace(raw, means=raw.means * unit, shape=raw.shape * by)

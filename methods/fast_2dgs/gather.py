"""From maps and drawn pixels to Gaussians: the border to the renderer, shared by inference, fit and training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from splatbench.fitting import published_gradient
from splatbench.gaussians import Gaussians2D, TopkSettings
from splatbench.render import TopkRule, covariance_from_scales

from .attributes import activate
from .unet import Maps

#: What the outputs of a pair of networks mean. "published": pixel (row y, column x) stands for x / (W - 1),
#: y / (H - 1); offsets are added in that unit (a full turn of tanh is the whole picture); kernels sample pixels at
#: integers, so the last column lands one pixel too far right; angles turn from y to x. "exact": a pixel stands for its
#: centre, offsets are at most `MOST_PIXELS`, angles turn from x to y (ours).
Convention = Literal["published", "exact"]

#: Pixels by which a Gaussian leaves its pixel at most under "exact".
MOST_PIXELS = 2.0


class Parameters(NamedTuple):
    """What a fit optimises: K Gaussians of one picture, float32.

    Attributes:
        positions: [K, 2], (x, y) in units of the picture's width and height, 0 and 1 at its edges.
        scales: [K, 2], standard deviations in pixels; their signs show nowhere.
        colors: [K, 3], any real value.
        angles: [K], radians from x to y.
    """

    positions: Tensor
    scales: Tensor
    colors: Tensor
    angles: Tensor

    def detach(self) -> Parameters:
        """The same values cut from the graph, in memory of their own."""
        return Parameters(*(value.detach().clone() for value in self))

    def to(self, device: torch.device | str) -> Parameters:
        return Parameters(*(value.to(device) for value in self))


def gather(maps: Maps, pixels: Tensor, convention: Convention, picture: int = 0) -> Parameters:
    """The Gaussians at the drawn pixels of one picture, differentiable in the maps.

    Args:
        maps: of `AttributeNet`.
        pixels: int64 [K], flat indices (row W + column) on the device of the maps; repeats give equal Gaussians.
        picture: which one of the batch.
    """
    height, width = maps.raw.shape[-2:]
    raw, colors = maps.raw[picture].flatten(1)[:, pixels], maps.image[picture].flatten(1)[:, pixels]
    at = activate(raw, colors, dim=0)
    positions = pixel_positions(pixels, (height, width), convention)
    sides = positions.new_tensor([width, height])
    if at.offset is not None:
        positions = positions + (at.offset.T if convention == "published" else at.offset.T * MOST_PIXELS / sides)
    angles = at.angles[0] if convention == "exact" else -at.angles[0]
    return Parameters(positions, at.scales.T, at.colors.T, angles)


def pixel_positions(pixels: Tensor, size: tuple[int, int], convention: Convention) -> Tensor:
    """[K, 2] float32 `Parameters.positions` of flat pixel indices [K] in a picture of `size` (H, W)."""
    height, width = size
    at = torch.stack([pixels % width, pixels // width], 1)
    sides = torch.tensor([width, height], dtype=torch.float64, device=pixels.device)
    if convention == "exact":
        return ((at + 0.5) / sides).float()
    # Kernels that sample pixel j at j, while our pixels have their centres at j + 0.5.
    return (at / (sides - 1).clamp_min(1) + 0.5 / sides).float()


@dataclass(frozen=True)
class Blending:
    """How Gaussians of this method are drawn.

    Attributes:
        topk: the numbers of blend `topk`.
        compat: published deviations of the renderer that a decoder repeats.
        gradient: "published": the covariance gradient of the released kernels, off the diagonal wrong.
    """

    topk: TopkSettings = field(default_factory=TopkSettings)
    compat: frozenset[str] = frozenset()
    gradient: Literal["exact", "published"] = "exact"

    @property
    def rule(self) -> TopkRule:
        """The same numbers for `PictureLoss`."""
        return TopkRule(self.topk.k, self.topk.epsilon, self.topk.min_response, self.compat)

    def activate(self, p: Parameters, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Means [K, 2] in pixels, covariance [K, 3] float64 and colours [K, 3], for `PictureLoss`; differentiable."""
        covariance = covariance_from_scales(p.scales, p.angles)
        if self.gradient == "published":
            covariance = published_gradient(covariance)
        return means(p, size), covariance, p.colors

    @torch.no_grad()
    def gaussians(self, p: Parameters, size: tuple[int, int]) -> Gaussians2D:
        """The Gaussians as they are now, on the CPU."""
        fields: dict[str, Any] = {
            "means": means(p, size),
            "scales": p.scales.abs(),
            "angles": p.angles,
            "colors": p.colors,
        }
        fields = {name: value.detach().float().cpu().contiguous() for name, value in fields.items()}
        return Gaussians2D(size=size, blend="topk", topk=self.topk, compat=self.compat, **fields)


def means(p: Parameters, size: tuple[int, int]) -> Tensor:
    """[K, 2] pixels of a picture of `size` (H, W)."""
    return p.positions * p.positions.new_tensor([size[1], size[0]])

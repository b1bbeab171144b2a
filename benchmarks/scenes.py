"""Workloads: Gaussians placed and sized as in a fit, an image behind them, and what they cost in pairs."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numba
import numpy as np
import torch
from torch import Tensor

from splatbench.codec import spatial_order
from splatbench.datasets.synthetic import synthetic_image

#: name: (Gaussians, height, width). "small" is what the float64 reference can manage.
SCENES = {
    "small": (1500, 128, 192),
    "kodak-28k": (28_000, 512, 768),
    "kodak-70k": (70_000, 512, 768),
    "div2k-86k": (86_000, 1356, 2040),
}


@dataclass(frozen=True, eq=False)
class Scene:
    """Parameters of a fit and its image.

    Attributes:
        means: [N, 2] float32 pixels, in Morton order, as fits keep them.
        factors: [N, 3] float32 Cholesky factors (l11, l21, l22) in pixels.
        colors: [N, 3] float32.
        target: [H, W, 3] uint8.
    """

    name: str
    means: Tensor
    factors: Tensor
    colors: Tensor
    target: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.target.shape[0], self.target.shape[1]

    @property
    def count(self) -> int:
        return len(self.means)

    def to(self, device: str) -> Scene:
        moved = {name: getattr(self, name).to(device) for name in ("means", "factors", "colors", "target")}
        return replace(self, **moved)


def make_scene(name: str, count: int, height: int, width: int, edges: bool = True) -> Scene:
    """A scene of the synthetic picture.

    Half of the means lie where the picture has gradients (without `edges`: anywhere). Standard deviations are 0.4 to 2
    times sqrt(H W / (pi N)) per axis, at any angle: about 16 pairs of weight >= 1/255 per pixel, whatever the count.
    """
    target = synthetic_image(height, width)
    rng = np.random.default_rng(0)
    pixel = rng.integers(0, height * width, count)
    if edges:
        grey = target.mean(2)
        gy, gx = (np.gradient(grey, axis=axis) if size > 1 else 0 * grey for axis, size in enumerate(grey.shape))
        strength = np.cumsum(np.hypot(gx, gy).ravel() + 1e-9)
        drawn = np.searchsorted(strength, rng.random(count // 2) * strength[-1])
        pixel[: count // 2] = np.minimum(drawn, height * width - 1)
    means = np.stack([pixel % width, pixel // width], 1) + rng.random((count, 2))
    order = spatial_order(means.astype(np.float32))
    means, pixel = means[order], pixel[order]
    base = math.sqrt(height * width / (math.pi * count))
    s1, s2 = base * rng.uniform(0.4, 2.0, (2, count))
    angle = rng.uniform(0, math.pi, count)
    cos, sin = np.cos(angle), np.sin(angle)
    xx, xy, yy = cos**2 * s1**2 + sin**2 * s2**2, cos * sin * (s1**2 - s2**2), sin**2 * s1**2 + cos**2 * s2**2
    l11 = np.sqrt(xx)
    factors = np.stack([l11, xy / l11, np.sqrt(yy - xy**2 / xx)], 1)
    colors = target.reshape(-1, 3)[pixel] / 255 * 0.4 + rng.normal(0, 0.2, (count, 3))
    tensors = [torch.from_numpy(x.astype(np.float32)) for x in (means, factors, colors)]
    return Scene(name, tensors[0], tensors[1], tensors[2], torch.from_numpy(target))


def coverage(scene: Scene, least: float) -> np.ndarray:
    """int32 [H, W]: at each pixel, how many Gaussians have a weight of at least `least`. Exact, in float64."""
    counts = np.zeros(scene.size, np.int32)
    _cover(scene.means.cpu().numpy(), scene.factors.cpu().numpy(), -math.log(least), counts)
    return counts


@numba.njit(nogil=True)
def _cover(means, factors, limit, counts):
    height, width = counts.shape
    for i in range(len(means)):
        a, b, c = np.float64(factors[i, 0]), np.float64(factors[i, 1]), np.float64(factors[i, 2])
        ux, uy = np.float64(means[i, 0]) - 0.5, np.float64(means[i, 1]) - 0.5
        rx, ry = math.sqrt(2 * limit) * abs(a), math.sqrt(2 * limit * (b * b + c * c))
        for y in range(max(0, math.floor(uy - ry)), min(height, math.ceil(uy + ry) + 1)):
            for x in range(max(0, math.floor(ux - rx)), min(width, math.ceil(ux + rx) + 1)):
                p = (x - ux) / a
                q = (y - uy - b * p) / c
                counts[y, x] += 0.5 * (p * p + q * q) <= limit

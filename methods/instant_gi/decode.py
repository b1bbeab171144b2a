"""From a feature map and a triangulation to Gaussians (Z. Zeng et al., ICCV 2025; released code).

Every triangle becomes one Gaussian. Coordinates are the published ones: corner coordinates, in which a picture reaches
from 0 to W, or from -1 to 1 where they are normalised. The published renderer takes the same numbers for coordinates
in which pixels have integer centres; `Predicted.pixels` therefore adds half a pixel, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from splatbench.gaussians import Gaussians2D
from splatbench.trace import Trace

from .dither import dither, points_of
from .triangulation import Triangles, triangulate

#: Features of a pixel, and what the heads read: ellipse 4, triangle 6, colours 12, reduced features 64; 4 positions.
FEATURES = 64
SHAPE_INPUTS = 4 + 6 + 12 + FEATURES
COLOR_INPUTS = SHAPE_INPUTS + 8

#: Normalised centres of ellipses and positions stay this far from the border [released code].
_CENTRE_MARGIN, _POSITION_MARGIN = 1e-5, 1e-6
#: Added to the major axis where the minor one is divided by it [released code].
_AXIS_EPSILON = 1e-4
#: Triangles that are decoded at a time where no gradient is wanted.
_CHUNK = 1 << 16


def perceptron(inputs: int, hidden: tuple[int, ...], outputs: int, *last: nn.Module) -> nn.Sequential:
    """Linear layers with ReLU between them and `last` at the end."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs), *last)


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Weights of convolutions and linear layers from a normal of deviation 0.02 cut at +-2, biases 0 [released code].

    Transposed convolutions keep the framework's start. For `nn.Module.apply`.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Heads(nn.Module):
    """The perceptrons: one for the position probability of a pixel, the others decode a triangle.

    Names, shapes and order are the released ones.

    Args:
        before: modules that come first in the state dict.
    """

    def __init__(self, **before: nn.Module) -> None:
        super().__init__()
        for name, module in before.items():
            self.add_module(name, module)
        self.position_field = perceptron(FEATURES, (FEATURES,) * 2, 1, nn.Sigmoid())
        self.feature_reduction = perceptron(4 * FEATURES, (256, 128), FEATURES, nn.LayerNorm(FEATURES))
        self.bc_field = perceptron(SHAPE_INPUTS, (SHAPE_INPUTS,) * 2, 3, nn.Softmax(-1))
        self.scale_rot_field = perceptron(COLOR_INPUTS, (COLOR_INPUTS,) * 2, 3)
        self.color_field = perceptron(COLOR_INPUTS, (COLOR_INPUTS,) * 2, 1, nn.Sigmoid())
        self.apply(initialise)


class Network(Protocol):
    """What `predict` and `decode` need of a network.

    Attributes:
        block: k, the side in pixels of the blocks that hold at most one point.
        least_side: of pictures, in pixels.
        heads: the perceptrons.
    """

    block: int
    least_side: int

    @property
    def heads(self) -> Heads: ...

    def features(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] float32 in [0, 1] -> the feature map [B, 64, h, w]; h x w need not be H x W."""

    def density(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """[ceil(H / k), ceil(W / k)] in (0, 1), of one picture: the largest position probability of each block."""

    def sample(self, features: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Features [1, 64, h, w] at points [..., 2] in pixels (corner coordinates) -> [..., 64] float32."""


@dataclass(frozen=True)
class Predicted:
    """Gaussians as the network gives them.

    Attributes:
        means: [N, 2] normalised to [-1, 1].
        scales: [N, 2] standard deviations in pixels, not clamped.
        turns: [N] in (0, 1): the direction of the first scale in turns, from +x towards +y.
        colors: [N, 3].
    """

    means: Tensor
    scales: Tensor
    turns: Tensor
    colors: Tensor

    def pixels(self, size: tuple[int, int]) -> Tensor:
        """Means in pixels of a picture of (H, W), centres of pixels at .5: W (m + 1) / 2 + 0.5."""
        half = self.means.new_tensor([size[1] / 2, size[0] / 2])
        return torch.addcmul(half + 0.5, self.means, half)

    @property
    def angles(self) -> Tensor:
        """[N] radians."""
        return 2 * torch.pi * self.turns

    def gaussians(self, size: tuple[int, int], compat: frozenset[str] = frozenset()) -> Gaussians2D:
        """As a picture of (H, W), on their device, without gradients."""
        return Gaussians2D(
            means=self.pixels(size).detach(),
            scales=self.scales.detach(),
            angles=self.angles.detach(),
            colors=self.colors.detach(),
            size=size,
            compat=compat,
        )


def normalised(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Points [..., 2] in pixels of a picture of (H, W) -> [-1, 1]."""
    return 2 * points / points.new_tensor([size[1], size[0]]) - 1


def sample_bilinear(picture: Tensor, points: Tensor) -> Tensor:
    """A picture [1, C, h, w] at normalised points [..., 2] -> [..., C]; outside it there is 0 (released code).

    -1 is the outer edge of the first pixel, so that points on the border get half a value, corners a quarter.
    """
    found = functional.grid_sample(
        picture, points.reshape(1, -1, 1, 2), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return found[0, :, :, 0].T.reshape(*points.shape[:-1], picture.shape[1])


def scale_factor(raw: Tensor) -> Tensor:
    """f of the released code: by how much an axis of the ellipse is stretched; 0.5 at 0, rising, at most 3.

    It has a step of -0.009 at raw = 2.
    """
    x = 50 * torch.tanh(0.02 * raw)
    z = x / 4 - 2.5
    rising = torch.where(z < -2, 3 + z, 3 - 0.5 * functional.softplus(-2 * z))
    return torch.where(x < 0, 0.5 * torch.exp(x / 2), rising)


def decode(network: Network, features: Tensor, image: Tensor, triangles: Triangles) -> Predicted:
    """One Gaussian per triangle (released code).

    Gradients reach the network through the sampled features and through positions, but not through the positions at
    which colours are sampled, nor those that the second pair of heads reads.

    Args:
        network: its `sample` and heads.
        features: of `network.features`.
        image: [1, 3, H, W] float32 in [0, 1].
        triangles: on any device; those without area would be NaN, as in the released code.

    Raises:
        ValueError: a picture that is not [1, 3, H, W].
    """
    if image.ndim != 4 or image.shape[:2] != (1, 3):
        raise ValueError(f"decode: expected a picture [1, 3, H, W], got {list(image.shape)}")
    triangles = triangles.to(image.device)
    size = (int(image.shape[2]), int(image.shape[3]))
    described = _Described(network, features, image, triangles)
    rows, means = [], []
    for part in _parts(len(triangles.corners)):
        rows.append(described.rows(part))
        weights = network.heads.bc_field(rows[-1])
        means.append((weights[:, :, None] * normalised(triangles.corners[part], size)).sum(1))
    positions = torch.cat(means).clamp(-1 + _POSITION_MARGIN, 1 - _POSITION_MARGIN)
    fixed = positions.detach()
    scales, turns, colors = [], [], []
    for part, row in zip(_parts(len(fixed)), rows, strict=True):
        near = fixed[triangles.neighbours[part]].flatten(1)
        row = torch.cat([fixed[part], near, row], 1)
        raw = network.heads.scale_rot_field(row)
        scales.append(scale_factor(raw[:, :2]) * triangles.axes[part])
        turns.append(torch.sigmoid(torch.logit(triangles.turn[part]) + torch.tanh(raw[:, 2])))
        colors.append(network.heads.color_field(row) * sample_bilinear(image, fixed[part]))
    return Predicted(positions, torch.cat(scales), torch.cat(turns), torch.cat(colors))


def predict(network: Network, image: Tensor, trace: Trace | None = None) -> Predicted:
    """The Gaussians of a picture: as many as there are triangles between the points that the network asks for.

    Args:
        network: on the device of the picture.
        image: [1, 3, H, W] float32 in [0, 1].
        trace: gets the times of the stages network, dithering, triangulation and decoding, and notes.
    """
    size = (int(image.shape[2]), int(image.shape[3]))
    trace = trace or Trace()
    with trace.stage("network"):
        features = network.features(image)
        density = network.density(features, size)
    with trace.stage("dithering"):
        cells = dither(density.detach().float().cpu().numpy())
        points = points_of(cells, network.block, size)
    with trace.stage("triangulation"):
        triangles = triangulate(points, size)
    if triangles.note:
        trace.note(triangles.note)
    with trace.stage("decoding"):
        return decode(network, features, image, triangles)


def _parts(n: int) -> Iterator[slice]:
    """Slices of n rows: one where gradients are wanted, small ones otherwise."""
    step = max(n, 1) if torch.is_grad_enabled() else _CHUNK
    for first in range(0, max(n, 1), step):
        yield slice(first, first + step)


class _Described:
    """What the first head reads of triangles. Vertices are sampled once, though each belongs to about six of them."""

    def __init__(self, network: Network, features: Tensor, image: Tensor, triangles: Triangles) -> None:
        self.network, self.features, self.image, self.triangles = network, features, image, triangles
        self.size = (int(image.shape[2]), int(image.shape[3]))
        points, self.which = _unique(triangles.corners)
        self.vertex_features = network.sample(features, points, self.size)
        self.vertex_colors = sample_bilinear(image, normalised(points, self.size))

    def rows(self, part: slice) -> Tensor:
        """Of some triangles, [n, 86]: ellipse, triangle, colours and reduced features."""
        at, axes, turn = self.triangles.centres[part], self.triangles.axes[part], self.triangles.turn[part]
        centre = normalised(at, self.size).clamp(-1 + _CENTRE_MARGIN, 1 - _CENTRE_MARGIN)
        ellipse = [centre, axes[:, :1] / (axes[:, 1:] + _AXIS_EPSILON), turn[:, None]]
        outline = _outline(normalised(self.triangles.corners[part], self.size))
        colors = [self._at_vertices(self.vertex_colors, part), sample_bilinear(self.image, centre)]
        features = [
            self._at_vertices(self.vertex_features, part),
            self.network.sample(self.features, at, self.size),
        ]
        reduced = self.network.heads.feature_reduction(torch.cat(features, 1))
        return torch.cat([*ellipse, outline, *colors, reduced], 1)

    def _at_vertices(self, values: Tensor, part: slice) -> Tensor:
        """Rows [V, C] of the vertices of some triangles, one vertex after the other: [n, 3 C]."""
        return values.index_select(0, self.which[part].flatten()).reshape(-1, 3 * values.shape[1])


def _unique(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Points [V, 2] of corners [N, 3, 2] float32 without repetition, and which of them each corner is, [N, 3]."""
    bits = corners.contiguous().view(torch.int32).to(torch.int64)  # equal coordinates are equal to the bit
    keys, which = torch.unique((bits[..., 0] << 32) | (bits[..., 1] & 0xFFFFFFFF), return_inverse=True)
    points = corners.new_empty(len(keys), 2)
    points[which.flatten()] = corners.reshape(-1, 2)
    return points, which


def _outline(corners: Tensor) -> Tensor:
    """Normalised triangles [n, 3, 2] around their centroids, scaled to area 1, as [n, 6]."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs() / 2
    around = corners - corners.mean(1, keepdim=True)
    return (around * area.rsqrt()[:, None, None]).flatten(1)

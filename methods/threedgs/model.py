"""3D Gaussians in front of one fixed camera: their start, and what they become in the picture (released code).

The published renderer evaluates pixels at integer positions; here the centre of the first pixel is at 0.5, so means in
pixels are half a pixel further, once, in `project`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.spatial import KDTree
from torch import Tensor

#: Depth of the plane Z = 0: the camera is moved, not turned.
DISTANCE = 8.0
NEAR = 0.01  # nothing closer is drawn
BLUR = 0.3  # square pixels, added to variances in the picture
_FIELD = 1.3  # tangents are limited to this many times those of the picture's border, in the covariances alone
_NEAREST = 1e-7  # distances of the start below this: points that coincide
START_OPACITY = 0.1


@dataclass(frozen=True)
class Projection:
    """2D Gaussians from front to back.

    Attributes:
        means: [N, 2] float32, (x, y) in pixels, the centre of the first pixel at (0.5, 0.5).
        covariance: [N, 3] float64, (Sxx, Sxy, Syy) in square pixels.
        colors: [N, 3] float32.
        opacities: [N] float32 in [0, 1], 0 for what is too close to the camera.
    """

    means: Tensor
    covariance: Tensor
    colors: Tensor
    opacities: Tensor


def initial_parameters(n: int, sh_degree: int, seed: int) -> dict[str, Tensor]:
    """Random start, drawn on the CPU generator.

    Returns:
        float32 tensors: `means` [N, 3] uniform in [-1, 1]^3; `scales` [N, 3], logarithms of the mean distance to the
        three nearest others; `rotations` [N, 4], random unit quaternions (w, x, y, z); `opacities` [N], logits of 0.1;
        `base` [N, 1, 3] uniform in [0, 1), and `bands` [N, (sh_degree + 1)^2 - 1, 3] zero: spherical harmonics.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    means = 2 * draw(n, 3) - 1
    u, v, w = draw(3, n)
    v, w = 2 * torch.pi * v, 2 * torch.pi * w
    rotations = torch.stack(
        [(1 - u).sqrt() * v.sin(), (1 - u).sqrt() * v.cos(), u.sqrt() * w.sin(), u.sqrt() * w.cos()]
    )
    return {
        "means": means,
        "scales": _mean_distance(means).log()[:, None].repeat(1, 3),
        "rotations": rotations.T.contiguous(),
        "opacities": torch.full((n,), START_OPACITY).logit(),
        "base": draw(n, 1, 3),
        "bands": torch.zeros(n, (sh_degree + 1) ** 2 - 1, 3),
    }


def _mean_distance(points: Tensor) -> Tensor:
    """[N]: mean distance to the three nearest other points, or to as many as there are; 1 for a single point."""
    others = min(3, len(points) - 1)
    if others == 0:
        return torch.ones(1)
    distances, _ = KDTree(points.numpy()).query(points.numpy(), k=others + 1)
    return torch.from_numpy(distances[:, 1:]).mean(1).float().clamp_min(_NEAREST)


def project(parameters: dict[str, Tensor], size: tuple[int, int], clamp_colors: bool) -> Projection:
    """What the camera sees, differentiable.

    View and projection are one matrix without perspective, so X and Y in [-1, 1] cover the picture whatever the depth;
    perspective with a focal length of half the width is in the covariances alone.

    Args:
        parameters: as `initial_parameters` returns them.
        size: (H, W).
        clamp_colors: see `Config`.
    """
    height, width = size
    points = parameters["means"] + parameters["means"].new_tensor([0.0, 0.0, DISTANCE])
    depth = points[:, 2].detach()
    seen = depth > NEAR
    # what is not seen keeps finite numbers
    points = torch.where(seen[:, None], points, points.new_tensor([0.0, 0.0, DISTANCE]))
    colors = _colors(points.detach(), parameters["base"], parameters["bands"])
    half = points.new_tensor([width / 2, height / 2])
    order = torch.argsort(depth, stable=True)
    sort = lambda values: values.index_select(0, order)  # noqa: E731
    return Projection(
        means=sort(half * (points[:, :2] + 1)),
        covariance=sort(_covariance(points, parameters["scales"], parameters["rotations"], size)),
        colors=sort(colors.clamp_min(0) if clamp_colors else colors),
        opacities=sort(torch.sigmoid(parameters["opacities"]) * seen),
    )


def _covariance(points: Tensor, scales: Tensor, rotations: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, 3] float64: J R diag(exp scales)^2 R^T J^T + 0.3 I, with J the perspective's derivative at a point (Kerbl et
    al., equation 5)."""
    height, width = size
    focal = width / 2
    x, y, z = points.double().unbind(1)
    tan_x, tan_y = (x / z).clamp(-_FIELD, _FIELD), (y / z).clamp(-_FIELD * height / width, _FIELD * height / width)
    # rows of J are focal / z (1, 0, -tan_x) and focal / z (0, 1, -tan_y)
    axes = rotation_matrices(rotations.double()) * (scales.double().exp() * (focal / z)[:, None])[:, None, :]
    to_x, to_y, to_z = axes.unbind(1)
    first, second = to_x - tan_x[:, None] * to_z, to_y - tan_y[:, None] * to_z
    return torch.stack([(first * first).sum(1) + BLUR, (first * second).sum(1), (second * second).sum(1) + BLUR], 1)


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """[N, 3, 3] of quaternions [N, 4] (w, x, y, z) of any length but 0."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, 1).view(-1, 3, 3)


def _colors(points: Tensor, base: Tensor, bands: Tensor) -> Tensor:
    """[N, 3]: 1/2 + spherical harmonics of the direction from the camera."""
    directions = torch.nn.functional.normalize(points, dim=1)
    basis = spherical_harmonics(directions)[:, : 1 + bands.shape[1], None]
    return basis[:, 0] * base[:, 0] + (basis[:, 1:] * bands).sum(1) + 0.5


def spherical_harmonics(directions: Tensor) -> Tensor:
    """[N, 16]: the real basis up to degree 3 of unit vectors [N, 3], in the order of the released code."""
    x, y, z = directions.unbind(1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [
        torch.full_like(x, 0.28209479177387814),
        -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy), 2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy), 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy), 1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]  # fmt: skip
    return torch.stack(basis, 1)

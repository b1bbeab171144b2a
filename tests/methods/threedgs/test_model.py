from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation


@pytest.fixture
def model(part):
    return part("model")


def one(**values):
    """Parameters of one Gaussian at the origin, without rotation."""
    plain = {
        "means": torch.zeros(1, 3),
        "scales": torch.zeros(1, 3),
        "rotations": torch.tensor([[1.0, 0, 0, 0]]),
        "opacities": torch.zeros(1),
        "base": torch.zeros(1, 1, 3),
        "bands": torch.zeros(1, 15, 3),
    }
    return plain | values


def test_a_gaussian_at_the_origin(model):
    """In the middle of the picture, an eighth of what X and Y make of its size, and the blur."""
    seen = model.project(one(scales=torch.full((1, 3), 0.3).log()), (40, 60), True)
    assert seen.means[0].tolist() == [30.0, 20.0]  # pixel (29.5, 19.5) where pixels have whole coordinates
    variance = (0.3 * 60 / 16) ** 2 + 0.3
    assert seen.covariance[0].tolist() == pytest.approx([variance, 0, variance], rel=1e-6)
    assert seen.opacities.item() == 0.5 and seen.colors[0].tolist() == [0.5] * 3


def test_position_ignores_depth_and_covers_the_picture(model):
    for x, y, z in ((-1.0, -1.0, 0.0), (1.0, 1.0, 0.9), (0.5, -0.25, -0.9)):
        seen = model.project(one(means=torch.tensor([[x, y, z]])), (40, 60), True)
        assert seen.means[0].tolist() == [30 * (x + 1), 20 * (y + 1)]


def test_covariance_is_the_perspective_of_a_point_cloud(model):
    """The derivative of X / Z and Y / Z, times half the width, of points drawn from the 3D Gaussian."""
    rng = np.random.default_rng(0)
    mean, scales, size = np.array([0.4, -0.7, 0.5]), np.array([0.05, 0.02, 0.08]), (64, 100)
    rotation = Rotation.random(random_state=1)
    x, y, z, w = rotation.as_quat()
    parameters = one(
        means=torch.tensor(mean[None], dtype=torch.float32),
        scales=torch.tensor(np.log(scales)[None], dtype=torch.float32),
        rotations=torch.tensor([[w, x, y, z]], dtype=torch.float32) * 3,  # of any length
    )
    xx, xy, yy = model.project(parameters, size, True).covariance[0].tolist()
    points = rotation.apply(rng.normal(size=(400_000, 3)) * scales * 1e-3) + mean + [0, 0, 8]
    seen = points[:, :2] / points[:, 2:] * size[1] / 2 * 1e3
    np.testing.assert_allclose([[xx - 0.3, xy], [xy, yy - 0.3]], np.cov(seen.T), rtol=0.02, atol=2e-4)


def test_rotations_are_those_of_scipy(model):
    quaternions = torch.randn(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]].numpy()).as_matrix()
    np.testing.assert_allclose(model.rotation_matrices(quaternions).numpy(), wanted, atol=1e-12)


def test_harmonics_are_orthonormal(model):
    """Over the sphere, by Gauss-Legendre in z and equal steps around it: exact for these degrees."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    angle = np.arange(16) * 2 * math.pi / 16
    z, phi = np.meshgrid(nodes, angle, indexing="ij")
    r = np.sqrt(1 - z * z)
    directions = torch.from_numpy(np.stack([r * np.cos(phi), r * np.sin(phi), z], -1).reshape(-1, 3))
    area = torch.from_numpy(np.repeat(weights, 16)) * 2 * math.pi / 16
    basis = model.spherical_harmonics(directions)
    torch.testing.assert_close(basis.T @ (basis * area[:, None]), torch.eye(16, dtype=torch.float64), atol=1e-7, rtol=0)


def test_harmonics_have_the_published_order_and_signs(model):
    x, y, z = 0.36, 0.48, 0.8
    wanted = [
        0.2820948, -0.4886025 * y, 0.4886025 * z, -0.4886025 * x,
        1.0925484 * x * y, -1.0925484 * y * z, 0.3153916 * (2 * z * z - x * x - y * y), -1.0925484 * x * z,
        0.5462742 * (x * x - y * y), -0.5900436 * y * (3 * x * x - y * y), 2.8906114 * x * y * z,
        -0.4570458 * y * (4 * z * z - x * x - y * y), 0.3731763 * z * (2 * z * z - 3 * x * x - 3 * y * y),
        -0.4570458 * x * (4 * z * z - x * x - y * y), 1.4453057 * z * (x * x - y * y),
        -0.5900436 * x * (x * x - 3 * y * y),
    ]  # fmt: skip
    assert model.spherical_harmonics(torch.tensor([[x, y, z]]))[0].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("clamp", [True, False])
def test_colours_follow_the_direction(model, clamp):
    bands = torch.zeros(2, 15, 3)
    bands[:, 2, 0] = 1.0  # -x
    means = torch.tensor([[0.9, 0.0, 0.0], [-0.9, 0.0, 0.0]], requires_grad=True)
    parameters = {name: value.repeat(2, *[1] * (value.ndim - 1)) for name, value in one().items()}
    base = torch.tensor([[[0.0, -9, 1]]]).repeat(2, 1, 1).requires_grad_()
    seen = model.project(parameters | {"means": means, "bands": bands, "base": base}, (10, 10), clamp)
    x = 0.9 / math.sqrt(64 + 0.81)
    assert seen.colors[:, 0].tolist() == pytest.approx([0.5 - 0.4886025 * x, 0.5 + 0.4886025 * x], abs=1e-6)
    assert seen.colors[0, 1].item() == pytest.approx(0.0 if clamp else 0.5 - 9 * 0.2820948, abs=1e-6)
    assert seen.colors[0, 2].item() == pytest.approx(0.7820948)
    seen.colors.sum().backward()
    assert means.grad is None  # the direction has no gradient
    assert base.grad[0, 0].tolist() == pytest.approx([0.2820948, 0.0 if clamp else 0.2820948, 0.2820948])


def test_front_to_back_and_what_is_too_close(model):
    n = 5
    depth = torch.tensor([0.5, -0.5, -7.995, 0.0, -20.0])
    parameters = {name: value.repeat(n, *[1] * (value.ndim - 1)) for name, value in one().items()}
    parameters["means"] = torch.stack([torch.arange(n) / 10, torch.zeros(n), depth], 1)
    seen = model.project(parameters, (20, 20), True)
    assert ((seen.means[2:, 0] / 10 - 1) * 10).round().tolist() == [1, 3, 0]
    assert seen.opacities.tolist() == [0, 0, 0.5, 0.5, 0.5]
    assert torch.isfinite(seen.covariance).all() and torch.isfinite(seen.means).all()


def test_start(model):
    start = model.initial_parameters(3000, 3, seed=1)
    assert start["means"].abs().max() <= 1 and start["means"].std(0).allclose(torch.tensor(1 / math.sqrt(3)), atol=0.02)
    torch.testing.assert_close(start["rotations"].norm(dim=1), torch.ones(3000))
    assert Rotation.from_quat(start["rotations"].numpy()).mean().magnitude() < 10  # defined: no direction is preferred
    distances, _ = KDTree(start["means"].double()).query(start["means"].double(), k=4)
    torch.testing.assert_close(
        start["scales"].exp()[:, 1].double(), torch.from_numpy(distances[:, 1:].mean(1)), rtol=1e-5, atol=0
    )
    # the mean distance of a Poisson pattern of this density, and some more at the border
    assert start["scales"].exp().mean().item() == pytest.approx(0.72 * (8 / 3000) ** (1 / 3), rel=0.1)
    torch.testing.assert_close(torch.sigmoid(start["opacities"]), torch.full((3000,), 0.1))
    assert start["base"].shape == (3000, 1, 3) and start["base"].min() >= 0 and start["base"].max() < 1
    assert start["bands"].shape == (3000, 15, 3) and not start["bands"].any()
    assert model.initial_parameters(4, 1, seed=1)["bands"].shape == (4, 3, 3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_start_of_very_few(model, n):
    start = model.initial_parameters(n, 0, seed=1)
    assert all(torch.isfinite(value).all() for value in start.values())
    if n == 2:
        distance = (start["means"][0] - start["means"][1]).norm()
        torch.testing.assert_close(start["scales"].exp(), distance.expand(2, 3))

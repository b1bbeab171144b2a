from __future__ import annotations

import math

import pytest
import torch


def test_start_is_the_published_random_stream(part):
    """xyz, then covariance, then colours, from the CPU generator seeded once."""
    parameters = part("model").initial_parameters("rs", 50, seed=1)
    torch.manual_seed(1)
    assert torch.equal(parameters["xyz"], torch.atanh(2 * (torch.rand(50, 2)) - 1))
    assert torch.equal(parameters["scaling"], torch.rand(50, 2))
    assert torch.equal(parameters["rotation"], torch.rand(50, 1))
    assert torch.equal(parameters["features"], torch.rand(50, 3))


def test_start_never_holds_infinity(part, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, generator=None: torch.zeros(*shape))
    xyz = part("model").initial_parameters("cholesky", 3, seed=1)["xyz"]
    assert torch.isfinite(xyz).all()
    torch.testing.assert_close(torch.tanh(xyz), torch.full((3, 2), -1.0), atol=1e-6, rtol=0)


def test_means_are_shifted_by_half_a_pixel(method, part):
    activation = part("model").Activation(method.make_config({}), (40, 60))
    means = activation.means(torch.tensor([[-20.0, -20.0], [0.0, 0.0], [20.0, 20.0]]))
    # m = -1 is the centre of column 0, m = +1 one pixel right of the last column's centre.
    torch.testing.assert_close(means, torch.tensor([[0.5, 0.5], [30.5, 20.5], [60.5, 40.5]]))


def test_rs_covariance_turns_by_minus_theta(method, part):
    """The published matrix: Sxx = c^2 s1^2 + s^2 s2^2, Sxy = -(s1^2 - s2^2) s c, Syy = s^2 s1^2 + c^2 s2^2."""
    activation = part("model").Activation(method.make_config({"variant": "rs"}), (40, 60))
    parameters = part("model").initial_parameters("rs", 200, seed=3)
    shape = activation.shape(parameters)
    s1, s2 = (parameters["scaling"].double() + 0.5).abs().unbind(1)
    theta = 2 * math.pi * torch.sigmoid(parameters["rotation"].double()).squeeze(1)
    cos, sin = torch.cos(theta), torch.sin(theta)
    expected = torch.stack(
        [
            cos**2 * s1**2 + sin**2 * s2**2,
            -(s1**2 - s2**2) * sin * cos,
            sin**2 * s1**2 + cos**2 * s2**2,
        ],
        1,
    )
    torch.testing.assert_close(activation.covariance(shape), expected, atol=3e-6, rtol=3e-6)
    gaussians = activation.gaussians(activation.means(parameters["xyz"]), shape, parameters["features"])
    torch.testing.assert_close(gaussians.covariance(), expected, atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize("variant", ["cholesky", "rs"])
@pytest.mark.parametrize("preset", ["published", "corrected"])
def test_off_diagonal_gradient_is_counted_twice_only_as_published(method, part, variant, preset):
    activation = part("model").Activation(method.make_config({"variant": variant, "preset": preset}), (40, 60))
    parameters = part("model").initial_parameters(variant, 20, seed=5)
    raw = [value.requires_grad_(True) for name, value in parameters.items() if name not in ("xyz", "features")]
    weights = torch.tensor([0.3, 0.7, -0.2], dtype=torch.float64)
    (activation.covariance(activation.shape(parameters)) * weights).sum().backward()

    if variant == "cholesky":
        l11, l21, l22 = (raw[0].detach().double() + torch.tensor([0.5, 0, 0.5], dtype=torch.float64)).unbind(1)
        twice = 2.0 if preset == "published" else 1.0
        expected = torch.stack(
            [2 * 0.3 * l11 + twice * 0.7 * l21, twice * 0.7 * l11 - 2 * 0.2 * l21, -2 * 0.2 * l22], 1
        )
        torch.testing.assert_close(raw[0].grad.double(), expected, atol=1e-6, rtol=1e-6)
    else:
        scaling, rotation = (value.detach().double().requires_grad_(True) for value in raw)
        s1, s2 = (scaling + 0.5).abs().unbind(1)
        theta = 2 * math.pi * torch.sigmoid(rotation).squeeze(1)
        cos, sin = torch.cos(theta), torch.sin(theta)
        sxy = -(s1**2 - s2**2) * sin * cos
        sxx, syy = cos**2 * s1**2 + sin**2 * s2**2, sin**2 * s1**2 + cos**2 * s2**2
        twice = 2.0 if preset == "published" else 1.0
        (0.3 * sxx + twice * 0.7 * sxy - 0.2 * syy).sum().backward()
        torch.testing.assert_close(raw[0].grad.double(), scaling.grad, atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(raw[1].grad.double(), rotation.grad, atol=2e-5, rtol=2e-5)

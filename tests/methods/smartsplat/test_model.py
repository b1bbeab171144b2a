from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatbench.losses import Objective
from splatbench.render import rasterize_sum, render


def published_weights(raw, i, height, width):
    """exp of the exponent of Gaussian i in the released renderer, float64: pixels at integer positions."""
    (x, y), (s1, s2), (rotation,) = (raw[name][i] for name in ("xyz", "scaling", "rotation"))
    theta = 2 * np.pi / (1 + np.exp(-rotation))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    dx, dy = columns - width * (x + 1) / 2, rows - height * (y + 1) / 2
    along, across = np.cos(theta) * dx - np.sin(theta) * dy, np.sin(theta) * dx + np.cos(theta) * dy
    return np.exp(-0.5 * ((along / s1) ** 2 + (across / s2) ** 2))


def raw_parameters(seed, n=12):
    random = np.random.default_rng(seed)
    return {
        "xyz": random.uniform(-0.9, 0.9, (n, 2)),
        "scaling": random.uniform(1.5, 4, (n, 2)) * random.choice([-1, 1], (n, 2)),
        "rotation": random.normal(0, 1.5, (n, 1)),
        "features": random.uniform(-0.5, 1, (n, 3)),
    }


def as_tensors(raw):
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in raw.items()}


def test_one_gaussian_at_a_pixel(method, part):
    """s = 2 at pixel (10, 10): 1 there, exp(-1/8) one pixel aside, nothing where the exponent exceeds ln 255."""
    height, width = 40, 60
    activation = part("model").Activation(method.make_config({}), (height, width))
    parameters = {
        "xyz": torch.tensor([[2 * 10 / width - 1, 2 * 10 / height - 1]]),
        "scaling": torch.tensor([[2.0, -2.0]]),
        "rotation": torch.zeros(1, 1),
        "features": torch.ones(1, 3),
    }
    picture = render(activation.gaussians(activation(parameters)))[..., 0].double()
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    exponent = ((rows - 10) ** 2 + (columns - 10) ** 2) / 8
    expected = torch.where(exponent <= math.log(255), torch.exp(-exponent), 0.0)
    assert picture[10, 10] == pytest.approx(1, abs=1e-6)
    assert picture[10, 11] == pytest.approx(math.exp(-1 / 8), abs=1e-6)
    torch.testing.assert_close(picture, expected.double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_picture_is_that_of_the_released_code(method, part, seed):
    raw, (height, width) = raw_parameters(seed), (30, 44)
    activation = part("model").Activation(method.make_config({}), (height, width))
    found = render(activation.gaussians(activation(as_tensors(raw)))).double().numpy()
    expected = np.zeros((height, width, 3))
    for i, color in enumerate(raw["features"]):
        weight = published_weights(raw, i, height, width)
        expected += np.where(weight >= 1 / 255, weight, 0)[..., None] * color
    # a pixel at the very edge of a support may fall on either side
    assert (np.abs(found - expected) > 2e-5).mean() < 0.002


def test_gradients_equal_finite_differences(method, part):
    """Exact gradients of all raw parameters; the support's edge is no part of a gradient, so steps keep it."""
    raw, (height, width) = raw_parameters(7), (30, 44)
    activation = part("model").Activation(method.make_config({}), (height, width))
    parameters = {name: value.requires_grad_(True) for name, value in as_tensors(raw).items()}
    values = activation(parameters)
    picture = rasterize_sum(values.means, activation.covariance(values), values.colors, (height, width))
    incoming = np.random.default_rng(1).normal(size=(height, width, 3))
    (picture.double() * torch.from_numpy(incoming)).sum().backward()

    supports = [published_weights(raw, i, height, width) >= 1 / 255 for i in range(len(raw["xyz"]))]
    for name, value in raw.items():
        expected = np.zeros_like(value)
        for i, j in np.ndindex(value.shape):
            for sign in (1, -1):
                changed = {key: array.copy() for key, array in raw.items()}
                changed[name][i, j] += sign * 1e-5
                weight = np.where(supports[i], published_weights(changed, i, height, width), 0)
                expected[i, j] += sign * (weight[..., None] * changed["features"][i] * incoming).sum() / 2e-5
        atol = 3e-4 * np.abs(expected).max()
        np.testing.assert_allclose(parameters[name].grad.numpy(), expected, atol=atol, rtol=3e-3, err_msg=name)


@pytest.mark.parametrize(("preset", "twice"), [("corrected", 1.0), ("published", 2.0)])
def test_off_diagonal_gradient_is_counted_twice_only_as_published(method, part, preset, twice):
    raw = as_tensors(raw_parameters(3))
    activation = part("model").Activation(method.make_config({"preset": preset}), (30, 44))
    parameters = {name: value.clone().requires_grad_(True) for name, value in raw.items()}
    weights = torch.tensor([0.3, 0.7, -0.2], dtype=torch.float64)
    (activation.covariance(activation(parameters)) * weights).sum().backward()

    scaling, rotation = (raw[name].double().requires_grad_(True) for name in ("scaling", "rotation"))
    s1, s2 = scaling.abs().unbind(1)
    theta = 2 * math.pi * torch.sigmoid(rotation).squeeze(1)
    cos, sin = torch.cos(theta), torch.sin(theta)
    xx, yy = (cos * s1) ** 2 + (sin * s2) ** 2, (sin * s1) ** 2 + (cos * s2) ** 2
    (0.3 * xx - twice * 0.7 * cos * sin * (s1**2 - s2**2) - 0.2 * yy).sum().backward()
    torch.testing.assert_close(parameters["scaling"].grad.double(), scaling.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parameters["rotation"].grad.double(), rotation.grad, atol=1e-5, rtol=1e-5)


def start_of(part, n=50):
    random = np.random.default_rng(0)
    return part("initialise").Start(
        positions=(random.random((n, 2)) * [60, 40]).astype(np.float32),
        scales=random.random(n).astype(np.float32) + 1,
        colours=random.random((n, 3)).astype(np.float32),
        variational=35,
    )


def test_parameters_activate_to_the_start(method, part):
    start, size = start_of(part), (40, 60)
    parameters = part("model").initial_parameters(start, size, method.make_config({}), 1)
    assert {name: tuple(value.shape) for name, value in parameters.items()} == {
        "xyz": (50, 2), "scaling": (50, 2), "rotation": (50, 1), "features": (50, 3)
    }  # fmt: skip
    values = part("model").Activation(method.make_config({}), size)(parameters)
    np.testing.assert_allclose(values.means.numpy(), start.positions + 0.5, atol=2e-5)
    assert np.array_equal(values.scales.numpy(), np.stack([start.scales] * 2, 1))
    assert np.array_equal(values.colors.numpy(), start.colours)
    np.testing.assert_allclose(values.theta.numpy(), math.pi, rtol=1e-6)


def test_random_angles_are_uniform(method, part):
    config, size = method.make_config({"theta_init": "random"}), (40, 60)
    start = start_of(part, 4000)
    theta, again, other = (
        part("model").Activation(config, size)(part("model").initial_parameters(start, size, config, seed)).theta
        for seed in (1, 1, 2)
    )
    assert torch.equal(theta, again) and not torch.equal(theta, other)
    counts = torch.histc(theta, 8, 0, 2 * math.pi)
    assert (counts - 500).abs().max() < 4 * math.sqrt(500 * 7 / 8)


def test_initial_picture_is_dark_and_blurred(method, part, photograph):
    """The sum is not calibrated: about 10 to 12 dB, and far better if it is divided by the sum of the weights."""
    config, size = method.make_config({}), photograph.shape[:2]
    target = torch.from_numpy(photograph).float() / 255
    psnr = lambda picture: float(-10 * torch.log10((picture.clamp(0, 1) - target).square().mean()))  # noqa: E731
    for ratio in (50, 200):
        count = int(3 * size[0] * size[1] / (7 * ratio))
        start = part("initialise").initialise(photograph, count, config, 1)
        activation = part("model").Activation(config, size)
        gaussians = activation.gaussians(activation(part("model").initial_parameters(start, size, config, 1)))
        picture = render(gaussians)
        covariance, ones = gaussians.covariance(), torch.ones(len(gaussians), 3)
        weights = rasterize_sum(gaussians.means, covariance, ones, size)
        assert 9 < psnr(picture) < 14
        assert psnr(picture) + 4 < psnr(picture / weights.clamp_min(1e-6)) < 26
        assert 0.6 < weights.mean() < 1.1


def test_loss_of_the_method_is_the_plain_one(method, part, crop):
    """lambda L1 + (1 - lambda) (1 - SSIM) of the clamped picture, with zeros beyond it."""
    raw = as_tensors(raw_parameters(2))
    for weight in (0.8, 0.9):
        activation = part("model").Activation(method.make_config({"loss_lambda": weight}), crop.shape[:2])
        values = activation(raw)
        picture_loss = part("fit").make_loss(torch.from_numpy(crop), activation.config)
        found = picture_loss(values.means, activation.covariance(values), values.colors)
        picture = render(activation.gaussians(values)).clamp(0, 1)
        target = torch.from_numpy(crop).float() / 255
        dissimilarity = Objective(ssim=1.0, window="same")(picture, target)
        expected = weight * (picture - target).abs().mean() + (1 - weight) * dissimilarity
        assert float(found) == pytest.approx(float(expected), rel=1e-5)

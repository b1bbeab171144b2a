"""Refinement: activations, gradients, and what a fit does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.fitting import published_gradient
from splatbench.optim import Adan
from splatbench.render import render
from splatbench.trace import Diverged, Trace


@pytest.fixture
def refine(part):
    return part("refine")


def psnr(gaussians, image):
    picture = render(gaussians).clamp(0, 1).double()
    return float(-10 * torch.log10((picture - torch.from_numpy(image).double() / 255).square().mean()))


def test_means_are_those_of_integer_centres_moved_by_half_a_pixel(refine):
    """The published renderer has the middle of the first pixel at 0, and u = W (m + 1) / 2."""
    activation = refine.Activation((30, 40))
    normalised = torch.tensor([[-0.999, 0.0], [0.25, -0.5], [0.9, 0.999]])
    means = activation.means(torch.atanh(normalised))
    expected = (normalised.double() + 1) / 2 * torch.tensor([40.0, 30.0]) + 0.5
    torch.testing.assert_close(means.double(), expected, atol=2e-5, rtol=0)


def test_scales_below_the_floor_are_half_a_pixel_without_a_gradient(refine):
    raw = torch.tensor([[-3.0, 0.0], [0.4999, 0.5001], [2.0, 0.1]], requires_grad=True)
    scales = refine.Activation((8, 8)).scales(raw)
    assert torch.equal(scales, torch.tensor([[0.5, 0.5], [0.5, 0.5001], [2.0, 0.5]]))
    scales.sum().backward()
    assert raw.grad.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert refine.Activation((8, 8), "abs").scales(torch.tensor([[-2.0, 0.25]])).tolist() == [[1.5, 0.75]]


def test_raw_parameters_give_the_gaussians_back(refine):
    generator = torch.Generator().manual_seed(2)
    n = 500
    means, turns = 2 * torch.rand(n, 2, generator=generator) - 1, torch.rand(n, generator=generator)
    scales, colors = 0.5 + 3 * torch.rand(n, 2, generator=generator), torch.rand(n, 3, generator=generator)
    activation = refine.Activation((60, 90))
    found = activation.gaussians(refine.raw_parameters(means, scales, turns, colors))
    half = torch.tensor([45.0, 30.0])
    torch.testing.assert_close(found.means, means * half + half + 0.5, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.angles, 2 * torch.pi * turns, atol=2e-5, rtol=0)
    assert torch.equal(found.scales, scales) and torch.equal(found.colors, colors)


def test_means_on_the_border_stay_finite_there(refine):
    corners = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    raw = refine.raw_parameters(corners, torch.ones(2, 2), torch.full((2,), 0.25), torch.zeros(2, 3))
    assert bool(raw["xyz"].isfinite().all())
    means = refine.Activation((20, 30)).means(raw["xyz"])
    torch.testing.assert_close(means, torch.tensor([[0.5, 20.5], [30.5, 0.5]]), atol=1e-5, rtol=0)


def test_the_random_start_is_the_released_one(refine):
    """Means uniform over the picture, scales on [1, 2) after their activation, colours and raw angles on [0, 1)."""
    n = 20_000
    raw = refine.random_parameters(n, seed=5)
    activation = refine.Activation((100, 200), "abs")
    means, scales = activation.means(raw["xyz"]) - 0.5, activation.scales(raw["scaling"])
    for values, low, high in (
        (means[:, 0], 0, 200),
        (means[:, 1], 0, 100),
        (scales, 1, 2),
        (raw["rotation"], 0, 1),
        (raw["features"], 0, 1),
    ):
        assert low - 1e-4 <= values.min() and values.max() <= high + 1e-4
        shares = torch.histc(values.flatten(), 4, min=low, max=high) / values.numel()
        assert (shares - 0.25).abs().max() < 4 * (0.25 * 0.75 / n) ** 0.5
    assert torch.equal(refine.random_parameters(n, seed=5)["xyz"], raw["xyz"])
    assert not torch.equal(refine.random_parameters(n, seed=6)["xyz"], raw["xyz"])


def test_the_published_gradient_doubles_the_conics_offdiagonal():
    """Against the matrices: G = -S V S has its off-diagonal doubled, and -X G X reaches scales and angles."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(40, 2, 2)) + 2 * np.eye(2)
    covariance, gradient = factor @ factor.transpose(0, 2, 1), rng.normal(size=(40, 3))
    packed = torch.tensor(covariance[:, [0, 0, 1], [0, 1, 1]], requires_grad=True)
    (published_gradient(packed, offdiagonal=1) * torch.from_numpy(gradient)).sum().backward()
    v = np.stack([gradient[:, [0, 1]] * [1, 0.5], gradient[:, [1, 2]] * [0.5, 1]], 1)
    g = -covariance @ v @ covariance * np.array([[1, 2], [2, 1]])
    conic = np.linalg.inv(covariance)
    expected = -conic @ g @ conic
    np.testing.assert_allclose(packed.grad[:, 0], expected[:, 0, 0], rtol=1e-9)
    np.testing.assert_allclose(packed.grad[:, 1], 2 * expected[:, 0, 1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(packed.grad[:, 2], expected[:, 1, 1], rtol=1e-9)


@pytest.mark.parametrize("gradient", ["exact", "published"])
def test_the_settings_choose_the_gradient(refine, method, gradient):
    config = method.make_config({"gradient": gradient})
    raw = {"scaling": torch.tensor([[1.0, 3.0]]), "rotation": torch.tensor([0.3], requires_grad=True)}
    activation = refine.Activation((8, 8), config=config)
    activation.covariance(raw)[0, 1].backward()
    exact = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    angle = 2 * torch.pi * torch.sigmoid(exact)
    (torch.cos(angle) * torch.sin(angle) * (1 - 9)).backward()
    agrees = abs(float(raw["rotation"].grad) - float(exact.grad)) < 1e-4 * abs(float(exact.grad))
    assert agrees == (gradient == "exact")


def _random(refine, crop, n=800, **settings):
    size = crop.shape[:2]
    return refine.random_parameters(n, 1), refine.Activation(size, "abs", refine.Config(**settings))


def test_a_refinement_learns_and_stops_where_it_should(refine, crop):
    raw, activation = _random(refine, crop)
    before, trace = psnr(activation.gaussians(raw), crop), Trace()
    refine.refine(raw, activation, torch.from_numpy(crop), 300, trace, activation.gaussians)
    assert psnr(activation.gaussians(raw), crop) > before + 8
    assert trace.steps == 300 and trace.curve[-1][0] == 300


def test_the_rate_is_halved_when_the_settings_say(refine, crop, monkeypatch):
    rates = []

    class Watched(Adan):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            assert all(group["betas"] == (0.98, 0.92, 0.99) and group["eps"] == 1e-8 for group in self.param_groups)
            return super().step(closure)

    monkeypatch.setattr(refine, "Adan", Watched)
    raw, activation = _random(refine, crop, n=50, learning_rate=0.002, learning_rate_step=3)
    refine.refine(raw, activation, torch.from_numpy(crop), 7, Trace(), activation.gaussians)
    assert rates == pytest.approx([0.002] * 3 + [0.001] * 3 + [0.0005])
    assert refine.Config().learning_rate == 1e-3 and refine.Config().learning_rate_step == 10_000


def test_a_nan_is_noticed_in_its_step(refine, crop):
    raw, activation = _random(refine, crop, n=50)
    raw["features"][7, 1] = float("nan")
    with pytest.raises(Diverged, match="loss became nan at step 1 of 5"):
        refine.refine(raw, activation, torch.from_numpy(crop), 5, Trace(), activation.gaussians)


def test_time_that_is_up_before_the_first_step(refine, crop):
    raw, activation = _random(refine, crop, n=50)
    kept = {name: value.clone() for name, value in raw.items()}
    trace = Trace(seconds=1e-9)
    trace.start()
    refine.refine(raw, activation, torch.from_numpy(crop), 5, trace, activation.gaussians)
    assert trace.steps == 0 and all(torch.equal(raw[name], kept[name]) for name in raw)

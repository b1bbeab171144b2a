"""The schedule of additions, and where and with what colours Gaussians are added."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import correlate

from splatbench.render import render


def test_published_schedules(method, part):
    plan = part("growth").plan
    s = plan(28_001, method.make_config({}).resolved())
    assert (s.steps, s.first) == (10_000, 14_001)
    assert s.additions == {500: 3500, 1000: 3500, 1500: 3500, 2000: 3500}
    s = plan(10, method.make_config({}).resolved())  # ceil(5 / 4) = 2 at a time, what is left at the end
    assert (s.first, s.additions) == (5, {500: 2, 1000: 2, 1500: 1})
    s = plan(28_000, method.make_config({"preset": "air600"}).resolved())
    assert (s.steps, s.first, s.additions) == (600, 14_000, {300: 14_000})
    s = plan(900, method.make_config({"progressive": False, "iterations": 50}).resolved())
    assert (s.steps, s.first, s.additions) == (50, 900, {})


def test_progressive_mode_raises_the_steps_and_a_budget_does_not(method, part):
    config = method.make_config({"iterations": 600}).resolved()
    assert part("growth").plan(1000, config).steps == 5000
    limited = part("growth").plan(1000, config, 600)
    assert limited.steps == 600
    assert list(limited.additions) == [120, 240, 360, 480]
    assert part("growth").plan(1000, config, 2001).additions == {500: 125, 1000: 125, 1500: 125, 2000: 125}


@given(
    n=st.integers(1, 5000), limit=st.none() | st.integers(1, 3000), times=st.integers(1, 7), ratio=st.floats(0.01, 1)
)
def test_the_count_is_met_whatever_the_limit(method, part, n, limit, times, ratio):
    config = method.make_config({"add_times": times, "initial_ratio": ratio, "post_min_steps": 0}).resolved()
    s = part("growth").plan(n, config, limit)
    assert s.first + sum(s.additions.values()) == n
    assert s.first >= 1 and all(count > 0 for count in s.additions.values())
    assert limit is None or s.steps == limit
    assert all(0 < step <= s.steps for step in s.additions)


@pytest.mark.parametrize(
    ("size", "reach", "sigma"),
    [((399, 399), 0, 0.0), ((512, 768), 1, 0.8), ((678, 1020), 1, 0.8), ((2048, 2048), 2, 1.1), ((2399, 2400), 2, 1.1),
     ((2400, 2400), 3, 1.4)],
)  # fmt: skip
def test_smoothing_grows_with_the_picture(part, size, reach, sigma):
    assert part("growth").blur(*size) == (reach, pytest.approx(sigma))


@pytest.fixture(scope="module")
def scene(part, method):
    """A picture of 560 x 300 with noise, and 200 Gaussians on it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (560, 300, 3), dtype=np.uint8)
    config = method.make_config({}).resolved()
    parameters = part("start").start(image, 200, config, rng)
    return image, config, parameters, part("model").Model(config, image.shape[:2]).gaussians(parameters)


def test_residuals_are_the_smoothed_picture_minus_the_clamped_render(part, scene):
    image, _, _, gaussians = scene
    assert part("growth").blur(*image.shape[:2]) == (1, 0.8)
    taps = np.exp(-0.5 * (np.arange(-1, 2) / 0.8) ** 2)
    kernel = np.outer(taps, taps)[..., None] / taps.sum() ** 2
    expected = correlate(image / 255.0, kernel, mode="mirror") - render(gaussians).clamp(0, 1).double().numpy()
    strips = list(part("growth").residuals(gaussians, image))
    assert [row for row, _ in strips] == [0, 256, 512]  # the seams of strips are inside the picture
    np.testing.assert_allclose(np.concatenate([d for _, d in strips]), expected, atol=2e-6)


@pytest.mark.parametrize("added_colors", ["residual", "target"])
def test_additions_follow_the_squared_error(method, part, scene, added_colors):
    _, _, parameters, gaussians = scene
    config = method.make_config({"added_colors": added_colors}).resolved()
    wrong = np.array((render(gaussians).clamp(0, 1) * 255).round().numpy(), np.uint8)
    wrong[300:340, 100:140] = 255 - wrong[300:340, 100:140]  # the one place that is not right yet
    grown = part("growth").grow(parameters, gaussians, wrong, 150, config, np.random.default_rng(1))
    assert all(len(value) == 350 for value in grown.values())
    for name, value in parameters.items():
        assert torch.equal(grown[name][:200], value)
    x, y = (grown["positions"][200:] * torch.tensor([300, 560]) - 0.5).round().long().unbind(1)
    inside = (x >= 99) & (x <= 140) & (y >= 299) & (y <= 340)
    assert inside.float().mean() > 0.97
    assert (grown["scales"][200:] == 0.2).all() and not grown["angles"][200:].any()
    target = torch.from_numpy(wrong)[y, x].float() / 255
    if added_colors == "target":
        expected = target
    else:
        residual = np.concatenate([d for _, d in part("growth").residuals(gaussians, wrong)])
        expected = torch.from_numpy(residual)[y, x]
        assert expected.min() < -0.1  # signed
    torch.testing.assert_close(grown["colors"][200:], expected)


def test_gamma_is_undone_before_pictures_are_compared(method, part):
    """A flat picture that is met exactly has no residual, whatever the power it was fitted in."""
    image = np.full((30, 30, 3), 100, np.uint8)
    config = method.make_config({"gamma": 2.2}).resolved()
    parameters = part("start").start(image, 300, config, np.random.default_rng(0))
    gaussians = part("model").Model(config, (30, 30)).gaussians(parameters)
    assert float(gaussians.colors.mean()) == pytest.approx((100 / 255) ** 2.2, rel=1e-4)
    (_, residual), = part("growth").residuals(gaussians, image)  # fmt: skip
    assert np.abs(residual).max() < 2e-4


def test_a_picture_without_any_error_takes_additions_everywhere(method, part):
    image = np.zeros((20, 20, 1), np.uint8)
    config = method.make_config({}).resolved()
    parameters = part("start").start(image, 20, config, np.random.default_rng(0))
    gaussians = part("model").Model(config, (20, 20)).gaussians(parameters)
    grown = part("growth").grow(parameters, gaussians, image, 380, config, np.random.default_rng(0))
    assert len(grown["colors"]) == 400 and math.isfinite(float(grown["colors"].sum()))

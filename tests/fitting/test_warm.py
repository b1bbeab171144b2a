"""Warm starts: what conversions keep, and what they do at the ends."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splatbench.fitting.warm import axes, check_start, converted, factors, moved_inside, turn_logits
from splatbench.gaussians import Gaussians2D
from splatbench.render import render


@pytest.fixture
def image(crop) -> np.ndarray:
    return np.ascontiguousarray(crop[:40, :56])


def some(n: int = 80, blend: str = "sum", seed: int = 0, size: tuple[int, int] = (40, 56), **fields) -> Gaussians2D:
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=g)  # noqa: E731
    means = draw(n, 2) * torch.tensor([size[1], size[0]])
    shape = {"scales": 0.3 + 5 * draw(n, 2), "angles": 20 * draw(n) - 10}
    return Gaussians2D(means, draw(n, 3), size, blend=blend, **(shape | fields))


def matrix(covariance: torch.Tensor) -> np.ndarray:
    a, b, c = covariance.double().numpy().T
    return np.stack([np.stack([a, b], 1), np.stack([b, c], 1)], 1)


@pytest.mark.parametrize("blend", ["sum", "topk"])
def test_the_same_blend_changes_nothing_but_the_flags(image, blend):
    start = some(blend=blend, compat=frozenset({"tiles_3sigma"}))
    same = converted(start, image, blend)
    assert same.compat == frozenset() and same.blend == blend
    for name, value in start.tensors().items():
        assert torch.equal(same.tensors()[name], value), name


def test_topk_takes_the_colours_of_the_image(image):
    start = some()
    start.means[0], start.means[1] = torch.tensor([-3.0, 90.0]), torch.tensor([55.999, 0.0])
    got = converted(start, image, "topk")
    assert torch.equal(got.means, start.means) and torch.equal(got.scales, start.scales) and got.blend == "topk"
    for i in range(len(start)):
        x, y = min(max(float(start.means[i, 0]), 0), 55), min(max(float(start.means[i, 1]), 0), 39)
        np.testing.assert_allclose(got.colors[i], image[int(y), int(x)] / 255, atol=1e-6)
    assert (got.colors[0] * 255 - torch.from_numpy(image[39, 0].copy())).abs().max() < 1e-4


def test_sum_divides_by_all_weights_there(image):
    start = some(40, blend="topk")
    got = converted(start, image, "sum")
    assert got.blend == "sum" and got.opacities is None
    mean, inverse = start.means.double().numpy(), np.linalg.inv(matrix(start.covariance()))
    pixel = np.floor(mean)
    total = np.zeros(len(start))
    for j in range(len(start)):
        d = pixel + 0.5 - mean[j]
        weight = np.exp(-0.5 * np.einsum("ni,ij,nj->n", d, inverse[j], d))
        total += np.where(weight >= 1 / 255, weight, 0)
    x, y = pixel.astype(int).T
    expected = image[y, x] / 255 / np.maximum(total, 1)[:, None]
    np.testing.assert_allclose(got.colors.numpy(), expected, rtol=2e-3, atol=1e-5)


def test_a_flat_picture_of_one_narrow_gaussian_does_not_blow_up():
    """A needle between four pixels is seen by none of them: 1 stands for the sum."""
    flat = np.full((8, 8, 3), 200, np.uint8)
    needle = Gaussians2D(torch.tensor([[4.0, 4.0]]), torch.ones(1, 3), (8, 8), scales=torch.full((1, 2), 0.1),
                         angles=torch.zeros(1), blend="topk")  # fmt: skip
    np.testing.assert_allclose(converted(needle, flat, "sum").colors, 200 / 255, rtol=1e-6)


def test_opacities_and_background_of_alpha_are_left_behind(image):
    start = some(blend="alpha", opacities=torch.full((80,), 0.3), background=1.0)
    got = converted(start, image, "sum")
    assert got.opacities is None and got.background == 0
    assert torch.isfinite(render(got)).all()


def test_what_cannot_be_converted(image):
    with pytest.raises(ValueError, match="not to 'alpha'"):
        converted(some(), image, "alpha")
    with pytest.raises(ValueError, match="gamma"):
        converted(some(gamma=2.2), image, "sum")


@pytest.mark.parametrize(
    ("start", "count", "message"),
    [
        (some(), 81, "80 Gaussians, the budget asks for 81"),
        (some(size=(56, 40)), 80, "of 40x56 pixels, the picture of 56x40"),
        (replace(some(), colors=torch.zeros(80, 1)), 80, "1 channels, the picture 3"),
        (replace(some(), colors=torch.full((80, 3), math.nan)), 80, "colors: 240 values are NaN"),
    ],
)
def test_a_start_that_does_not_fit(image, start, count, message):
    with pytest.raises(ValueError, match=message):
        check_start(start, image, count)
    check_start(some(), image, 80)


@given(st.floats(0.05, 300), st.floats(0.05, 300), st.floats(-10, 10))
def test_factors_and_axes_stand_for_the_same_covariance(s1, s2, angle):
    scales = torch.tensor([[s1, s2]])
    start = Gaussians2D(torch.zeros(1, 2), torch.zeros(1, 3), (4, 4), scales=scales, angles=torch.tensor([angle]))
    factor = factors(start)
    other = Gaussians2D(torch.zeros(1, 2), torch.zeros(1, 3), (4, 4), cholesky=factor)
    back, turned = axes(other)
    larger, smaller = max(s1, s2), min(s1, s2)
    # float32 factors of a needle are off by a share of the long axis
    np.testing.assert_allclose(back[0], [larger, smaller], rtol=1e-5, atol=2e-7 * larger)
    again = Gaussians2D(torch.zeros(1, 2), torch.zeros(1, 3), (4, 4), scales=back, angles=turned)
    np.testing.assert_allclose(again.covariance(), start.covariance(), rtol=1e-5, atol=1e-5 * larger * larger)
    assert torch.equal(axes(start)[0], scales)


def test_degenerate_covariances_stay_finite():
    factor = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [3.0, 1.0, 0.0]])
    start = Gaussians2D(torch.zeros(3, 2), torch.zeros(3, 3), (4, 4), cholesky=factor)
    scales, angles = axes(start)
    np.testing.assert_allclose(scales, [[0, 0], [2, 0], [math.sqrt(10), 0]], atol=1e-6)
    assert torch.isfinite(angles).all()
    flat = Gaussians2D(torch.zeros(3, 2), torch.zeros(3, 3), (4, 4), scales=scales, angles=angles)
    np.testing.assert_allclose(flat.covariance(), start.covariance(), atol=1e-5)
    assert torch.isfinite(factors(flat)).all()


@given(st.floats(-50, 50))
def test_turns_are_equal_angles_in_the_middle_of_the_sigmoid(angle):
    turn = float(torch.sigmoid(turn_logits(torch.tensor([angle]))))
    assert 0.25 - 1e-6 <= turn <= 0.75 + 1e-6
    assert math.sin(2 * math.pi * turn - angle) == pytest.approx(0, abs=1e-5)  # equal up to half a turn


def test_what_is_moved_inside_shows_the_same_at_its_new_centre():
    low, high = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([56.5, 40.5], dtype=torch.float64)
    start = some(6)
    start.means[:3] = torch.tensor([[-2.0, 20.5], [30.5, -1.0], [-1.0, 42.0]])
    got, moved = moved_inside(start, low, high)
    assert moved == 3
    np.testing.assert_allclose(got.means[:3], [[0.5, 20.5], [30.5, 0.5], [0.5, 40.5]])
    assert torch.equal(got.colors[3:], start.colors[3:]) and torch.equal(got.means[3:], start.means[3:])
    inverse = np.linalg.inv(matrix(start.covariance()))
    for i in range(3):
        d = (got.means[i] - start.means[i]).double().numpy()
        weight = math.exp(-0.5 * d @ inverse[i] @ d)
        np.testing.assert_allclose(got.colors[i], start.colors[i] * weight, rtol=1e-4, atol=1e-9)
    assert moved_inside(replace(start, means=got.means), low, high)[1] == 0


def test_degenerate_gaussians_outside_show_nothing_after_the_move():
    low, high = torch.zeros(2, dtype=torch.float64), torch.full((2,), 8.0, dtype=torch.float64)
    flat = Gaussians2D(torch.tensor([[-1.0, 4.0], [4.0, 9.0]]), torch.ones(2, 3), (8, 8), cholesky=torch.zeros(2, 3))
    got, moved = moved_inside(flat, low, high)
    assert moved == 2 and torch.equal(got.colors, torch.zeros(2, 3))

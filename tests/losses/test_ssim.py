"""The objective with SSIM against its definition in float64, pytorch-msssim, and its own properties."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_msssim import ssim as msssim

from splatbench.losses import Objective
from splatbench.losses.plain import plain_loss

MIXED = Objective(l1=0.5, l2=0.2, ssim=0.3)
BOTH = pytest.mark.parametrize("window", ["same", "valid"])


def fused(image, target, objective):
    x = image.detach().clone().requires_grad_()
    value = objective(x, target)
    value.backward()
    return value.detach(), x.grad


def plain(image, target, objective):
    """As devices without kernels compute it."""
    x = image.detach().clone().requires_grad_()
    value = plain_loss(x, target, objective)
    value.backward()
    return value.detach(), x.grad


@pytest.mark.parametrize("way", [fused, plain])
@BOTH
@pytest.mark.parametrize("shape", [(11, 11, 3), (12, 13, 1), (37, 53, 3), (23, 31, 4), (17, 29, 12), (40, 1100, 2)])
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_value_and_gradient(way, window, shape, clamp, kind, pictures, differentiated):
    image, target = pictures(shape)
    target = target if kind == "uint8" else target / 255
    objective = dataclasses.replace(MIXED, window=window, clamp=clamp)
    want, want_grad = differentiated(image, target, objective)
    got, grad = way(image, target, objective)
    assert got.dtype == torch.float32 and got.shape == ()
    assert got.item() == pytest.approx(want.item(), abs=1e-6)
    torch.testing.assert_close(grad.double(), want_grad, rtol=1e-4, atol=3e-6 * want_grad.abs().max().item())


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 1), (9, 1, 3), (4, 5, 3), (10, 30, 3), (3, 200, 2)])
def test_pictures_smaller_than_the_window(shape, pictures, differentiated):
    image, target = pictures(shape)
    want, want_grad = differentiated(image, target, MIXED)
    got, grad = fused(image, target, MIXED)
    assert got.item() == pytest.approx(want.item(), abs=1e-6)
    torch.testing.assert_close(grad.double(), want_grad, rtol=1e-4, atol=3e-6 * want_grad.abs().max().item())


@settings(max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 70),
    channels=st.integers(1, 7),
    window=st.sampled_from(["same", "valid"]),
    seed=st.integers(0, 2**31),
)
def test_random_sizes(height, width, channels, window, seed, pictures, differentiated):
    shape = (height + 10, width + 10, channels) if window == "valid" else (height, width, channels)
    image, target = pictures(shape, seed)
    objective = Objective(ssim=1.0, window=window)
    want, want_grad = differentiated(image, target, objective)
    got, grad = fused(image, target, objective)
    assert got.item() == pytest.approx(want.item(), abs=2e-6)
    torch.testing.assert_close(grad.double(), want_grad, rtol=1e-4, atol=3e-6 * want_grad.abs().max().item())


def test_pytorch_msssim_agrees(fitted):
    image, target = fitted
    x = image.double().permute(2, 0, 1)[None]
    y = target.double().permute(2, 0, 1)[None] / 255
    want = 1 - msssim(x, y, data_range=1.0).item()
    assert Objective(ssim=1.0, window="valid")(image, target).item() == pytest.approx(want, abs=1e-5)


@BOTH
def test_photograph(window, fitted, definition):
    objective = Objective(ssim=1.0, window=window)
    assert objective(*fitted).item() == pytest.approx(definition(*fitted, objective).item(), abs=2e-7)


@BOTH
def test_gradient_by_finite_differences(window, fitted, definition):
    image, target = (x[:60, :70] for x in fitted)
    objective = dataclasses.replace(MIXED, window=window)
    _, grad = fused(image, target, objective)
    rng = np.random.default_rng(1)
    for _ in range(4):
        # directions that keep every |x - t| away from its kink
        direction = torch.from_numpy(rng.normal(size=image.shape)) * ((image - target / 255).abs() > 1e-3)
        ahead = definition(image.double() + 1e-6 * direction, target, objective)
        behind = definition(image.double() - 1e-6 * direction, target, objective)
        along = (grad.double() * direction).sum().item()
        size = (grad.double() * direction).abs().sum().item()
        assert along == pytest.approx(((ahead - behind) / 2e-6).item(), abs=3e-7 * size)


@BOTH
@pytest.mark.parametrize("level", [1.0, 0.5, 0.0])
def test_flat_regions_do_not_cancel(window, level, differentiated):
    # mean square minus squared mean would leave noise of 1e-7 here, against C2 = 9e-4
    rng = np.random.default_rng(2)
    image = torch.from_numpy((level + rng.normal(0, 1e-3, (40, 60, 3))).astype(np.float32))
    target = torch.full((40, 60, 3), level)
    objective = Objective(ssim=1.0, window=window)
    want, want_grad = differentiated(image, target, objective)
    got, grad = fused(image, target, objective)
    assert got.item() == pytest.approx(want.item(), rel=3e-4)
    torch.testing.assert_close(grad.double(), want_grad, rtol=3e-4, atol=3e-4 * want_grad.abs().max().item())


@BOTH
def test_equal_pictures_have_no_loss_and_no_gradient(window, photograph):
    target = torch.from_numpy(photograph)
    value, grad = fused(target / 255, target, dataclasses.replace(MIXED, window=window))
    assert value.item() == 0 and not grad.any()


def test_every_byte_is_divided_exactly():
    target = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(16, 16, 3)  # whole vectors and rests
    for width in (16, 5):
        value, _ = fused(target[:, :width] / 255, target[:, :width].contiguous(), MIXED)
        assert value.item() == 0


@BOTH
def test_linear_in_the_weights(window, fitted):
    image, target = fitted
    weights = {"l1": 0.3, "l2": 0.8, "ssim": 0.45}
    value, grad = fused(image, target, Objective(**weights, window=window))
    parts = [fused(image, target, Objective(**{name: 1.0}, window=window)) for name in weights]
    together = sum(w * v.double() for w, (v, _) in zip(weights.values(), parts, strict=True))
    assert value.item() == pytest.approx(together.item(), rel=1e-6)
    wanted = sum(w * g.double() for w, (_, g) in zip(weights.values(), parts, strict=True))
    torch.testing.assert_close(grad.double(), wanted, rtol=1e-5, atol=1e-6 * wanted.abs().max().item())


@pytest.mark.parametrize("shape", [(45, 700, 3), (7, 9, 1)])
def test_same_bits_for_any_number_of_threads(shape, pictures, monkeypatch):
    image, target = pictures(shape)
    results = set()
    for threads in (1, 2, 3, 8):
        monkeypatch.setattr("splatbench.losses.cpu.thread_count", lambda n=threads: n)
        value, grad = fused(image, target, MIXED)
        results.add((value.item(), grad.numpy().tobytes()))
    assert len(results) == 1


def test_uint8_and_float_targets_give_the_same_bits(fitted):
    image, target = fitted
    first, second = fused(image, target, MIXED), fused(image, target / 255, MIXED)
    assert first[0] == second[0] and torch.equal(first[1], second[1])


@pytest.mark.parametrize("place", [(0, 0, 0), (20, 31, 2), (44, 59, 1)])
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@BOTH
def test_what_is_not_finite_stays_visible(place, clamp, bad, window, pictures):
    image, target = pictures((45, 60, 3), low=0, high=1)
    image[place] = bad
    objective = Objective(ssim=1.0, window=window, clamp=clamp)
    value, grad = fused(image, target, objective)
    if clamp and bad == float("inf"):
        image[place] = 1.0
        assert value == fused(image, target, objective)[0] and grad[place] == 0
    else:
        assert not value.isfinite() and not grad[place].isfinite()


def test_gradient_outside_the_clamped_range_is_zero(pictures):
    image, target = pictures((30, 41, 3))
    _, grad = fused(image, target, dataclasses.replace(MIXED, clamp=True))
    outside = (image < 0) | (image > 1)
    assert outside.any() and not grad[outside].any() and (grad[~outside] != 0).all()


def test_strided_arrays(pictures, differentiated):
    image, target = pictures((25, 33, 3))
    turned = (x.transpose(0, 1).contiguous().transpose(0, 1) for x in (image, target))
    want, want_grad = differentiated(image, target, MIXED)
    got, grad = fused(*turned, MIXED)
    assert got.item() == pytest.approx(want.item(), abs=1e-6)
    torch.testing.assert_close(grad.double(), want_grad, rtol=1e-4, atol=3e-6 * want_grad.abs().max().item())


def test_incoming_gradient_scales(pictures):
    image, target = pictures((20, 20, 3))
    _, once = fused(image, target, MIXED)
    x = image.clone().requires_grad_()
    (-2.5 * MIXED(x, target)).backward()
    torch.testing.assert_close(x.grad, -2.5 * once)


def test_gradients_that_are_held_are_not_written_over(pictures):
    loss, places = MIXED.against(pictures((20, 30, 3))[1]), set()
    images = [pictures((20, 30, 3), seed)[0] for seed in range(6)]
    held = []
    for image in images[:3]:
        x = image.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss(x), x)
        held.append((grad, grad.clone()))
    for image in images[3:]:
        x = image.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss(x), x)
        places.add(grad.data_ptr())
        del grad
    assert len(places) == 1  # what nobody holds is used again
    assert all(torch.equal(grad, copy) for grad, copy in held)


def test_second_derivatives_are_refused_rather_than_wrong(pictures):
    image, target = pictures((20, 20, 3))
    x = image.clone().requires_grad_()
    (grad,) = torch.autograd.grad(MIXED(x, target), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "all weights are 0"),
        ({"l1": -0.1}, "weight l1"),
        ({"ssim": float("nan")}, "weight ssim"),
        ({"l2": float("inf")}, "weight l2"),
        ({"ssim": 1.0, "window": "full"}, "window must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Objective(**settings)


@pytest.mark.parametrize("shape", [(10, 40, 3), (40, 10, 3)])
def test_too_small_for_the_valid_window(shape):
    with pytest.raises(ValueError, match='use window="same"'):
        Objective(ssim=1.0, window="valid")(torch.zeros(shape), torch.zeros(shape))
    assert Objective(l1=1.0, window="valid")(torch.ones(shape), torch.zeros(shape)) == 1  # no window is used

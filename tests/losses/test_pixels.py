"""L1 and L2 against PyTorch in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.losses import Objective, l1, mse
from splatbench.losses.plain import plain_loss


def mse_elsewhere(image, target, clamp=True):
    """`mse` as devices without kernels compute it."""
    return plain_loss(image, target, Objective(l2=1.0, clamp=clamp))


def l1_elsewhere(image, target, clamp=True):
    return plain_loss(image, target, Objective(l1=1.0, clamp=clamp))


ERRORS = {"mse": lambda d: d.square().mean(), "l1": lambda d: d.abs().mean()}


def reference(loss, image, target, clamp):
    x = image.double().requires_grad_()
    t = target.double() / 255 if target.dtype == torch.uint8 else target.double()
    value = ERRORS[loss.__name__.split("_")[0]]((x.clamp(0, 1) if clamp else x) - t)
    value.backward()
    return value.detach(), x.grad


@pytest.mark.parametrize("loss", [mse, l1, mse_elsewhere, l1_elsewhere])
@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (37, 53, 3), (128, 200, 1)])
def test_value_and_gradient(loss, clamp, kind, shape, pictures):
    image, target = pictures(shape)
    target = target if kind == "uint8" else target / 255
    want, want_grad = reference(loss, image, target, clamp)
    x = image.clone().requires_grad_()
    got = loss(x, target, clamp=clamp)
    assert got.dtype == torch.float32 and got.shape == ()
    (3 * got).backward()
    torch.testing.assert_close(got.detach().double(), want, rtol=1e-6, atol=0)
    torch.testing.assert_close(x.grad.double(), 3 * want_grad, rtol=1e-5, atol=1e-6 / image.numel())


@settings(max_examples=40)
@given(size=st.integers(1, 30_000), seed=st.integers(0, 2**31), clamp=st.booleans())
def test_random_sizes(size, seed, clamp, pictures):
    image, target = pictures((1, size, 1), seed)
    want, _ = reference(mse, image, target, clamp)
    assert mse(image, target, clamp).item() == pytest.approx(want.item(), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("loss", [mse, mse_elsewhere])
def test_the_gradient_passes_at_the_ends_of_the_range(loss):
    x = torch.tensor([[[0.0, 1.0, -1e-6, 1 + 1e-6]]], requires_grad=True)
    loss(x, torch.full((1, 1, 4), 128, dtype=torch.uint8)).backward()
    assert (x.grad != 0).tolist() == [[[True, True, False, False]]]


def test_same_bits_for_any_number_of_threads(pictures, monkeypatch):
    image, target = pictures((301, 207, 3))
    results = []
    for threads in ("1", "2", "5"):
        monkeypatch.setattr("splatbench.losses.cpu.thread_count", lambda n=int(threads): n)
        x = image.clone().requires_grad_()
        value = mse(x, target)
        value.backward()
        results.append((value.item(), x.grad.numpy().tobytes()))
    assert results[0] == results[1] == results[2]


def test_sums_are_made_in_float64():
    # in float32 a running sum of 2^25 equal squares would stop growing
    image = torch.full((4096, 2731, 3), 0.1)
    assert mse(image, torch.zeros(image.shape, dtype=torch.uint8)).item() == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("loss", [mse, mse_elsewhere])
def test_nan_is_not_clamped_away(loss):
    image = torch.full((2, 2, 3), float("nan"))
    assert loss(image, torch.zeros(2, 2, 3, dtype=torch.uint8)).isnan()


def test_strided_image(pictures):
    image, target = pictures((20, 30, 3))
    turned = image.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    want, want_grad = reference(mse, image, target, True)
    value = mse(turned, target)
    value.backward()
    assert value.item() == pytest.approx(want.item(), rel=1e-6, abs=1e-7)
    torch.testing.assert_close(turned.grad.double(), want_grad, rtol=1e-5, atol=1e-9)


def test_no_gradient_is_made_where_none_is_asked_for(pictures):
    image, target = pictures((20, 30, 3))
    assert not mse(image, target).requires_grad


@pytest.mark.parametrize(
    ("image", "target"),
    [
        (torch.zeros(2, 3, 3), torch.zeros(3, 2, 3)),
        (torch.zeros(0, 3, 3), torch.zeros(0, 3, 3)),
        (torch.zeros(2, 3, 3).double(), torch.zeros(2, 3, 3)),
        (torch.zeros(2, 3, 3), torch.zeros(2, 3, 3, dtype=torch.int64)),
    ],
)
def test_what_does_not_fit_is_refused(image, target):
    with pytest.raises(ValueError, match="loss"):
        mse(image, target)

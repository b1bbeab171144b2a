"""The Triton losses against the textbook in float64: interpreted where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

from splatbench.losses import Objective, gpu


def ssim_map(x, t, window):
    """Wang et al. 2004, equation 13, of [B, H, W, C] in float64."""
    k = torch.arange(-5, 6, dtype=torch.float64)
    taps = torch.exp(-k.square() / 4.5)
    taps = taps / taps.sum()
    padding = 5 if window == "same" else 0
    mean = lambda v: conv2d(v.permute(0, 3, 1, 2).flatten(0, 1)[:, None], torch.outer(taps, taps)[None, None], padding=padding)  # noqa: E731, E501  # fmt: skip
    mx, mt = mean(x), mean(t)
    vx, vt, both = mean(x * x) - mx * mx, mean(t * t) - mt * mt, mean(x * t) - mx * mt
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * mt + c1) * (2 * both + c2) / ((mx * mx + mt * mt + c1) * (vx + vt + c2))


def textbook(image, target, o):
    """(value, gradient) in float64."""
    x = image.cpu().double().requires_grad_()
    t = target.cpu().double() / (255 if target.dtype == torch.uint8 else 1)
    y = x.clamp(0, 1) if o.clamp else x
    value = o.l1 * (y - t).abs().mean() + o.l2 * (y - t).square().mean()
    if o.ssim:
        batch = (y, t) if y.ndim == 4 else (y[None], t[None])
        value = value + o.ssim * (1 - ssim_map(*batch, o.window).mean())
    value.backward()
    return value.item(), x.grad


def pictures(shape, device, kind="uint8", seed=0):
    """A picture near its target, with values outside [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    image = target / 255 + 0.3 * torch.rand(shape, generator=generator) - 0.15
    return image.to(device), (target if kind == "uint8" else target / 255).to(device)


@pytest.fixture
def short_strips(monkeypatch):
    """So that small pictures have several strips, in which windows reach over their ends."""
    monkeypatch.setattr(gpu, "_strip_rows", lambda height, blocks, device: 8)


CASES = {
    "several blocks and strips, clamped": ((12, 47, 3), "uint8", Objective(0.3, 0.5, 0.7, clamp=True)),
    "valid": ((12, 14, 3), "float32", Objective(0.0, 0.5, 0.7, window="valid")),
    "valid, one window": ((11, 11, 1), "uint8", Objective(ssim=1.0, window="valid")),
    "a batch": ((2, 7, 13, 2), "uint8", Objective(0.2, 0.0, 0.8)),
    "narrower than the window": ((3, 2, 1), "float32", Objective(0.1, 0.2, 0.8)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("short_strips")
def test_value_and_gradient_with_ssim(triton_device, case):
    shape, kind, objective = CASES[case]
    image, target = pictures(shape, triton_device, kind)
    want, want_grad = textbook(image, target, objective)
    x = image.clone().requires_grad_()
    value = gpu.fused(x, target, objective)
    assert value.shape == () and value.dtype == torch.float32
    (2 * value).backward()
    assert value.item() == pytest.approx(want, abs=2e-6)
    assert (x.grad.cpu().double() - 2 * want_grad).norm() < 2e-5 * want_grad.norm()


@pytest.mark.parametrize("objective", [Objective(l1=0.4, l2=0.9, clamp=True), Objective(l1=1.0), Objective(l2=1.0)])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (37, 41, 3), (2, 16, 32, 1)])
def test_value_and_gradient_without_ssim(triton_device, shape, kind, objective):
    image, target = pictures(shape, triton_device, kind)
    want, want_grad = textbook(image, target, objective)
    x = image.clone().requires_grad_()
    value = gpu.fused(x, target, objective)
    value.backward()
    assert value.item() == pytest.approx(want, rel=1e-6)
    torch.testing.assert_close(x.grad.cpu().double(), want_grad, rtol=1e-4, atol=1e-7 / image.numel())


@pytest.mark.usefixtures("short_strips")
def test_equal_pictures_have_no_loss_and_no_gradient(triton_device):
    _, target = pictures((8, 9, 3), triton_device, "float32")
    x = target.clone().requires_grad_()
    value = gpu.fused(x, target, Objective(1, 1, 1))
    value.backward()
    assert value.item() == 0 and not x.grad.any()


@pytest.mark.usefixtures("short_strips")
@pytest.mark.parametrize("objective", [Objective(0.3, 0.3, 0.4), Objective(l2=1.0, clamp=True)])
def test_everything_is_written_again_with_the_same_bits(triton_device, objective):
    image, target = pictures((8, 9, 3), triton_device)
    workspace = gpu.LossWorkspace(tuple(image.shape), objective, triton_device)
    results = []
    for _ in range(2):
        for memory in (workspace.sums, workspace.slopes):
            memory.fill_(float("nan"))
        grad, value = torch.full_like(image, float("nan")), torch.full((1,), float("nan"), device=triton_device)
        gpu.loss_and_gradient(image, target, grad, value, workspace)
        results.append(torch.cat([grad.flatten(), value]))
    assert torch.equal(*results)
    alone = torch.full((1,), float("nan"), device=triton_device)
    gpu.loss_and_gradient(image, target, None, alone, workspace)
    assert torch.equal(alone, value)


@pytest.mark.parametrize("clamp", [True, False])
def test_the_ends_of_the_range(triton_device, clamp):
    x = torch.tensor([[[0.0, 1.0, -1e-6, 1 + 1e-6, 0.5]]], device=triton_device, requires_grad=True)
    target = torch.tensor([[[51, 51, 51, 51, 51]]], dtype=torch.uint8, device=triton_device)
    gpu.fused(x, target, Objective(l1=1.0, l2=1.0, clamp=clamp)).backward()
    assert (x.grad[0, 0] != 0).tolist() == ([True, True, False, False, True] if clamp else [True] * 5)


@pytest.mark.parametrize("clamp", [True, False])
def test_nan_is_not_hidden(triton_device, clamp):
    image, target = pictures((3, 4, 3), triton_device)
    image[1, 2, 0] = float("nan")
    for objective in (Objective(l1=1.0, clamp=clamp), Objective(ssim=1.0, clamp=clamp)):
        assert gpu.fused(image, target, objective).isnan()


def test_many_equal_squares_are_added_without_loss(triton_device):
    shape = (64, 64, 3) if triton_device == "cpu" else (4096, 2731, 3)
    image = torch.full(shape, 0.1, device=triton_device)
    value = gpu.fused(image, torch.zeros(shape, dtype=torch.uint8, device=triton_device), Objective(l2=1.0))
    assert value.item() == pytest.approx(0.01, rel=1e-6)


def test_what_does_not_fit_is_refused(triton_device):
    image, target = pictures((12, 9, 3), triton_device)
    with pytest.raises(ValueError, match="11 x 11"):
        gpu.fused(image, target, Objective(ssim=1.0, window="valid"))
    with pytest.raises(ValueError, match="target"):
        gpu.fused(image, target[1:], Objective(l2=1.0))
    with pytest.raises(ValueError, match="image"):
        gpu.fused(image.double(), target, Objective(l2=1.0))
    with pytest.raises(ValueError, match="target"):
        gpu.fused(image, target.int(), Objective(l2=1.0))
    with pytest.raises(ValueError, match="not empty"):
        gpu.fused(image[:0], target[:0], Objective(l2=1.0))
    workspace = gpu.LossWorkspace((12, 9, 3), Objective(l2=1.0), triton_device)
    with pytest.raises(ValueError, match="grad_out"):
        gpu.loss_and_gradient(image, target, image.transpose(0, 1), image.new_empty(1), workspace)
    with pytest.raises(ValueError, match="value_out"):
        gpu.loss_and_gradient(image, target, None, image.new_empty(2), workspace)


def test_bytes_become_the_fractions_that_a_division_gives():
    """The kernel's two steps (each rounded once) for all 256 bytes, in float32 arithmetic done by float64."""
    import numpy as np

    whole = np.arange(256, dtype=np.float64)
    inverse = np.float64(np.float32(1 / 255))
    near = (whole * inverse).astype(np.float32).astype(np.float64)
    rest = (whole - near * 255).astype(np.float32).astype(np.float64)
    got = (near + rest * inverse).astype(np.float32)
    assert np.array_equal(got, whole.astype(np.float32) / np.float32(255))

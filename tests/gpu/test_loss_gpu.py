"""The losses on a CUDA device, at real sizes, against float64."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from splatbench.losses import Objective, l1, mse
from splatbench.losses.plain import plain_loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

OBJECTIVES = {
    "L2, clamped": Objective(l2=1.0, clamp=True),
    "L1 and L2": Objective(l1=0.7, l2=0.3),
    "L1 and SSIM": Objective(l1=0.7, ssim=0.3),
    "SSIM inside the picture": Objective(ssim=1.0, window="valid", clamp=True),
}


@contextmanager
def no_waiting():
    """Errors where the host waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def pictures(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    image = target / 255 + 0.3 * torch.rand(shape, generator=generator) - 0.15
    return image.cuda(), target.cuda()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("shape", [(512, 768, 3), (1356, 2040, 3), (37, 53, 1), (301, 83, 4)])
@pytest.mark.parametrize("floating", [False, True])
def test_value_and_gradient(name, shape, floating):
    objective = OBJECTIVES[name]
    image, target = pictures(shape)
    target = target / 255 if floating else target
    exact = image.double().requires_grad_()
    want = plain_loss(exact, target.double() if floating else target, objective)
    want.backward()
    x = image.clone().requires_grad_()
    value = objective(x, target)
    value.backward()
    assert value.item() == pytest.approx(want.item(), rel=1e-5)
    assert (x.grad.double() - exact.grad).norm() < 1e-5 * exact.grad.norm()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_same_bits_every_time_and_nobody_waits(name):
    objective = OBJECTIVES[name]
    image, target = pictures((512, 768, 3))
    image.requires_grad_()
    loss = objective.against(target)
    torch.autograd.grad(loss(image), image)  # compiles
    results = []
    with no_waiting():
        for _ in range(5):
            value = loss(image)
            results.append((value.detach(), torch.autograd.grad(value, image)[0]))
    for value, grad in results[1:]:
        assert torch.equal(value, results[0][0]) and torch.equal(grad, results[0][1])


def test_cpu_and_gpu_agree():
    image, target = pictures((200, 300, 3))
    for objective in OBJECTIVES.values():
        assert objective(image, target).item() == pytest.approx(objective(image.cpu(), target.cpu()).item(), rel=1e-5)
    for loss in (mse, l1):
        assert loss(image, target).item() == pytest.approx(loss(image.cpu(), target.cpu()).item(), rel=1e-5)


def test_sums_are_made_in_float64():
    image = torch.full((4096, 2731, 3), 0.1, device="cuda")
    assert mse(image, torch.zeros_like(image, dtype=torch.uint8)).item() == pytest.approx(0.01, rel=1e-6)


def test_a_batch_of_crops():
    from splatbench.losses.gpu import fused

    images, targets = pictures((8, 96, 128, 3))
    objective = OBJECTIVES["L1 and SSIM"]
    x = images.clone().requires_grad_()
    value = fused(x, targets, objective)
    value.backward()
    singles = []
    for image, target in zip(images, targets, strict=True):
        y = image.clone().requires_grad_()
        single = objective(y, target)
        single.backward()
        singles.append((single.detach(), y.grad))
    assert value.item() == pytest.approx(torch.stack([v for v, _ in singles]).mean().item(), rel=1e-6)
    torch.testing.assert_close(x.grad, torch.stack([g for _, g in singles]) / 8, rtol=1e-5, atol=1e-12)

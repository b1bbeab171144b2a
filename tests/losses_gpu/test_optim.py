"""Adam and Adan in one launch, against the optimisers of the CPU."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

from splatbench.optim import Adam, Adan
from splatbench.optim_gpu import DeviceOptimiser

MAKE = {
    "Adan": lambda p: Adan(p),
    "Adan, weight decay": lambda p: Adan(p, weight_decay=0.02, betas=(0.9, 0.8, 0.95)),
    "Adam": lambda p: Adam(p, weight_decay=0.01),
    "AdamW": lambda p: Adam(p, weight_decay=0.05, decoupled_weight_decay=True),
}


def twins(device, *shapes):
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=generator) for shape in shapes]
    return [s.clone().requires_grad_() for s in starts], [s.to(device).requires_grad_() for s in starts]


def groups(parameters):
    """A learning rate for each."""
    return [{"params": [p], "lr": 0.01 * (1 + k)} for k, p in enumerate(parameters)]


@pytest.mark.parametrize("name", MAKE)
def test_steps_are_those_of_the_cpu(triton_device, name):
    ours, theirs = twins(triton_device, (1100, 2), (5,), (3, 1))
    cpu, other = MAKE[name](groups(ours)), MAKE[name](groups(theirs))
    device = DeviceOptimiser(other)
    schedules = [torch.optim.lr_scheduler.StepLR(o, 4, 0.5) for o in (cpu, other)]
    generator = torch.Generator().manual_seed(1)
    for step in range(10):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=generator) * 10.0 ** (step % 3 - 2)
            q.grad = p.grad.to(triton_device)
        cpu.step()
        device.step()
        for schedule in schedules:
            schedule.step()
        device.refresh()
    assert device.steps == 10
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(q.detach().cpu(), p.detach(), rtol=2e-6, atol=2e-6)
        for key, value in cpu.state[p].items():
            if key != "step":
                torch.testing.assert_close(other.state[q][key].cpu(), value, rtol=1e-5, atol=1e-7)


def test_rates_change_only_when_they_are_carried_over(triton_device):
    _, (p,) = twins(triton_device, (4,))
    optimiser = Adam([p], lr=0.5)
    device = DeviceOptimiser(optimiser)
    p.grad = torch.ones_like(p)
    optimiser.param_groups[0]["lr"] = 0.0
    before = p.detach().clone()
    device.step()
    torch.testing.assert_close(p.detach(), before - 0.5)
    device.refresh()
    before = p.detach().clone()
    device.step()
    assert torch.equal(p.detach(), before)


def test_the_first_step_of_adam_is_the_rate_whatever_the_beta(triton_device):
    """1 - beta^t is made in float64: in float32 it would be off by 1e-4 of the step here."""
    _, (p,) = twins(triton_device, (1,))
    device = DeviceOptimiser(Adam([p], lr=1.0, betas=(0.9999, 0.99999), eps=1e-20))
    before = p.item()
    p.grad = torch.full_like(p, 0.25)
    device.step()
    assert p.item() == pytest.approx(before - 1.0, abs=2e-6)


def test_nan_stays_where_it_is(triton_device):
    _, (p,) = twins(triton_device, (6,))
    device = DeviceOptimiser(Adan([p]))
    p.grad = torch.tensor([0.0, float("nan"), 1.0, 2.0, 3.0, 4.0], device=triton_device)
    device.step()
    assert p.detach().isnan().tolist() == [False, True, False, False, False, False]


def test_what_does_not_fit_is_refused(triton_device):
    _, (p, q) = twins(triton_device, (4, 2), (3,))
    with pytest.raises(ValueError, match="Adam or Adan"):
        DeviceOptimiser(torch.optim.SGD([p], lr=1.0))
    with pytest.raises(ValueError, match="contiguous"):
        DeviceOptimiser(Adam([p.detach().t()]))
    with pytest.raises(ValueError, match="1 to 16"):
        DeviceOptimiser(Adam([torch.zeros(1, device=triton_device) for _ in range(17)]))
    optimiser = Adam([p])
    p.grad = torch.ones_like(p)
    optimiser.step()
    with pytest.raises(ValueError, match="fresh"):
        DeviceOptimiser(optimiser)
    device = DeviceOptimiser(Adam([q]))
    with pytest.raises(ValueError, match="no gradient"):
        device.step()
    with pytest.raises(ValueError, match="no kernels here|CUDA"):
        DeviceOptimiser(Adam([torch.zeros(2, device="meta")]))

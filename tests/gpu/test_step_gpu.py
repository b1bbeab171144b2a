"""Fitting steps on a CUDA device: recorded in a graph they do what they do without, and what the CPU does."""

from __future__ import annotations

import pytest
import torch

from splatbench.fitting import Activation, FitStep, Parametrisation
from splatbench.graph import CapturedStep
from splatbench.losses import Objective
from splatbench.optim import Adam, Adan
from splatbench.render import covariance_from_cholesky, covariance_from_scales, rasterize_sum, rasterize_topk
from splatbench.trace import Diverged

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

H, W, N = 96, 144, 600
BOUND = 0.5
PARAMETRISATION = Parametrisation(
    (Activation("tanh", gain=W / 2, offset=W / 2 + 0.5), Activation("tanh", gain=H / 2, offset=H / 2 + 0.5)),
    (Activation(shift=BOUND), Activation(), Activation(shift=BOUND)),
)
OBJECTIVES = {"L2": Objective(l2=1.0, clamp=True), "L1 and SSIM": Objective(l1=0.7, ssim=0.3)}


def start():
    generator = torch.Generator().manual_seed(0)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    target = torch.stack([127 + 120 * torch.sin(x / 9 + k) * torch.cos(y / 7 + k) for k in range(3)], 2)
    return [torch.atanh(1.9 * uniform(N, 2) - 0.95), 2 + uniform(N, 3), uniform(N, 3) - 0.3], target.to(torch.uint8)


def make_step(objective, learning_rate=0.01):
    raw, target = start()
    raw = [v.cuda() for v in raw]
    optimiser = Adan(raw, lr=learning_rate)
    return raw, optimiser, FitStep(raw, PARAMETRISATION, target.cuda(), objective, optimiser)


def cpu_losses(objective, steps):
    raw, target = start()
    raw = [v.requires_grad_() for v in raw]
    optimiser = Adan(raw, lr=0.01)
    half, losses = torch.tensor([W / 2, H / 2]), []
    for _ in range(steps):
        means = half + 0.5 + torch.tanh(raw[0]) * half
        covariance = covariance_from_cholesky(raw[1] + torch.tensor([BOUND, 0.0, BOUND]))
        loss = objective(rasterize_sum(means, covariance, raw[2], (H, W)), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_fit_goes_as_on_the_cpu(name):
    want = cpu_losses(OBJECTIVES[name], 40)
    _, _, fit = make_step(OBJECTIVES[name])
    step = CapturedStep(fit)
    got = []
    for _ in want:
        step()
        got.append(step.loss())
    assert step.captured and step.failure is None
    assert want[-1] < 0.8 * want[0]
    assert got == pytest.approx(want, rel=2e-3)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_graph_gives_the_same_bits_and_follows_the_rate(name):
    results = []
    for captured in (False, True):
        raw, optimiser, fit = make_step(OBJECTIVES[name])
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.1)
        step = CapturedStep(fit) if captured else fit
        for _ in range(12):
            step()
            schedule.step()
            fit.refresh()
        results.append([v.clone() for v in raw])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_nobody_waits():
    _, _, fit = make_step(OBJECTIVES["L1 and SSIM"])
    step = CapturedStep(fit)
    for _ in range(4):
        step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            step()
            fit()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert step.captured and step.loss() > 0


def test_divergence_is_noticed():
    raw, _, fit = make_step(OBJECTIVES["L2"])
    step = CapturedStep(fit)
    for _ in range(5):
        step()
    step.loss()
    raw[2][3, 1] = float("nan")
    for _ in range(3):
        step()
    with pytest.raises(Diverged, match="between steps 6 and 8"):
        step.loss()


def test_autograd_in_a_graph():
    """A step of torch operations and our kernels: weighted averages of the strongest, L1 and SSIM, Adam."""
    from splatbench.optim_gpu import DeviceOptimiser

    def fit(captured):
        generator = torch.Generator().manual_seed(1)
        uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
        parameters = [uniform(N, 2), 0.2 + 0.1 * uniform(N, 2), uniform(N), uniform(N, 3)]
        parameters = [v.cuda().requires_grad_() for v in parameters]
        size, target = torch.tensor([float(W), float(H)], device="cuda"), start()[1].cuda()
        optimiser = DeviceOptimiser(
            Adam([{"params": [p], "lr": 10.0 ** -(3 - k % 2)} for k, p in enumerate(parameters)])
        )
        objective = Objective(l1=1.0, ssim=0.1).against(target)

        def once():
            for p in parameters:
                p.grad = None
            means, inverse, angles, colors = parameters
            covariance = covariance_from_scales(1 / inverse, angles)
            loss = objective(rasterize_topk(means * size, covariance, colors, (H, W)))
            loss.backward()
            optimiser.step()
            return loss

        step = CapturedStep(once) if captured else once
        for _ in range(10):
            step()
        if captured:
            assert step.captured, step.failure
        return [p.detach().clone() for p in parameters]

    for eager, recorded in zip(fit(False), fit(True), strict=True):
        assert torch.equal(eager, recorded)


def test_a_step_that_waits_is_told_and_goes_on():
    p = torch.zeros(3, device="cuda")

    def waits():
        p.add_(1.0)
        return p.sum() / p.max().item()

    step = CapturedStep(waits, warmup=2)
    before = torch.cuda.current_stream()
    step()
    step()
    with pytest.warns(RuntimeWarning, match="cannot be recorded"):
        step()
    step()
    assert torch.cuda.current_stream() == before
    assert not step.captured and step.failure
    assert p.tolist() == [4.0, 4.0, 4.0] and step.loss() == pytest.approx(3.0)

"""Adan against published steps, against its formulas in float64, and as a torch optimiser."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from splatbench.optim import Adan

BETAS = (0.98, 0.92, 0.99)


def test_published_steps():
    # measured with the official optimiser: learning rate 1e-3, start at 0
    p = torch.zeros(1, requires_grad=True)
    optimiser = Adan([p], lr=1e-3)
    steps = []
    for gradient in (1, 0.5, -0.25, -0.25, 2):
        p.grad = torch.tensor([float(gradient)])
        optimiser.step()
        steps.append(p.item())
    assert steps == pytest.approx([-0.001000000, -0.001719497, -0.001726871, -0.001654711, -0.002103024], abs=3e-9)


def formulas(start, gradients, lr, weight_decay=0.0, eps=1e-8):
    """The published steps, written out in float64."""
    p, m, v, n = start.copy(), *(np.zeros_like(start) for _ in range(3))
    previous = gradients[0]
    for step, g in enumerate(gradients, 1):
        d, previous = g - previous, g
        m = 0.98 * m + 0.02 * g
        v = 0.92 * v + 0.08 * d
        n = 0.99 * n + 0.01 * (g + 0.92 * d) ** 2
        c1, c2, c3 = (1 - beta**step for beta in BETAS)
        denominator = np.sqrt(n) / math.sqrt(c3) + eps
        p = p - lr(step) * (m / c1) / denominator
        p = p - lr(step) * 0.92 * (v / c2) / denominator
        p = p / (1 + lr(step) * weight_decay)
    return p


def run(start, gradients, lr=0.01, weight_decay=0.0, dtype=torch.float32, schedule=None):
    p = torch.tensor(start, dtype=dtype, requires_grad=True)
    optimiser = Adan([p], lr=lr, betas=BETAS, weight_decay=weight_decay)
    scheduler = schedule(optimiser) if schedule else None
    for g in gradients:
        p.grad = torch.tensor(g, dtype=dtype)
        optimiser.step()
        if scheduler:
            scheduler.step()
    return p.detach().numpy()


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    return rng.normal(size=(301, 3)), rng.normal(size=(30, 301, 3)) * np.exp(rng.normal(size=(301, 1)) * 3)


@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
def test_fused_step_follows_the_formulas(problem, weight_decay):
    start, gradients = problem
    want = formulas(start, gradients, lambda step: 0.01, weight_decay)
    assert np.abs(run(start, gradients, weight_decay=weight_decay) - want).max() < 2e-5


def test_torch_path_follows_the_formulas(problem):
    start, gradients = problem  # float64 parameters take the path that other devices take
    want = formulas(start, gradients, lambda step: 0.01, 0.02)
    assert np.abs(run(start, gradients, weight_decay=0.02, dtype=torch.float64) - want).max() < 1e-10


def test_schedulers_set_the_rate(problem):
    start, gradients = problem
    want = formulas(start, gradients, lambda step: 0.01 * 0.5 ** ((step - 1) // 10))
    got = run(start, gradients, schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 10, 0.5))
    assert np.abs(got - want).max() < 2e-5


def test_state_can_be_saved_and_loaded(problem, tmp_path):
    start, gradients = problem
    p = torch.tensor(start, dtype=torch.float32, requires_grad=True)
    optimiser = Adan([p], lr=0.01)
    for g in gradients[:10]:
        p.grad = torch.tensor(g, dtype=torch.float32)
        optimiser.step()
    torch.save({"p": p.detach(), "state": optimiser.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    again = saved["p"].clone().requires_grad_()
    second = Adan([again], lr=1.0)
    second.load_state_dict(saved["state"])
    for g in gradients[10:]:
        for q, o in ((p, optimiser), (again, second)):
            q.grad = torch.tensor(g, dtype=torch.float32)
            o.step()
    assert torch.equal(p, again)
    assert copy.deepcopy(optimiser.state_dict())["state"][0]["step"] == 30


def test_groups_strides_and_missing_gradients(problem):
    start, gradients = problem
    rows = torch.tensor(start, dtype=torch.float32).t().contiguous().t().requires_grad_()  # not contiguous
    plain = torch.tensor(start, dtype=torch.float32, requires_grad=True)
    still = torch.ones(3, requires_grad=True)
    optimiser = Adan([{"params": [rows, still]}, {"params": [plain], "lr": 0.0}], lr=0.01)
    for g in gradients:
        rows.grad, plain.grad = torch.tensor(g, dtype=torch.float32), torch.tensor(g, dtype=torch.float32)
        optimiser.step()
    assert np.abs(rows.detach().numpy() - formulas(start, gradients, lambda step: 0.01)).max() < 2e-5
    assert torch.equal(plain, torch.tensor(start, dtype=torch.float32)) and torch.equal(still, torch.ones(3))


def test_the_gradient_may_be_reused_in_place():
    p, q = torch.zeros(5, requires_grad=True), torch.zeros(5, requires_grad=True)
    shared = torch.ones(5)
    first, second = Adan([p]), Adan([q])
    for value in (1.0, -2.0, 0.5):
        shared.fill_(value)
        p.grad, q.grad = shared, torch.full((5,), value)
        first.step()
        second.step()
    assert torch.equal(p, q)


def test_closure():
    p = torch.ones(3, requires_grad=True)
    optimiser = Adan([p])

    def closure():
        optimiser.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 3 and (p < 1).all()


@pytest.mark.parametrize(
    "setting", [{"lr": -1}, {"eps": -1}, {"weight_decay": -1}, {"betas": (0.9, 0.9)}, {"betas": (1, 0, 0)}]
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match="Adan"):
        Adan([torch.zeros(1, requires_grad=True)], **setting)

"""Adam against torch's in float64, Adan against published steps and its formulas, both as torch optimisers."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.optim import Adam, Adan

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


# -- Adam --------------------------------------------------------------------------------------------------------------
DECAYS = [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True}]


def adam_steps(kind, dtype, starts, gradients, schedule=None, **settings):
    """Parameters, each a group with a learning rate of its own, after all steps."""
    parameters = [torch.tensor(x, dtype=dtype, requires_grad=True) for x in starts]
    optimiser = kind([{"params": [p], "lr": 0.01 * (i + 1)} for i, p in enumerate(parameters)], **settings)
    scheduler = schedule(optimiser) if schedule else None
    for step in gradients:
        for p, g in zip(parameters, step, strict=True):
            p.grad = torch.tensor(g, dtype=torch.float32).to(dtype)
        optimiser.step()
        if scheduler:
            scheduler.step()
    return [p.detach().double() for p in parameters]


@pytest.fixture(scope="module")
def attributes():
    """Four parameters of uneven sizes, and 300 gradients of very different size for each."""
    rng = np.random.default_rng(1)
    shapes = [(301, 2), (301, 3), (17,), (1,)]
    starts = [rng.normal(size=shape) for shape in shapes]
    sizes = [np.exp(3 * rng.normal(size=shape)) for shape in shapes]
    return starts, [[rng.normal(size=x.shape) * x for x in sizes] for _ in range(300)]


@pytest.mark.parametrize("settings", DECAYS)
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.8), (0.0, 0.0)])
def test_adam_is_as_exact_as_that_of_torch(attributes, settings, betas):
    exact = adam_steps(torch.optim.Adam, torch.float64, *attributes, betas=betas, **settings)
    theirs = adam_steps(torch.optim.Adam, torch.float32, *attributes, betas=betas, **settings)
    ours = adam_steps(Adam, torch.float32, *attributes, betas=betas, **settings)
    for x, y, z, start in zip(ours, theirs, exact, attributes[0], strict=True):
        # roundings add up over the steps; a root mean square, because single values may be at an edge
        assert (x - z).square().mean().sqrt() <= 1.5 * (y - z).square().mean().sqrt() + 1e-6
        assert (z - torch.tensor(start)).abs().max() > 0.01


@pytest.mark.parametrize("settings", DECAYS)
def test_adam_of_torch_operations_follows_torch(attributes, settings):
    want = adam_steps(torch.optim.Adam, torch.float64, *attributes, **settings)
    for x, y in zip(adam_steps(Adam, torch.float64, *attributes, **settings), want, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_adam_takes_the_rate_of_a_scheduler(attributes):
    def decay(optimiser):
        return torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.97)

    want = adam_steps(torch.optim.Adam, torch.float64, *attributes, schedule=decay)
    for x, y in zip(adam_steps(Adam, torch.float32, *attributes, schedule=decay), want, strict=True):
        assert (x - y).abs().max() < 1e-5


def test_adam_goes_on_from_the_state_of_torch(attributes):
    starts, gradients = attributes
    p, q = (torch.tensor(starts[0], dtype=torch.float32, requires_grad=True) for _ in range(2))
    theirs = torch.optim.Adam([p], lr=0.01, eps=1e-6)
    for step in gradients[:20]:
        p.grad = torch.tensor(step[0], dtype=torch.float32)
        theirs.step()
    ours = Adam([q], lr=0.5)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    q.data.copy_(p.data)
    for step in gradients[20:60]:
        p.grad = torch.tensor(step[0], dtype=torch.float32)
        q.grad = p.grad.clone()
        theirs.step()
        ours.step()
    torch.testing.assert_close(p, q, rtol=1e-5, atol=2e-6)


# -- both --------------------------------------------------------------------------------------------------------------
BOTH = pytest.mark.parametrize("kind", [Adam, Adan])


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(0, 100), min_size=1, max_size=6), seed=st.integers(0, 2**31))
@BOTH
def test_together_is_one_by_one(kind, sizes, seed):
    rng = np.random.default_rng(seed)
    together = [torch.from_numpy(rng.normal(size=n).astype(np.float32)).requires_grad_() for n in sizes]
    alone = [p.detach().clone().requires_grad_() for p in together]
    optimisers = [kind(together), *(kind([p]) for p in alone)]
    for _ in range(3):
        for p, q in zip(together, alone, strict=True):
            p.grad = torch.from_numpy(rng.normal(size=p.shape).astype(np.float32))
            q.grad = p.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    assert all(torch.equal(p, q) for p, q in zip(together, alone, strict=True))


@BOTH
def test_same_bits_for_any_number_of_threads(kind, attributes, monkeypatch):
    starts, gradients = attributes
    results = set()
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr("splatbench.optim.thread_count", lambda n=threads: n)
        parameters = [torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in starts]
        optimiser = kind(parameters, lr=0.01)
        for step in gradients[:5]:
            for p, g in zip(parameters, step, strict=True):
                p.grad = torch.tensor(g, dtype=torch.float32)
            optimiser.step()
        results.add(b"".join(p.detach().numpy().tobytes() for p in parameters))
    assert len(results) == 1


@BOTH
def test_no_byte_around_a_parameter_is_touched(kind):
    memory = torch.full((100,), 7.0)
    p = memory[40:61].requires_grad_()  # neither begins nor ends with a vector
    p.grad = torch.ones(21)
    optimiser = kind([p], lr=0.5)
    optimiser.step()
    assert (memory[:40] == 7).all() and (memory[61:] == 7).all() and (memory[40:61] != 7).all()


@BOTH
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_gradient_is_seen_where_it_is_and_nowhere_else(kind, bad):
    p = torch.zeros(50, requires_grad=True)
    optimiser = kind([p])
    p.grad = torch.ones(50)
    p.grad[[3, 48]] = bad  # in a whole vector, and in the rest
    for _ in range(2):
        optimiser.step()
    assert p.isfinite().logical_not().nonzero().flatten().tolist() == [3, 48]


@BOTH
def test_a_missing_gradient_leaves_parameter_and_state(kind):
    p, q = torch.ones(20, requires_grad=True), torch.ones(20, requires_grad=True)
    optimiser = kind([p, q], weight_decay=0.5)
    p.grad = torch.ones(20)
    optimiser.step()
    assert torch.equal(q, torch.ones(20)) and q not in optimiser.state
    assert optimiser.state[p]["step"] == 1


@BOTH
def test_strided_gradients(kind):
    p, q = (torch.zeros(30, 2, requires_grad=True) for _ in range(2))
    gradient = torch.randn(2, 30).t()
    p.grad, q.grad = gradient, gradient.contiguous()
    first, second = kind([p]), kind([q])
    first.step()
    second.step()
    assert not p.grad.is_contiguous() and torch.equal(p, q)


@BOTH
def test_a_state_of_another_size_is_refused(kind):
    p, q = torch.zeros(20, requires_grad=True), torch.zeros(30, requires_grad=True)
    first, second = kind([p]), kind([q])
    p.grad, q.grad = torch.ones(20), torch.ones(30)
    first.step()
    second.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="does not fit its parameter"):
        second.step()


@BOTH
def test_sparse_gradients_are_refused(kind):
    p = torch.zeros(4, requires_grad=True)
    p.grad = torch.ones(4).to_sparse()
    with pytest.raises(ValueError, match="dense"):
        kind([p]).step()


@BOTH
def test_settings_of_groups_are_checked(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}: lr"):
        kind([{"params": [torch.zeros(1, requires_grad=True)], "lr": -1}])


@pytest.mark.parametrize("setting", [{"lr": -1}, {"eps": float("nan")}, {"weight_decay": -1}, {"betas": (0.9, 1.0)}])
def test_adam_refuses_settings_out_of_range(setting):
    with pytest.raises(ValueError, match="Adam"):
        Adam([torch.zeros(1, requires_grad=True)], **setting)


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


@pytest.mark.parametrize("kind", [Adam, Adan])
def test_autograd_notices_a_step(kind):
    p = torch.ones(5, requires_grad=True)
    p.grad = torch.ones(5)
    total = (p * p).sum()
    kind([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()

"""The fitting step of the GPU against one of torch operations; graphs, as far as they need no GPU."""

from __future__ import annotations

import math
import subprocess
import sys
import types
import warnings
from contextlib import nullcontext

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

from splatbench.fitting import Activation, FitStep, Parametrisation
from splatbench.graph import CapturedStep
from splatbench.losses import Objective
from splatbench.optim import Adam, Adan
from splatbench.render import covariance_from_cholesky, covariance_from_scales, rasterize_sum, rasterize_topk
from splatbench.trace import Diverged

H, W, N = 12, 20, 6
TORCH = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "abs": torch.abs,
    "relu": torch.relu,
    "inverse": torch.reciprocal,
}
TANH = Activation("tanh", gain=W / 2, offset=W / 2 + 0.5), Activation("tanh", gain=H / 2, offset=H / 2 + 0.5)
NORMALISED = Activation(gain=W), Activation(gain=H)
ANGLE = Activation("sigmoid", gain=-2 * math.pi)
CASES = {
    "tanh means, bounded factors, published gradient": Parametrisation(
        TANH, (Activation(shift=0.5), Activation(), Activation(shift=0.5)), double_offdiagonal_gradient=True
    ),
    "absolute scales, sigmoid angles": Parametrisation(
        TANH, (Activation("abs", shift=0.5), Activation("abs", shift=0.5), ANGLE), "scales"
    ),
    "normalised means, inverse scales": Parametrisation(
        NORMALISED, (Activation("inverse"), Activation("inverse"), Activation()), "scales"
    ),
    "scales with a floor": Parametrisation(
        NORMALISED, (Activation("relu", -2.0, 1.0, 2.0), Activation("relu", -0.5, 1.0, 0.5), ANGLE), "scales"
    ),
}


def apply(a, x):
    return a.offset + a.gain * TORCH[a.function](x + a.shift)


def start(parametrisation, seed=0):
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    scales = parametrisation.kind == "scales"
    means = uniform(N, 2) if parametrisation.means == NORMALISED else 2 * uniform(N, 2) - 1
    size = 0.3 if parametrisation.shape[0].function == "inverse" else 1.0
    shape = [size * (0.5 + 3 * uniform(N, 2)), uniform(N, 1)] if scales else [1 + 3 * uniform(N, 3)]
    target = torch.randint(0, 256, (H, W, 3), generator=generator, dtype=torch.uint8)
    return [means, *shape, uniform(N, 3)], target


def plain_step(p, parameters, target, objective, optimiser, blend):
    """The same on the CPU, under autograd."""
    xy, shape = parameters[0], torch.cat([v.reshape(N, -1) for v in parameters[1:-1]], 1)
    means = torch.stack([apply(a, xy[:, k]) for k, a in enumerate(p.means)], 1)
    values = torch.stack([apply(a, shape[:, k]) for k, a in enumerate(p.shape)], 1)
    double = {"double_offdiagonal_gradient": p.double_offdiagonal_gradient}
    if p.kind == "cholesky":
        covariance = covariance_from_cholesky(values, **double)
    else:
        covariance = covariance_from_scales(values[:, :2].contiguous(), values[:, 2].contiguous(), **double)
    draw = rasterize_sum if blend == "sum" else rasterize_topk
    loss = objective(draw(means, covariance, parameters[-1], (H, W)), target)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


@pytest.mark.parametrize(
    ("case", "blend"), [*((case, "sum") for case in CASES), ("normalised means, inverse scales", "topk")]
)
def test_steps_are_those_of_the_cpu(triton_device, case, blend):
    p = CASES[case]
    raw, target = start(p)
    ours, theirs = [v.clone().requires_grad_() for v in raw], [v.to(triton_device) for v in raw]
    objective = Objective(l2=1.0, clamp=True) if blend == "sum" else Objective(l1=1.0)
    fit = FitStep(theirs, p, target.to(triton_device), objective, Adan(theirs, lr=0.01), blend=blend)
    optimiser = Adan(ours, lr=0.01)
    for _ in range(2):
        want = plain_step(p, ours, target, objective, optimiser, blend)
        assert fit().item() == pytest.approx(want, rel=1e-5)
        for x, y in zip(ours, theirs, strict=True):
            assert (y.grad.cpu() - x.grad).norm() <= 1e-4 * x.grad.norm()
            torch.testing.assert_close(y.cpu(), x.detach(), rtol=1e-4, atol=1e-4)


def test_a_new_rate_is_used_after_refresh(triton_device):
    p = CASES["normalised means, inverse scales"]
    raw, target = start(p)
    theirs = [v.to(triton_device) for v in raw]
    optimiser = Adam(theirs, lr=0.01)
    fit = FitStep(theirs, p, target.to(triton_device), Objective(l2=1.0), optimiser)
    fit()
    optimiser.param_groups[0]["lr"] = 0.0
    fit.refresh()
    before = [v.clone() for v in theirs]
    fit()
    assert all(torch.equal(a, b) for a, b in zip(theirs, before, strict=True))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, which interprets, tells of the infinities
def test_what_is_not_drawn_stays(triton_device):
    """A scale of 1 / 0: infinite, and its slope too; a mean that is NaN."""
    p = CASES["normalised means, inverse scales"]
    raw, target = start(p)
    raw = [v.to(triton_device) for v in raw]
    raw[1][0, 1], raw[0][2, 0] = 0.0, float("nan")
    before = [v.clone() for v in raw]
    fit = FitStep(raw, p, target.to(triton_device), Objective(l2=1.0), Adam(raw, lr=0.01))
    assert math.isfinite(fit().item())
    for old, new in zip(before[1:], raw[1:], strict=True):
        assert torch.equal(new[[0, 2]], old[[0, 2]]) and not torch.equal(new, old)


def test_what_does_not_fit_is_refused(triton_device):
    p = CASES["tanh means, bounded factors, published gradient"]
    raw, target = start(p)
    raw, target = [v.to(triton_device) for v in raw], target.to(triton_device)
    objective = Objective(l2=1.0)
    with pytest.raises(ValueError, match="got 4 tensors"):
        FitStep([*raw, raw[0]], p, target, objective, Adam(raw))
    with pytest.raises(ValueError, match="Cholesky factors must be float32"):
        FitStep([raw[0], raw[1][:, :2], raw[2]], p, target, objective, Adam(raw))
    with pytest.raises(ValueError, match="exactly the parameters"):
        FitStep(raw, p, target, objective, Adam(raw[:2]))
    with pytest.raises(ValueError, match=r"target \[H, W, C\]"):
        FitStep(raw, p, target[None], objective, Adam(raw))
    with pytest.raises(ValueError, match="function"):
        Activation("cosh")
    with pytest.raises(ValueError, match="2 activations"):
        Parametrisation(TANH[:1], p.shape)


class Recorder(CapturedStep):
    """A graph that is a list of calls: what `CapturedStep` does around CUDA's, on the CPU."""

    fails = False

    def _side_stream(self):
        return None

    def _on_side_stream(self):
        return nullcontext()

    def _record(self):
        if self.fails:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nhints")
        return self._run


def counting():
    state = types.SimpleNamespace(done=0)

    def step():
        state.done += 1
        return torch.tensor([1.0 / state.done])

    return state, step


def test_every_call_is_one_step():
    state, step = counting()
    captured = Recorder(step, warmup=2, device="cpu")
    with pytest.raises(RuntimeError, match="no step"):
        captured.loss()
    for i in range(1, 6):
        captured()
        assert state.done == captured.steps == i
        assert captured.captured == (i > 2)
        assert captured.loss() == pytest.approx(1 / i)


def test_a_failed_recording_is_told_once_and_steps_go_on():
    state, step = counting()
    captured = Recorder(step, warmup=1, device="cpu")
    captured.fails = True
    captured()
    with pytest.warns(RuntimeWarning, match="cannot be recorded.*not permitted when stream is capturing"):
        captured()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured()
    assert state.done == 3 and not captured.captured and "not permitted" in captured.failure


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_was_not_finite_is_noticed_later(bad):
    values = iter([1.0, bad, 1.0, 1.0, 1.0])
    captured = Recorder(lambda: torch.tensor(next(values)), device="cpu")
    captured()
    assert captured.loss() == 1.0
    for _ in range(3):
        captured()
    with pytest.raises(Diverged, match="between steps 2 and 4"):
        captured.loss()


def test_nothing_needs_triton_to_be_imported():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import splatbench.fitting, splatbench.graph, splatbench.losses, splatbench.optim, splatbench.render"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_graphs_need_a_gpu():
    with pytest.raises(ValueError, match="CUDA device"):
        CapturedStep(lambda: torch.zeros(()), device="cpu")
    with pytest.raises(ValueError, match="warmup"):
        Recorder(lambda: torch.zeros(()), warmup=0, device="cpu")

"""Learning rates against closed forms, and the groups of the optimiser."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from splatbench.training.engine import make_optimiser, parameter_groups
from splatbench.training.errors import TrainingError
from splatbench.training.schedule import Constant, Cosine, Optimiser, Steps
from splatbench.training.task import Task


def test_steps_are_airs():
    """The published run: epoch 0 at half rate, 1 to 4 full, 5 to 8 half, 9 to 11 a quarter."""
    schedule = Steps()
    factors = [schedule.factor(10_000 * epoch + offset, 120_000) for epoch in range(12) for offset in (0, 9_999)]
    expected = [0.5] + 4 * [1.0] + 4 * [0.5] + 3 * [0.25]
    assert factors == [factor for factor in expected for _ in range(2)]


def test_steps_are_pytorchs():
    """Without warm-up: StepLR, stepped once per epoch."""
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.5)
    ours = Steps(epoch_steps=3, warmup_epochs=0, every=5, gamma=0.5)
    for epoch in range(17):
        assert ours.factor(3 * epoch + 2, 51) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()


def test_cosine_is_pytorchs():
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=40, eta_min=0.1)
    for step in range(41):
        assert Cosine(floor=0.1).factor(step, 40) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()


@given(warmup=st.integers(0, 50), rest=st.integers(1, 200), floor=st.floats(0, 1))
def test_cosine_rises_then_falls(warmup, rest, floor):
    iterations = warmup + rest
    schedule = Cosine(warmup=warmup, floor=floor)
    factors = [schedule.factor(step, iterations) for step in range(iterations + 1)]
    assert factors[:warmup] == pytest.approx([(step + 1) / (warmup + 1) for step in range(warmup)])
    assert factors[warmup] == pytest.approx(1)
    assert all(a >= b - 1e-12 for a, b in zip(factors[warmup:], factors[warmup + 1 :], strict=False))
    assert factors[-1] == pytest.approx(floor)
    middle = warmup + rest / 2
    if rest % 2 == 0:
        assert factors[int(middle)] == pytest.approx((1 + floor) / 2)


def test_constant():
    assert [Constant(warmup=3).factor(step, 9) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert Constant().factor(0, 9) == 1


class TwoGroups(Task):
    def __init__(self, groups=None):
        self.model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
        self.groups = groups

    def parameter_groups(self):
        own = [{"name": name, "params": part.parameters()} for name, part in self.model.items()]
        own[1]["lr"] = 0.3
        own[1]["weight_decay"] = 0.0
        return own if self.groups is None else self.groups(self.model)

    def loss(self, batch, step):
        raise NotImplementedError


def test_rates_of_groups(configure, settings):
    groups = parameter_groups(TwoGroups(), Optimiser(lr=0.1))
    assert [group["lr"] for group in groups] == [0.1, 0.3]
    groups = parameter_groups(TwoGroups(), Optimiser(lr=0.1, group_lr={"b": 0.0}))
    assert [group["lr"] for group in groups] == [0.1, 0.0]
    config = configure(settings | {"optimiser": {"weight_decay": 0.7, "betas": [0.5, 0.6], "eps": 1e-5}})
    made = make_optimiser(groups, config)
    assert type(made) is torch.optim.AdamW
    assert [group["weight_decay"] for group in made.param_groups] == [0.7, 0.0]
    assert [(group["betas"], group["eps"]) for group in made.param_groups] == 2 * [((0.5, 0.6), 1e-5)]
    with pytest.raises(TrainingError, match="no group 'bb'; did you mean 'b'"):
        parameter_groups(TwoGroups(), Optimiser(group_lr={"bb": 1.0}))


@pytest.mark.parametrize(
    "groups",
    [
        lambda model: [{"name": "x", "params": [nn.Parameter(torch.zeros(1))]}],
        lambda model: [{"name": name, "params": model["a"].parameters()} for name in "ab"],
    ],
)
def test_groups_hold_the_models_parameters_once(groups):
    with pytest.raises(TrainingError, match="each of them once"):
        parameter_groups(TwoGroups(groups), Optimiser())


def test_adam_and_adamw_differ_in_the_decay(configure, settings):
    """Decoupled: the weight shrinks by lr * decay whatever the gradient; as a penalty it goes through the moments."""
    for name, expected in [("adamw", 1 - 0.1 * 0.5 - 0.1), ("adam", 1 - 0.1)]:
        parameter = nn.Parameter(torch.ones(1))
        config = configure(settings | {"optimiser": {"name": name, "lr": 0.1, "weight_decay": 0.5}})
        optimiser = make_optimiser([{"name": "x", "params": [parameter], "lr": 0.1}], config)
        parameter.grad = torch.full((1,), 3.0)
        optimiser.step()
        assert math.isclose(parameter.item(), expected, rel_tol=1e-5)

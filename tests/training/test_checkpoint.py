"""Checkpoints by themselves: what they hold, in which files, and with every optimiser."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from splatbench.training.checkpoint import list_checkpoints, load_checkpoint, read_facts, save_checkpoint
from splatbench.training.ema import MovingAverage
from splatbench.training.engine import make_optimiser
from splatbench.training.errors import TrainingError


def model():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 5, bias=False), nn.Linear(5, 2))
    net.register_buffer("count", torch.tensor(4))
    return net


def optimiser_of(net, configure, settings, name):
    matrices = [p for p in net.parameters() if p.ndim == 2]
    groups = [{"name": "matrices", "params": matrices, "lr": 0.01, "initial_lr": 0.01}]
    others = [p for p in net.parameters() if p.ndim != 2]
    groups.append({"name": "others", "params": others, "lr": 0.02, "initial_lr": 0.02})
    groups[0]["matrices"] = True
    return make_optimiser(groups, configure(settings | {"optimiser": {"name": name}}))


def step(net, optimiser, seed):
    torch.manual_seed(seed)
    loss = net(torch.randn(8, 6)).square().mean()
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()


@pytest.mark.parametrize("name", ["adamw", "adam", "muon"])
def test_a_restored_optimiser_takes_the_same_step(tmp_path, configure, settings, name):
    net = model()
    optimiser, average = optimiser_of(net, configure, settings, name), MovingAverage(net, 0.9)
    for seed in range(3):
        step(net, optimiser, seed)
        average.update()
    folder = save_checkpoint(tmp_path, 3, net, optimiser, average, {"more": [1, "x"]}, keep=1)
    assert read_facts(folder) == {"step": 3, "more": [1, "x"]}
    other = model()
    other_optimiser, other_average = optimiser_of(other, configure, settings, name), MovingAverage(other, 0.9)
    load_checkpoint(folder, other, other_optimiser, other_average)
    for n, o, a in ((net, optimiser, average), (other, other_optimiser, other_average)):
        step(n, o, 9)
        a.update()
    for key, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    assert all(torch.equal(other_average.average[key], value) for key, value in average.average.items())


def test_shared_weights_and_buffers_are_kept(tmp_path, configure, settings):
    net = model()
    tied = nn.ModuleDict({"a": net, "b": net[0]})  # one parameter under two names
    optimiser = torch.optim.AdamW(tied.parameters())
    net[1].running_mean += 3
    folder = save_checkpoint(tmp_path, 1, tied, optimiser, None, {}, keep=1)
    other = model()
    again = nn.ModuleDict({"a": other, "b": other[0]})
    with torch.no_grad():
        other[0].weight.zero_()
    load_checkpoint(folder, again, torch.optim.AdamW(again.parameters()), None)
    assert torch.equal(other[0].weight, net[0].weight) and other.count == 4
    assert torch.equal(other[1].running_mean, net[1].running_mean)


def test_the_newest_are_kept_and_a_broken_write_leaves_nothing(tmp_path, monkeypatch):
    net = model()
    optimiser = torch.optim.AdamW(net.parameters())
    for count in (5, 20, 100):
        save_checkpoint(tmp_path, count, net, optimiser, None, {}, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000000020", "step-000000100"]
    before = copy.deepcopy(net.state_dict())
    monkeypatch.setattr("safetensors.torch.save_file", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="cannot write .*No space left"):
        save_checkpoint(tmp_path, 200, net, optimiser, None, {}, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000000020", "step-000000100"]
    monkeypatch.undo()
    save_checkpoint(tmp_path, 200, net, optimiser, None, {}, keep=2)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]
    load_checkpoint(list_checkpoints(tmp_path)[-1], net, optimiser, None)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())


def test_a_checkpoint_of_another_model(tmp_path):
    net = model()
    folder = save_checkpoint(tmp_path, 1, net, torch.optim.AdamW(net.parameters()), MovingAverage(net, 0.9), {}, keep=1)
    other = nn.Linear(6, 5)
    with pytest.raises(TrainingError, match=r"does not fit the model: missing: bias"):
        load_checkpoint(folder, other, torch.optim.AdamW(other.parameters()), None)
    (folder / "average.safetensors").write_bytes((folder / "optimiser.safetensors").read_bytes())
    with pytest.raises(TrainingError, match="the moving average is of another model"):
        load_checkpoint(folder, net, torch.optim.AdamW(net.parameters()), MovingAverage(net, 0.9))

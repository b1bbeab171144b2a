"""Whole runs of a small method: resume to the bit, accumulation, clipping, averages, milestones, faults."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from splatbench.method import MethodError, get_method
from splatbench.training import loop
from splatbench.training.batches import Batches
from splatbench.training.checkpoint import list_checkpoints, read_facts
from splatbench.training.config import load_config
from splatbench.training.errors import TrainingError
from splatbench.training.pictures import open_material
from splatbench.training.weights import load_tensors, save_tensors


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def same_files(a: Path, b: Path) -> bool:
    files = {path.name for path in a.iterdir()} - {"state.json"}
    assert files == {path.name for path in b.iterdir()} - {"state.json"} and files
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in files)


def last(run: Path) -> Path:
    return list_checkpoints(run)[-1]


def test_a_run_leaves_its_files(folder, run, settings):
    outcome = run(settings, "out")
    out = folder / "out"
    assert (outcome.step, outcome.signal, outcome.export, outcome.first) == (8, None, out / "export", True)
    assert [path.name for path in list_checkpoints(out)] == ["step-000000004", "step-000000008"]
    assert load_config(out / "config.yaml") == load_config(folder / "train.yaml")
    lines = log_of(out)
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8]
    assert [line["step"] for line in lines if "validation" in line] == [4, 8]
    assert lines[0]["lr"] == {"a": pytest.approx(0.002 * 2 / 3), "b": pytest.approx(0.003 * 2 / 3)}
    assert lines[0]["mse"] == pytest.approx(lines[0]["loss"])
    exported, kept = load_tensors(out / "export" / "model.safetensors"), load_tensors(last(out) / "model.safetensors")
    assert exported.keys() == kept.keys() and all(torch.equal(exported[k], kept[k]) for k in kept)
    assert not [path for path in out.rglob("*") if path.name.endswith(".part")]


HARD = {"accumulate": 2, "ema": 0.8, "clip_norm": 0.5, "settings": {"milestone": 5}, "augment": "air"}


@pytest.mark.parametrize("stop", [3, 5, 6])
def test_resumed_is_uninterrupted_to_the_bit(folder, run, settings, stop):
    """With accumulation, a moving average, clipping, noise, and a stage that begins before, at and after the stop."""
    settings |= HARD
    run(settings, "whole")
    run(settings | {"iterations": stop}, "parts")
    run(settings, "parts", resume=True)
    assert same_files(last(folder / "whole"), last(folder / "parts"))
    assert same_files(folder / "whole" / "export", folder / "parts" / "export")
    states = [read_facts(last(folder / name)) for name in ("whole", "parts")]
    assert states[0]["task"] == states[1]["task"] == {"seen": 8 * 2 * 2}
    assert states[1]["seconds"] > 0
    logs = [[line for line in log_of(folder / name) if "validation" in line] for name in ("whole", "parts")]
    assert [line for line in logs[1] if line["step"] in (4, 8)] == logs[0]


def test_a_killed_run_goes_on_from_its_last_checkpoint(folder, run, settings, monkeypatch):
    """A log line after the checkpoint is dropped, half a checkpoint is passed over."""
    run(settings, "whole")
    step = loop.Run._one_step

    def killed(self, *args):
        if self.step == 7:
            raise KeyboardInterrupt
        return step(self, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Run, "_one_step", killed)
        run(settings, "parts")
    assert log_of(folder / "parts")[-1]["step"] == 6
    with open(folder / "parts" / "log.jsonl", "a") as file:
        file.write('{"step": 6, "lo')  # cut off
    (folder / "parts" / "checkpoints" / ".step-000000006.part").mkdir()
    assert last(folder / "parts").name == "step-000000004"
    run(settings, "parts", resume=True)
    assert same_files(last(folder / "whole"), last(folder / "parts"))
    assert [line["step"] for line in log_of(folder / "parts")] == [line["step"] for line in log_of(folder / "whole")]


def test_begin_twice_needs_a_word(folder, run, settings):
    run(settings | {"iterations": 2}, "out")
    with pytest.raises(TrainingError, match="holds a run of 2 steps: go on with --resume"):
        run(settings, "out")
    assert run(settings, "new", resume=True).step == 8  # nothing there yet: begins


def test_another_file_is_refused(folder, run, settings):
    run(settings | {"iterations": 2}, "out")
    changed = settings | {"batch": 3, "optimiser": {"lr": 0.1}}
    with pytest.raises(TrainingError, match="batch: 2 -> 3; optimiser.lr: 0.002 -> 0.1") as caught:
        run(changed, "out", resume=True)
    assert "--set init=" in str(caught.value)


def test_other_pictures_are_refused(folder, run, settings):
    settings["data"] = {"train": "pictures"}
    run(settings | {"iterations": 2}, "out")
    Image.new("RGB", (40, 40)).save(folder / "pictures" / "new.png")
    with pytest.raises(TrainingError, match="no longer holds the pictures that .* began with"):
        run(settings, "out", resume=True)


def test_a_finished_run_only_hands_over(folder, run, settings):
    run(settings, "out")
    before = last(folder / "out")
    stamp = before.stat().st_mtime_ns
    (folder / "out" / "export" / "model.safetensors").unlink()
    assert run(settings, "out", resume=True).step == 8
    assert (folder / "out" / "export" / "model.safetensors").is_file()
    assert last(folder / "out").stat().st_mtime_ns == stamp


# -- the arithmetic ------------------------------------------------------------------------------------------------


def plain_run(configure, settings, accumulate=1, clip=None, ema=None, milestone=10**6, decay=0.01):
    """The same training by hand: one long batch instead of accumulation, PyTorch's AdamW not fused."""
    config = configure(settings)
    torch.manual_seed(loop.start_seed(config.seed))
    task = get_method("learner").training_task({"noise": 0.0, "milestone": milestone}, "first")
    groups = [{"params": list(task.model["a"].parameters()), "lr": 0.002}]
    groups.append({"params": list(task.model["b"].parameters()), "lr": 0.003})
    optimiser = torch.optim.AdamW(groups, weight_decay=decay, foreach=False)
    batches = Batches(open_material(config.data).training, config)
    averages = [p.detach().clone() for p in task.model.parameters()]
    for step in range(config.iterations):
        fresh = task.begin(step)
        for p, average in zip(task.model.parameters(), averages, strict=True):
            if any(p is other for other in fresh):
                average.copy_(p.detach())
                optimiser.state.pop(p, None)
        for group, rate in zip(optimiser.param_groups, (0.002, 0.003), strict=True):
            group["lr"] = rate * min(1, (step + 1) / 3)
        optimiser.zero_grad()
        parts = [batches.batch_for(step, part).float() / 255 for part in range(accumulate)]
        loss = sum(task.loss(part, step)[0] for part in parts) / accumulate
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), clip)
        optimiser.step()
        if ema is not None:
            for p, average in zip(task.model.parameters(), averages, strict=True):
                average.mul_(ema).add_(p.detach(), alpha=1 - ema)
    return dict(zip(task.model.state_dict(), task.model.parameters(), strict=True)), averages


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"accumulate": 3},
        {"clip": 0.05},
        {"ema": 0.7},
        {"milestone": 4, "ema": 0.7, "clip": 0.05},
    ],
    ids=str,
)
def test_steps_are_those_of_plain_pytorch(folder, run, configure, settings, how):
    settings["settings"] = {"noise": 0.0, "milestone": how.get("milestone", 10**6)}
    settings |= {"accumulate": how.get("accumulate", 1), "clip_norm": how.get("clip"), "ema": how.get("ema")}
    expected, averages = plain_run(configure, settings, **how)
    run(settings, "out")
    weights = load_tensors(last(folder / "out") / "model.safetensors")
    for name, value in expected.items():
        assert torch.allclose(weights[name], value, atol=2e-6), name
    exported = load_tensors(folder / "out" / "export" / "model.safetensors")
    for name, average in zip(expected, averages, strict=True):
        assert torch.allclose(exported[name], average if "ema" in how else expected[name], atol=2e-6), name
    moved = [name for name in expected if not torch.equal(weights[name], expected_start(settings)[name])]
    stages = ("a.", "b.") if "milestone" in how else ("a.",)  # what is not used is left alone, decay included
    assert {name[:2] for name in moved} == set(stages)


def expected_start(settings):
    torch.manual_seed(loop.start_seed(1))
    return get_method("learner").training_task(settings["settings"], "first").model.state_dict()


def test_clipping_is_logged_before_it_acts(folder, run, settings):
    run(settings | {"clip_norm": 1e-3}, "out")
    assert all(line["gradient_norm"] > 1e-3 for line in log_of(folder / "out") if "loss" in line)


def test_mixed_precision_learns_and_resumes(folder, run, settings):
    settings |= {"precision": "bf16-mixed", "settings": {"noise": 0.0}, "validate_every": 1}
    run(settings, "whole")
    run(settings | {"iterations": 3}, "parts")
    run(settings, "parts", resume=True)
    assert same_files(last(folder / "whole"), last(folder / "parts"))
    errors = [line["validation"]["mse"] for line in log_of(folder / "whole") if "validation" in line]
    assert len(errors) == 8 and errors[-1] < 0.9 * errors[0]
    weights = load_tensors(last(folder / "whole") / "model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


# -- validation ----------------------------------------------------------------------------------------------------


def test_validation_sees_averaged_weights_and_middles(folder, run, settings):
    settings["data"]["validation"]["crop"] = 32
    run(settings | {"ema": 0.9}, "out")
    task = get_method("learner").training_task({}, "first")
    task.model.load_state_dict(load_tensors(folder / "out" / "export" / "model.safetensors"))
    task.model.eval()
    material = open_material(load_config(folder / "train.yaml").data)
    images = [image[(h := (image.shape[0] - 32) // 2) : h + 32, 14:46] for image in material.validation.readable()]
    assert task.validate(images)["mse"] == pytest.approx(log_of(folder / "out")[-1]["validation"]["mse"], rel=1e-5)


def test_validation_changes_nothing(folder, run, settings):
    run(settings, "often", resume=False)
    run(settings | {"validate_every": 1, "log_every": 1, "checkpoint_every": 1}, "rarely")
    assert same_files(last(folder / "often"), last(folder / "rarely"))


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["broken", "infinite"])
def test_a_step_that_is_not_finite_is_left_out(folder, run, settings, fault):
    settings["settings"] = {fault: [3, 4]}
    run(settings, "out")
    weights = load_tensors(last(folder / "out") / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    moments = load_tensors(last(folder / "out") / "optimiser.safetensors")
    assert {value.item() for name, value in moments.items() if name.endswith("/step")} == {6.0}
    assert [line["skipped"] for line in log_of(folder / "out") if "loss" in line] == [0, 1, 2, 2]
    said = (folder / "said.txt").read_text()
    assert "step 4: loss " in said and said.count("the step is left out") == 2


def test_too_many_of_them_stop_the_run(folder, run, settings):
    settings |= {"settings": {"broken": [5, 6, 7]}, "max_skipped": 1}
    with pytest.raises(
        TrainingError, match="2 steps in a row, up to step 7, .*The last checkpoint is .*step-000000004"
    ):
        run(settings, "out")
    assert last(folder / "out").name == "step-000000004"
    assert all(torch.isfinite(t).all() for t in load_tensors(last(folder / "out") / "model.safetensors").values())


def test_float16_needs_a_gpu(run, settings):
    with pytest.raises(TrainingError, match="16-mixed needs a CUDA device"):
        run(settings | {"precision": "16-mixed", "accelerator": "cpu"}, "out")


def test_weights_that_are_not_finite_are_not_saved(folder, run, settings, monkeypatch):
    update = loop.Engine.update

    def spoiled(self, skip):
        update(self, skip)
        if any(v["step"] == 6 for v in self.optimiser.state.values()):
            self.optimiser.param_groups[0]["params"][0].data[0] = np.inf

    monkeypatch.setattr(loop.Engine, "update", spoiled)
    with pytest.raises(TrainingError, match=r"after 8 steps the weights a\.0\.weight are not finite"):
        run(settings | {"max_skipped": 5}, "out")
    assert last(folder / "out").name == "step-000000004"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_between_two_steps(folder, run, settings, monkeypatch, number):
    run(settings, "whole")
    update = loop.Engine.update
    before = signal.getsignal(signal.SIGINT)  # a shell's background job ignores it

    def interrupted(self, skip):
        if self.optimiser.state and next(iter(self.optimiser.state.values()))["step"] == 2:
            os.kill(os.getpid(), number)
        update(self, skip)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Engine, "update", interrupted)
        outcome = run(settings, "parts")
    assert outcome.signal == number and outcome.export is None and outcome.step in (3, 4)
    assert last(folder / "parts").name == f"step-{outcome.step:09d}"
    assert "the same command with --resume goes on from there" in (folder / "said.txt").read_text()
    assert signal.getsignal(signal.SIGINT) is before
    run(settings, "parts", resume=True)
    assert same_files(last(folder / "whole"), last(folder / "parts"))


def test_damaged_checkpoints(folder, run, settings):
    run(settings, "out")
    newest = last(folder / "out")
    whole = (newest / "optimiser.safetensors").read_bytes()
    (newest / "optimiser.safetensors").write_bytes(whole[:-10])
    with pytest.raises(TrainingError, match=r"optimiser\.safetensors: not a safetensors .*remove .* before it"):
        run(settings, "out", resume=True)
    (newest / "optimiser.safetensors").unlink()
    with pytest.raises(TrainingError, match="no such file"):
        run(settings, "out", resume=True)
    (newest / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=r"state\.json: damaged .*; remove"):
        run(settings, "out", resume=True)
    (newest / "state.json").write_text('{"format": 99}')
    with pytest.raises(TrainingError, match="format 99, this version reads 1"):
        run(settings, "out", resume=True)


# -- from phase to phase -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["export", "checkpoints/step-000000008"])
def test_a_phase_starts_from_another(folder, run, settings, source):
    """From what it exported or from its checkpoint: the averaged weights, and no moments."""
    run(settings | {"ema": 0.9}, "first")
    run(settings | {"phase": "second", "init": f"first/{source}", "iterations": 1, "seed": 4}, "second")
    exported = load_tensors(folder / "first" / "export" / "model.safetensors")
    weights = load_tensors(last(folder / "second") / "model.safetensors")
    rate = 0.002 / 3  # of AdamW's first step: at most the rate per weight, and the decay
    for name, value in exported.items():
        assert (weights[name] - value).abs().max() <= rate * 1.02 + 1e-7, name
    assert not torch.equal(weights["a.0.weight"], exported["a.0.weight"])


def test_weights_that_do_not_fit(folder, run, settings):
    run(settings, "first")
    path = folder / "first" / "export" / "model.safetensors"
    tensors = load_tensors(path)
    tensors["a.0.weight"] = torch.zeros(2)
    del tensors["a.0.bias"]
    tensors["more"] = torch.zeros(1)
    save_tensors(path, tensors)
    with pytest.raises(TrainingError, match=r"missing: a\.0\.bias; shape of a\.0\.weight: \[2\], .*; unknown: more"):
        run(settings | {"init": "first/export"}, "second")
    with pytest.raises(TrainingError, match="init: nowhere: there is nothing"):
        run(settings | {"init": "nowhere"}, "second")
    path.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="not a safetensors file"):
        run(settings | {"init": str(path)}, "second")


def test_methods_without_training(run, settings):
    with pytest.raises(MethodError, match="has nothing to train"):
        run(settings | {"method": "identity"}, "out")
    with pytest.raises(MethodError, match="no phase 'third'"):
        run(settings | {"phase": "third"}, "out")
    with pytest.raises(MethodError, match="unknown setting 'noises'; did you mean 'noise'"):
        run(settings | {"settings": {"noises": 1}}, "out")


def test_a_gpu_that_is_not_there(run, settings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match="2 CUDA devices are wanted, 1 are there"):
        run(settings | {"accelerator": "cuda", "devices": 2}, "out")


def test_a_fresh_parameter_must_be_the_models(run, settings, monkeypatch):
    task = get_method("learner").training_task({}, "first")
    monkeypatch.setattr(type(task), "begin", lambda self, step: [torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(TrainingError, match="a parameter that is not trained"):
        run(settings, "out")


def test_tensorboard_says_the_same(folder, run, settings):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(settings | {"tensorboard": True}, "out")
    board = EventAccumulator(str(folder / "out" / "tensorboard")).Reload()
    lines = log_of(folder / "out")
    assert [(e.step, e.value) for e in board.Scalars("loss")] == [
        (line["step"], pytest.approx(line["loss"])) for line in lines if "loss" in line
    ]
    assert [e.step for e in board.Scalars("validation/mse")] == [4, 8]
    assert {"lr/a", "lr/b", "images_per_second"} <= set(board.Tags()["scalars"])


@pytest.mark.parametrize(
    ("package", "change"), [("lightning_fabric", {}), ("torch.utils.tensorboard", {"tensorboard": True})]
)
def test_a_missing_package_is_named(run, settings, monkeypatch, package, change):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TrainingError, match=r"pip install 'splatbench\[train\]'"):
        run(settings | change, "out")


def test_the_file_of_a_run_is_yaml(folder, run, settings):
    run(settings, "out")
    assert yaml.safe_load((folder / "out" / "config.yaml").read_text())["optimiser"]["betas"] == [0.9, 0.999]

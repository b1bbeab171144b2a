"""Float16's scale, and several processes against one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from splatbench.method import get_method
from splatbench.training.checkpoint import list_checkpoints
from splatbench.training.engine import Engine
from splatbench.training.weights import load_tensors


def test_float16_lowers_its_scale_and_leaves_the_step_out(configure, settings):
    """What Fabric does on a GPU, with its scaler on the CPU."""
    from lightning_fabric.plugins import MixedPrecision

    config = configure(settings | {"accelerator": "cpu"})
    engine = Engine(config)
    engine.fabric.strategy.precision = MixedPrecision("16-mixed", "cpu")
    engine._config = config.model_copy(update={"precision": "16-mixed"})
    task = get_method("learner").training_task({"noise": 0.0, "infinite": [1]}, "first")
    engine.setup(task)
    batch = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    weights, norms = [], []
    for step in range(3):
        engine.accumulate(batch, step, last=True)
        norms.append(engine.clip(None))
        engine.update(skip=not torch.isfinite(torch.tensor(norms[-1])))
        weights.append(task.model["a"][0].weight.detach().clone())
    assert not torch.isfinite(torch.tensor(norms[1])) and norms[0] == pytest.approx(norms[2], rel=0.05)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    state = engine.state()
    assert state["scale"] == 2**15
    engine.fabric.strategy.precision = MixedPrecision("16-mixed", "cpu")
    engine.load_state(json.loads(json.dumps(state)))
    assert engine.state() == state


def command(folder: Path, values: dict, out: str, *more: str) -> list[str]:
    (folder / f"{out}.yaml").write_text(yaml.safe_dump(values))
    return [sys.executable, "-m", "splatbench", "train", f"{out}.yaml", "--out", out, "--threads", "1", *more]


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(folder, settings):
    """The same samples, so the same gradients but for rounding; with accumulation and a stage that begins later."""
    settings |= {"accumulate": 2, "settings": {"noise": 0.0, "milestone": 2}, "iterations": 4, "accelerator": "cpu"}
    for out, change in [("one", {"batch": 4}), ("two", {"batch": 2, "devices": 2})]:
        done = subprocess.run(command(folder, settings | change, out), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("done: ") == 1
    one, two = (load_tensors(list_checkpoints(folder / out)[-1] / "model.safetensors") for out in ("one", "two"))
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-6), name
    rates = [json.loads(line) for line in (folder / "two" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in rates if "loss" in line] == [2, 4]


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all(folder, settings):
    settings |= {"iterations": 1_000_000, "accelerator": "cpu", "devices": 2, "log_every": 1}
    process = subprocess.Popen(
        command(folder, settings, "out"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                break
        os.kill(process.pid, signal.SIGTERM)
        rest, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command with --resume goes on" in rest
    assert len(list_checkpoints(folder / "out")) >= 1

"""Training on a CUDA device: every precision learns, skips what is not finite, and goes on where it stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from splatbench.method import get_method
from splatbench.training.checkpoint import list_checkpoints, read_facts
from splatbench.training.config import load_config
from splatbench.training.loop import train
from splatbench.training.task import Task
from splatbench.training.weights import load_tensors

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Narrow(Task):
    """Patches through a narrow layer; the gradient of step 3 is not finite."""

    def __init__(self):
        self.model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Tanh(), nn.ConvTranspose2d(8, 3, 4, 4))

    def parameter_groups(self):
        return [{"name": "all", "params": self.model.parameters()}]

    def loss(self, batch, step):
        assert batch.is_cuda and batch.dtype == torch.float32
        loss = (self.model(batch).float() - batch).square().mean()
        return (loss * float("inf") if step == 3 else loss), {}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_learns_and_goes_on(tmp_path, photograph, monkeypatch, precision):
    monkeypatch.setattr(get_method("identity"), "training_task", classmethod(lambda cls, settings, phase: Narrow()))
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        Image.fromarray(photograph[i * 40 : i * 40 + 80, :100]).save(tmp_path / "pictures" / f"{i}.png")
    values = {
        "method": "identity", "phase": "only", "data": {"train": str(tmp_path / "pictures")}, "batch": 4, "ema": 0.9,
        "size": {"policy": "crop", "side": [32, 32]}, "iterations": 40, "optimiser": {"lr": 0.01}, "log_every": 10,
        "schedule": {"kind": "constant"}, "precision": precision, "accelerator": "cuda",
    }  # fmt: skip
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(values))
    config = load_config(tmp_path / "train.yaml")
    train(config, tmp_path / "whole")
    train(config.model_copy(update={"iterations": 17}), tmp_path / "parts")
    train(config, tmp_path / "parts", resume=True)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]
    ends = [list_checkpoints(tmp_path / name)[-1] for name in ("whole", "parts")]
    facts = [read_facts(end) for end in ends]
    assert [fact["skipped"] for fact in facts] == [1, 1]
    if precision == "16-mixed":
        assert facts[0]["precision"]["scale"] == facts[1]["precision"]["scale"] < 2**16
    weights = [load_tensors(end / "model.safetensors") for end in ends]
    for name in weights[0]:  # cuDNN's sums differ from run to run
        assert np.allclose(weights[0][name], weights[1][name], atol=1e-2), name

"""Small pictures, a method that learns, and its training file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from splatbench.training.config import TrainingConfig, load_config
from splatbench.training.loop import Outcome, train

METHODS = Path(__file__).resolve().parent / "methods"

SETTINGS: dict[str, Any] = {
    "method": "learner",
    "phase": "first",
    "data": {"train": "pictures", "validation": {"count": 2}},
    "size": {"policy": "crop", "side": [16, 32], "multiple": 8},
    "augment": {"flip": 0.5},
    "batch": 2,
    "iterations": 8,
    "optimiser": {"lr": 0.002},
    "schedule": {"kind": "constant", "warmup": 2},
    "validate_every": 4,
    "checkpoint_every": 4,
    "log_every": 2,
}


@pytest.fixture
def folder(tmp_path: Path, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with ten pictures of eight photographs in `pictures/`; one in a folder below."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPLATBENCH_METHODS", str(METHODS))
    monkeypatch.delenv("SPLATBENCH_DATA", raising=False)
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path / "cache"))
    pictures = tmp_path / "pictures"
    (pictures / "below").mkdir(parents=True)
    names = ["a.png", "a_c0.png", "a_c1.png", "b.png", "c.png", "d.png", "e.jpg", "f.png", "g.png", "below/a.png"]
    for i, name in enumerate(names):
        top, left = 20 * (i // 4), 40 * (i % 4)
        Image.fromarray(photograph[top : top + 48 + i, left : left + 60]).save(pictures / name, quality=95)
    return tmp_path


@pytest.fixture
def settings() -> dict[str, Any]:
    """A training file as plain values; a test may change them."""
    return copy.deepcopy(SETTINGS)


@pytest.fixture
def configure(folder: Path) -> Callable[[dict[str, Any]], TrainingConfig]:
    """Plain values -> the settings that a file with them gives."""

    def configured(values: dict[str, Any]) -> TrainingConfig:
        (folder / "train.yaml").write_text(yaml.safe_dump(values))
        return load_config(folder / "train.yaml")

    return configured


@pytest.fixture
def run(folder: Path, configure: Callable[[dict[str, Any]], TrainingConfig]) -> Callable[..., Outcome]:
    """run(values, "out", resume=False): trains in this process; what is said goes to `said.txt`."""

    def trained(values: dict[str, Any], out: str, resume: bool = False) -> Outcome:
        with open(folder / "said.txt", "a") as file:
            return train(configure(values), folder / out, resume, say=lambda line: print(line, file=file, flush=True))

    return trained


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)

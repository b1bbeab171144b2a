"""A tiny experiment: small pictures in a folder, methods that sleep, fail or count by themselves."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter

METHODS = Path(__file__).resolve().parent / "methods"


@pytest.fixture
def project(tmp_path: Path, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with three pictures in `pictures/` (32, 40 and 48 pixels wide, 24 high)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPLATBENCH_METHODS", str(METHODS))
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ENCODE_LOG", str(tmp_path / "encodes.txt"))
    (tmp_path / "encodes.txt").touch()
    (tmp_path / "pictures").mkdir()
    for width in (32, 40, 48):
        crop = np.ascontiguousarray(photograph[100:124, 100 : 100 + width])
        Image.fromarray(crop).save(tmp_path / "pictures" / f"w{width}.png")
    return tmp_path


@pytest.fixture
def settings() -> dict[str, Any]:
    """A valid experiment as plain values."""
    return {
        "name": "tiny",
        "datasets": [{"folder": "pictures"}],
        "metrics": ["psnr"],
        "controls": False,
        "entries": [
            {"id": "slow", "title": "Slow", "family": "Slow", "method": "slow", "budgets": [{"gaussians": 100}]}
        ],
    }


@pytest.fixture
def write_experiment(project: Path) -> Callable[[dict[str, Any]], Path]:
    def write(values: dict[str, Any]) -> Path:
        path = project / "tiny.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


@pytest.fixture
def make_plan(write_experiment: Callable[[dict[str, Any]], Path]) -> Callable[[dict[str, Any]], Plan]:
    return lambda values: Plan.load(write_experiment(values))


@pytest.fixture
def encodes(project: Path) -> Callable[[], list[str]]:
    """The encodings that the slow method has done so far."""
    return lambda: (project / "encodes.txt").read_text().splitlines()


class ListeningReporter(Reporter):
    """Keeps its lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        super().__init__("test", stream=self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def reporter() -> ListeningReporter:
    return ListeningReporter()

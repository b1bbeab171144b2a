"""What the documentation shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from splatbench import method as methods
from splatbench.budget import Budget
from splatbench.codec import decode
from splatbench.render import render
from splatbench.trace import Trace

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The example method of add-a-method.md, found through SPLATBENCH_METHODS."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/add-a-method.md").read_text(), re.S)
    assert code is not None
    folder = tmp_path / "grid"
    folder.mkdir()
    (folder / "__init__.py").write_text(code[1])
    monkeypatch.setenv("SPLATBENCH_METHODS", str(tmp_path))
    return code[1]


def test_example_method_is_at_most_60_lines_and_works(example, photograph):
    assert len(example.strip().splitlines()) <= 60
    kind = methods.get_method("grid")
    instance = kind(kind.make_config({}))
    encoding = instance.encode(photograph, Budget(gaussians=2000), Trace())
    decoded = decode(instance.to_bytes(encoding))
    assert torch.equal(render(decoded), render(encoding))
    assert abs(len(decoded) - 2000) <= 60
    target = photograph / 255.0
    error = np.mean((render(decoded).clamp(0, 1).numpy() - target) ** 2)
    assert -10 * np.log10(error) > 24


def test_settings_table_of_the_example_experiment_is_valid():
    import yaml

    from splatbench.experiment import Experiment

    text = (ROOT / "docs/add-a-method.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert block is not None
    settings = yaml.safe_load(block[1])
    settings["entries"] = [e for e in settings["entries"] if e["method"] != "grid"]
    assert Experiment.model_validate(settings).entries[0].method == "gaussianimage"

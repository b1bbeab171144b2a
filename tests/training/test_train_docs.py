"""The method and the file that docs/train.md shows, run together."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from splatbench.training.config import TrainingConfig, load_config
from splatbench.training.loop import train

DOCS = Path(__file__).resolve().parents[2] / "docs" / "train.md"


def test_the_example_learns(folder, monkeypatch):
    text = DOCS.read_text()
    code, file = (re.search(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "yaml"))
    assert code is not None and file is not None
    (folder / "methods" / "narrow").mkdir(parents=True)
    (folder / "methods" / "narrow" / "__init__.py").write_text(code[1])
    (folder / "pictures").rename(folder / "photos")
    monkeypatch.setenv("SPLATBENCH_METHODS", str(folder / "methods"))
    (folder / "phase1.yaml").write_text(file[1])
    config = load_config(folder / "phase1.yaml", ["data.validation.share=0.3"])
    train(config, folder / "out", say=lambda line: None)
    lines = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    scores = [line["validation"]["psnr"] for line in lines if "validation" in line]
    assert len(scores) == 2 and scores[1] > scores[0]


def test_the_file_shows_defaults_as_they_are():
    """Keys of the example that are not explained as a choice have the default."""
    file = re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.S)
    assert file is not None
    shown = TrainingConfig.model_validate(yaml.safe_load(file[1]))
    for key in ("init", "accumulate", "ema", "precision", "devices", "seed"):
        assert getattr(shown, key) == TrainingConfig.model_fields[key].default, key
    assert (shown.data.cache_mb, shown.data.workers) == (2048, 0)

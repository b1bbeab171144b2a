"""Files in YAML that somebody sent: refused in a sentence, at once, with nothing run and no memory filled."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from splatbench import plain_yaml
from splatbench.datasets.manifest import DatasetError, read_manifest
from splatbench.experiment import ExperimentError, load_experiment
from splatbench.training.config import TrainingError, load_config

ROOT = Path(__file__).resolve().parents[2]


def billion_laughs(levels=30):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


HOSTILE = {
    "a tag that runs a program": ("name: !!python/object/apply:os.system ['touch owned']\n", "could not determine"),
    "a tag that makes an object": ("!!python/object/new:pathlib.Path [owned]\n", "could not determine"),
    "aliases of aliases": (billion_laughs(), "more than 100000 values once its aliases are followed"),
    "a list within itself": ("name: &a [*a]\n", "more than 100000 values"),
    "a mapping within itself": ("&a {name: *a}\n", "more than 100000 values"),
    "lists in lists": ("name: " + "[" * 50_000 + "]" * 50_000, "nested too deeply"),
    "mappings in mappings": ("name: " + "{a: " * 5_000 + "1" + "}" * 5_000, "nested too deeply"),
    "50 MB": ("name: " + "x" * (50 << 20) + "\n", "more than 1048576 characters"),
    "a NUL byte": ("name: x\0y\n", "special characters are not allowed"),
    "a number of 5000 digits": ("seeds: [" + "9" * 5_000 + "]\n", "5000 digits"),
    "a day that is none": ("name: 2026-02-30\n", "day is out of range"),
    "a key twice": ("name: a\nname: b\n", "the key 'name' is given twice"),
    "a falsy key twice": ("0: a\n0: b\n", "the key 0 is given twice"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    ("read", "error"),
    [(load_experiment, ExperimentError), (read_manifest, DatasetError), (load_config, TrainingError)],
    ids=["experiment", "manifest", "training"],
)
def test_hostile_yaml_is_one_sentence(tmp_path, monkeypatch, name, read, error):
    monkeypatch.chdir(tmp_path)
    content, reason = HOSTILE[name]
    path = tmp_path / "sent.yaml"
    path.write_text(content)
    begin = time.process_time()
    with pytest.raises(error, match=reason) as caught:
        read(path)
    assert time.process_time() - begin < 5
    assert "sent.yaml" in str(caught.value) and len(str(caught.value)) < 1000
    assert not (tmp_path / "owned").exists()


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "sent.yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(ExperimentError, match=r"cannot read .*sent\.yaml"):
        load_experiment(tmp_path / "sent.yaml")


NAMES = ["../../x", "/etc/x", "..", ".hidden", "a/b", "a\\b", "a\nb", "-rf", "a b", "{wildcard}", "x" * 81, ""]


@pytest.mark.parametrize("place", ["experiment", "entry"])
@pytest.mark.parametrize("name", NAMES)
def test_names_that_become_paths_are_plain(tmp_path, place, name):
    entry = {"id": "e", "title": "", "family": "", "method": "gaussianimage", "budgets": {"gaussians": 10}}
    values = {"name": "fine", "datasets": ["sample"], "entries": [entry]}
    (values if place == "experiment" else entry)["name" if place == "experiment" else "id"] = name
    path = tmp_path / "sent.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ExperimentError, match="should match pattern|at most 80 characters"):
        load_experiment(path)


def test_a_seed_of_zero_twice_is_seen(tmp_path):
    content = yaml.safe_load((ROOT / "config" / "sample.yaml").read_text()) | {"seeds": [0, 0]}
    (tmp_path / "sent.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ExperimentError, match="seed 0 is listed twice"):
        load_experiment(tmp_path / "sent.yaml")


def test_what_people_write_still_works():
    anchored = "base: &base {lr: 0.1}\nfirst: *base\nsecond: *base\nwhen: 2026-01-01\n"
    assert plain_yaml.parse(anchored)["second"] == {"lr": 0.1}
    for path in [*ROOT.glob("config/*.yaml"), *ROOT.glob("datasets/*.yaml")]:
        assert plain_yaml.read(path) == yaml.safe_load(path.read_text()), path

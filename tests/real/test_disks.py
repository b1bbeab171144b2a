"""Disks that are full or read-only: a tmpfs of two MB and a bind mount, as root. See docs/faults.md."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from splatbench.record import read_records
from splatbench.runner.collect import collect
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter
from tests.real.conftest import require

pytestmark = pytest.mark.real

METHODS = Path(__file__).resolve().parents[1] / "runner" / "methods"
WIDTHS = (150, 160, 170, 180, 190, 200)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of two MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    allowed = os.geteuid() == 0 and shutil.which("mount")
    mounted = allowed and _mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    require(mounted, "needs root and the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def plan(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photograph: np.ndarray) -> Plan:
    """Six pictures whose files need about half a MB, with results on the small disk."""
    monkeypatch.setenv("SPLATBENCH_METHODS", str(METHODS))
    monkeypatch.setenv("ENCODE_LOG", str(tmp_path / "encodes.txt"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for width in WIDTHS:
        Image.fromarray(np.ascontiguousarray(photograph[:200, :width])).save(pictures / f"w{width}.png")
    entry = {"id": "slow", "title": "", "family": "", "method": "slow", "budgets": [{"gaussians": 100}]}
    values = {"name": "tiny", "datasets": [{"folder": str(pictures)}], "metrics": ["psnr"], "controls": False}
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(values | {"entries": [entry]}))
    return Plan.load(file, small)


def _run(plan: Plan) -> None:
    (shard,) = plan.shards.values()
    encode_shard(plan, shard, Reporter("encode"), 1)
    evaluate_shard(plan, shard, Reporter("evaluate"))
    collect(plan)


def test_a_disk_that_fills_up(plan: Plan, small: Path, tmp_path: Path) -> None:
    ballast = small / "ballast"
    ballast.write_bytes(bytes((2 << 20) - (300 << 10)))
    with pytest.raises(
        OSError, match=r"No space left on device \(.*on a disk with \d\.\d MiB free\); what is finished"
    ):
        _run(plan)
    finished = sorted(path.name for path in plan.root.glob("encodings/*/*/*/*.json"))
    assert 0 < len(finished) < len(WIDTHS)
    assert not list(plan.root.rglob("*.part"))
    ballast.unlink()
    _run(plan)
    rows = list(read_records(plan.records))
    assert [(row.status, row.metrics) for row in rows] == [("ok", {"psnr": 100.0})] * len(WIDTHS)
    encodes = (tmp_path / "encodes.txt").read_text().splitlines()
    assert len(encodes) == len(WIDTHS) + 1, "the one that did not fit is encoded twice, nothing else"


def test_a_disk_that_becomes_read_only(plan: Plan, small: Path) -> None:
    """As a disk does that reports errors. What is there can be read and reported."""
    _run(plan)
    rows = plan.records.read_bytes()
    next(iter(plan.root.glob("encodings/*/*/*/w150.json"))).unlink()
    require(_mount("-o", "remount,ro", str(small)), "needs the right to mount again")
    with pytest.raises(OSError, match=r"cannot write .*tiny/.*: Read-only file system"):
        _run(plan)
    assert plan.records.read_bytes() == rows
    assert _mount("-o", "remount,rw", str(small))
    _run(plan)
    assert len(list(read_records(plan.records))) == len(WIDTHS)


def test_the_command_says_it_in_one_sentence(plan: Plan, small: Path, tmp_path: Path) -> None:
    from splatbench.cli import app

    (small / "ballast").write_bytes(bytes(2 << 20))
    options = ["-e", str(tmp_path / "tiny.yaml"), "--results", str(small)]
    result = CliRunner().invoke(app, ["collect", *options])
    assert isinstance(result.exception, OSError) and "MiB free" in str(result.exception)

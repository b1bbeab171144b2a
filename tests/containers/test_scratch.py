"""Folders of a task go with it; what a killed harness left goes with the next task, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from splatbench.containers import scratch
from splatbench.containers.contract import job_folder
from splatbench.containers.owner import OwnedBy, myself

HARNESS = """
from splatbench.containers.contract import job_folder
from splatbench.containers.engines import get_engine
from splatbench.containers.task import ContainerTask
with job_folder() as folder:
    (folder.input / "image.png").write_bytes(b"a picture")
    (folder.output / "locked").mkdir(mode=0)
    get_engine("process").run(ContainerTask("", ("sh", "-c", "touch $HOME/big; sleep 600")))
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Where this process and its children put temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def left_by(temporary) -> Callable[[str, str | None], Path]:
    """Makes a task's folder with such a label."""

    def make(name: str, label: str | None) -> Path:
        folder = temporary / f"splatbench-task-{name}"
        (folder / "in").mkdir(parents=True)
        if label is not None:
            (folder / "owner").write_text(label)
        return folder

    return make


@pytest.fixture
def dead() -> OwnedBy:
    """An owner that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return replace(myself(), pid=process.pid, begun=0.0)


def test_what_a_killed_harness_left_goes_with_the_next_task(temporary):
    harness = subprocess.Popen([sys.executable, "-c", HARNESS])
    deadline = time.monotonic() + 60
    while not list(temporary.glob("*/home/big")):
        assert time.monotonic() < deadline and harness.poll() is None
        time.sleep(0.05)
    with job_folder():
        assert len(list(temporary.iterdir())) == 3, "a living harness keeps its own two"
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    assert len(list(temporary.iterdir())) == 2
    with job_folder() as mine:
        assert list(temporary.iterdir()) == [mine.input.parent]
    assert list(temporary.iterdir()) == []


def test_folders_of_the_dead_go_and_no_others(temporary, left_by, dead):
    stale = [left_by("dead", dead.label()), left_by("restart", replace(myself(), boot="another").label())]
    kept = [
        left_by("living", myself().label()),
        left_by("machine", replace(dead, host="elsewhere").label()),
        left_by("namespace", replace(dead, namespace="pid:[1]").label()),
        left_by("none", None),
        left_by("nonsense", "nonsense"),
    ]
    assert sorted(scratch.remove_stale_folders()) == sorted(stale)
    assert sorted(temporary.iterdir()) == sorted(kept)


def test_what_another_user_made_stays(temporary, left_by, dead, monkeypatch, tmp_path_factory):
    target = tmp_path_factory.mktemp("elsewhere")
    (target / "owner").write_text(dead.label())
    (temporary / "splatbench-task-link").symlink_to(target)
    assert scratch.remove_stale_folders() == [] and (target / "owner").exists()
    folder = left_by("theirs", dead.label())
    user = folder.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    assert scratch.remove_stale_folders() == [] and folder.is_dir()

"""SIGKILL at three moments; the same command again gives the same table and repeats nothing that was finished."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from splatbench.runner.results import EncodeResult, read_result

SECONDS = 0.4  # per encoding
BUDGETS = (100, 200)


@pytest.fixture
def project(new_project):
    project = new_project()
    entry = project.settings()["entries"][0] | {
        "budgets": [{"gaussians": n} for n in BUDGETS],
        "config": {"seconds": SECONDS},
    }
    project.write(project.settings(entries=[entry]))
    return project


def _finished(folder: Path) -> set[str]:
    """Encodings with a whole result, as the method's own log names them."""
    found = set()
    for path in folder.glob("results/tiny/encodings/*/pictures/*/*.json"):
        result = read_result(EncodeResult, path)
        if result is not None and result.status == "ok" and result.files_are_whole(path.parent):
            budget, _, seed = path.parent.name.rpartition("-s")
            found.add(f"{result.width}x{result.height} {budget} seed {seed}")
    return found


def _kill_after(project, encodes: int, delay: float, whole_tree: bool) -> None:
    """Starts a run and kills it `delay` seconds after so many encodings have begun (counted over all runs)."""
    process = subprocess.Popen(
        project.command(),
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(project.encodes()) < encodes:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(delay)
    assert process.poll() is None
    if whole_tree:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()  # its jobs live on: the next run has to wait for them
    process.wait()


def test_killed_three_times(project):
    moments = random.Random(20)
    finished_at_kill: list[tuple[set[str], Counter[str]]] = []
    for encodes, whole_tree in ((2, True), (4, False), (6, True)):
        if len(_finished(project.folder)) < len(BUDGETS) * 3 and len(project.encodes()) < encodes:
            _kill_after(project, encodes, moments.uniform(0, SECONDS), whole_tree)
        else:  # an orphan of the second kill has done the rest: kill in a later stage
            _kill_after(project, 0, moments.uniform(2, 4), whole_tree)
        if whole_tree:
            finished_at_kill.append((_finished(project.folder), Counter(project.encodes())))
    done = project.snakemake()
    assert done.returncode == 0, done.stdout

    final = Counter(project.encodes())
    assert any(finished for finished, _ in finished_at_kill)
    for finished, counts in finished_at_kill:
        assert {name: final[name] for name in finished} == {name: counts[name] for name in finished}
    assert len(_finished(project.folder)) == 6
    # One encoding was under way at each kill; nothing else may have been begun twice.
    assert sum(final.values()) <= 6 + 3

    records = [json.loads(line) for line in project.records.read_text().splitlines()]
    table = [(r["image"], r["budget_slug"], r["status"], r["metrics"], r["n_target"]) for r in records]
    assert table == [(f"w{width}", f"n{n}", "ok", {"psnr": 100.0}, n) for n in BUDGETS for width in (32, 40, 48)]
    assert (project.folder / "reports" / "tiny" / "index.html").is_file()
    assert not list((project.folder / "results").rglob("*.part"))
    assert project.jobs() == {}

"""SIGKILL at random moments, and several processes in one folder. Of snakemake: tests/workflow/test_kill.py."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from splatbench.cli.run import run_experiment
from splatbench.runner.encode import encode_shard
from splatbench.runner.locks import Busy, lock_run, lock_shard
from splatbench.runner.progress import Reporter
from splatbench.runner.workflow import Workflow
from tests.faults.conftest import EXPERIMENT, Project, Table

QUICK = {"OMP_NUM_THREADS": "1", "SPLATBENCH_THREADS": "1"}


def _killed(project: Project, kills: int, seed: int) -> list[set[str]]:
    """What was finished at each of the kills of a run that began from nothing."""
    shutil.rmtree(project.root)
    (project.folder / "encodes.txt").write_text("")
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), str(project.folder), str(kills), str(seed)],
        env=os.environ | project.environment | QUICK,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return [set(line.split()[1:]) for line in done.stdout.splitlines() if line[:1].isdigit()]


def _check_killed(project: Project, undisturbed: Table, kills: int, seed: int) -> None:
    once = len(project.encodes())
    finished = _killed(project, kills, seed)
    assert len(finished) == kills
    for before, after in pairwise(finished):
        assert before <= after, "a kill lost what was finished"
    assert project.run() == undisturbed and not project.errors
    # One encoding may have been under way at each kill; nothing else was begun twice.
    assert len(project.encodes()) <= once + kills


def test_killed_at_random_moments(project: Project, undisturbed: Table) -> None:
    _check_killed(project, undisturbed, 5, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_killed_forty_times(project: Project, undisturbed: Table, seed: int) -> None:
    _check_killed(project, undisturbed, 40, seed)


@pytest.mark.slow
@pytest.mark.parametrize("whole_tree", [True, False])
def test_splatbench_run_is_killed(project: Project, undisturbed: Table, whole_tree: bool) -> None:
    """The command itself, with and without its jobs; then the same command again."""
    small = EXPERIMENT | {"entries": EXPERIMENT["entries"][:1], "shard_size": 9, "datasets": [{"folder": "pictures"}]}
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(small))
    shutil.rmtree(project.root)
    command = [sys.executable, "-m", "splatbench", "run", "-e", "tiny.yaml"]
    environment = os.environ | project.environment | QUICK
    process = subprocess.Popen(
        command, cwd=project.folder, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    while not list(project.root.glob("encodings/*/*/*/*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL) if whole_tree else process.kill()
    process.wait()
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = project.run()
    assert rows == {key: undisturbed[key] for key in rows} and len(rows) >= 5


def test_a_second_run_is_refused_and_changes_nothing(project: Project, undisturbed: Table) -> None:
    """Whichever command is second: it names the folder, and takes away no marker of the first."""
    markers = {path: path.read_bytes() for path in (project.root / "shards").rglob("*.json")}
    project.result("own", "w32").unlink()  # would make a run forget a marker
    with project.here(), lock_run(project.plan().root):
        with pytest.raises(Busy, match="another run is working in results/tiny"):
            run_experiment(Path("tiny.yaml"), Path("results"), 1, False)
        flow = Workflow([], {}, Path("tiny.yaml"))
        with pytest.raises(Busy, match="another run is working in results/tiny"):
            flow.start()
        assert Workflow([], {}, Path("tiny.yaml"), main=False).again == []
    with project.here():
        # It ends before the second takes the folder: that one has looked at what is no longer so.
        with pytest.raises(Busy, match="another run was working in results/tiny while this one was planned; repeat"):
            flow.start()
        repeated = Workflow([], {}, Path("tiny.yaml"))
        assert len(repeated.again) == 1 and "/encode/own/pictures-" in repeated.again[0]
        repeated.start()
    assert {path: path.read_bytes() for path in (project.root / "shards").rglob("*.json")} == markers
    assert project.run() == undisturbed


@pytest.mark.parametrize("numbers", [(0, 0), (0, 1)])
def test_two_jobs_at_once(project: Project, undisturbed: Table, numbers: tuple[int, int]) -> None:
    """The same shard: the second waits and finds all done. Different shards: neither disturbs the other."""
    for folder in project.root.glob("encodings/copy-*"):
        shutil.rmtree(folder)
    before = project.encodes()
    said = io.StringIO()
    with project.here():
        plan = project.plan()

        def job(number: int) -> None:
            shard = plan.shard(f"copy/pictures-{number:03d}")
            reporter = Reporter("job", stream=said)
            with lock_shard(plan.root, "encode", shard.name, lambda: None):
                encode_shard(plan, shard, reporter, 1)

        with ThreadPoolExecutor() as pool:
            list(pool.map(job, numbers))
    made = Counter(project.encodes()[len(before) :])
    assert made and set(made.values()) == {1}
    assert project.run() == undisturbed

"""A clock that jumps: no row is lost or believed for its time stamp, and no time is measured with it."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from splatbench.runner.results import is_older
from splatbench.runner.workflow import Workflow
from tests.faults.conftest import Project, Table

DAY = 86400.0


def _shift(project: Project, seconds: float) -> None:
    """As if the files had been written under a clock that was wrong by so much."""
    for path in project.files():
        made = path.stat().st_mtime + seconds
        os.utime(path, (made, made))


@pytest.mark.parametrize("shift", [DAY, -DAY])
def test_results_of_another_clock_are_results(project: Project, undisturbed: Table, shift: float) -> None:
    _shift(project, shift)
    encodes = project.encodes()
    assert project.run() == undisturbed and project.encodes() == encodes


def test_failures_of_tomorrow_are_tried_again_when_asked(project: Project, undisturbed: Table) -> None:
    _shift(project, DAY)
    before = project.encodes()
    now = time.time()
    assert project.run(retry_before=now) == undisturbed
    again = project.encodes()[len(before) :]
    assert again == ["40x24 n20 seed 1"], "the entry that fails on this picture, and nothing else"
    # A job that is started once more in the same run does not try for ever.
    assert project.run(retry_before=now) == undisturbed
    assert project.encodes() == before + again


def test_older_means_before_the_moment_or_after_now(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.touch()
    now = time.time()
    for made, moment, expected in (
        (now - 10, now - 5, True),
        (now - 10, now - 15, False),
        (now + DAY, now - 5, True),
        (now + DAY, 0.0, False),  # nobody asked for anything to be tried again
    ):
        os.utime(path, (made, made))
        assert is_older(path, moment) is expected


def test_a_clock_that_jumps_during_the_run(
    project: Project, undisturbed: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, real = random.Random(8), time.time
    monkeypatch.setattr(time, "time", lambda: real() + chance.choice((-DAY, 0.0, DAY)))
    for folder in ("encodings", "evaluations"):
        for path in project.root.glob(f"{folder}/f*/*/*/*.json"):
            path.unlink()
    rows = project.run()
    assert rows == undisturbed
    for path in project.root.glob("encodings/fit-*/*/*/*.json"):
        text = path.read_text()
        assert '"seconds": -' not in text, "times are of a clock that only runs forward"


def _workflow(project: Project) -> Workflow:
    """What Snakemake makes before it looks at time stamps."""
    return Workflow([], {}, Path("tiny.yaml"))


def _markers(flow: Workflow) -> list[Path]:
    plan = flow.plan
    return [path for shard in plan.shards.values() for path in (plan.encode_marker(shard), plan.evaluate_marker(shard))]


def test_what_snakemake_plans_depends_on_content_not_on_time_stamps(project: Project, undisturbed: Table) -> None:
    """A killed run under a clock that was set back: the newer result is older than what was made of it."""
    with project.here():
        flow = _workflow(project)
        assert flow.again == [] and all(path.exists() for path in _markers(flow))
        shard = next(shard for name, shard in flow.plan.shards.items() if name.startswith("own/pictures"))
        evaluation = flow.plan.evaluation(shard.runs[0], "w32")
        evaluation.write_text(evaluation.read_text().replace("file_sha256", "file_sha_256"))
        _shift(project, DAY)
        assert _workflow(project).again == [str(flow.plan.evaluate_marker(shard))]


def test_records_that_do_not_say_what_the_results_say_are_collected_again(project: Project) -> None:
    with project.here():
        flow = _workflow(project)
        text = flow.plan.records.read_text()
        flow.plan.records.write_text(text.replace('"n_actual": 20', '"n_actual": 21'))
        _shift(project, DAY)
        assert _workflow(project).again == [str(flow.plan.records)]

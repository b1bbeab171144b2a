"""What dead processes leave behind: marks of work under way, half-written files, locks."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from splatbench.runner.locks import Busy, is_busy, lock_run
from splatbench.runner.results import EncodeResult, read_result
from splatbench.runner.supervise import CRASHES, JOB, mark_path, run_supervised
from tests.faults.conftest import Project, Table

SHARD = "own/pictures-000"


def _crash(root: Path, **changes: str) -> tuple[int, str]:
    """A job that crashes before it has made a mark, after it has changed the one that it found.

    Args:
        changes: expressions for values of the mark.
    """
    values = ", ".join(f"{name!r}: {value}" for name, value in changes.items())
    code = (
        f"import json, os; from pathlib import Path; mark = Path({str(mark_path(root, SHARD))!r})\n"
        f"if {bool(changes)}: mark.write_text(json.dumps(json.loads(mark.read_text()) | {{{values}}}))\n"
        "os.abort()"
    )
    lines: list[str] = []
    return run_supervised([sys.executable, "-c", code], root, SHARD, lines.append), "\n".join(lines)


def _mark(project: Project, **changes: Any) -> Path:
    """A mark of an old job on a row that is finished now."""
    path = project.result("own", "w32")
    document = json.loads(path.read_text())
    del document["digest"]
    mark = mark_path(project.root, SHARD)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({"path": str(path), "document": document, "targets": [[]], "job": "old"} | changes))
    return mark


def test_a_mark_of_a_process_id_that_came_again_is_not_believed(project: Project, undisturbed: Table) -> None:
    """The job crashes before its first row, with the process id of the job that left the mark."""
    _mark(project)
    ended, said = _crash(project.root, pid="os.getpid()")
    assert ended - 128 in CRASHES and "ended by SIGABRT" in said
    assert project.run() == undisturbed


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"job": 3}', '"text"', "[" * 5000, "\x00" * 50], ids=range(8)
)
def test_a_mark_that_is_none_ends_the_job_with_a_sentence(project: Project, undisturbed: Table, content: str) -> None:
    mark = _mark(project)
    mark.write_text(content)
    ended, said = _crash(project.root)
    assert ended - 128 in CRASHES and "the next run goes on where it stopped" in said
    assert project.run() == undisturbed


def test_a_mark_whose_content_does_not_fit(project: Project, undisturbed: Table) -> None:
    for changes in ({"targets": [["a", "b"]]}, {"targets": 5}, {"document": []}, {"path": None}):
        _mark(project, **changes)
        ended, said = _crash(project.root, job=f"os.environ[{JOB!r}]")
        assert ended - 128 in CRASHES and "the next run goes on" in said, changes
    assert project.run() == undisturbed


def test_the_row_of_a_crash_is_sealed_like_any_other(project: Project) -> None:
    path = project.result("own", "w32")
    _mark(project)
    code = (
        f"import json, os; from pathlib import Path; mark = Path({str(mark_path(project.root, SHARD))!r})\n"
        "if not mark.exists(): raise SystemExit\n"  # the second start goes on with the rest
        f"mark.write_text(json.dumps(json.loads(mark.read_text()) | {{'job': os.environ[{JOB!r}]}})); os.abort()"
    )
    assert run_supervised([sys.executable, "-c", code], project.root, SHARD, lambda _: None) == 0
    row = read_result(EncodeResult, path)
    assert row is not None and row.status == "failed" and "SIGABRT" in (row.reason or "")
    path.write_text(path.read_text().replace('"failed"', '"ok"'))
    assert read_result(EncodeResult, path) is None


def test_what_a_killed_write_leaves_is_never_read_and_goes_in_time(project: Project, undisturbed: Table) -> None:
    path = project.result("own", "w32")
    old, new = path.with_name(f".{path.name}.aaaaaaaa.part"), path.with_name(f".{path.name}.bbbbbbbb.part")
    for part in (old, new):
        part.write_bytes(path.read_bytes()[:100])
    os.utime(old, (time.time() - 90000,) * 2)
    assert project.run() == undisturbed
    with project.here(), lock_run(project.plan().root):
        pass
    assert not old.exists() and new.exists(), "a job that outlived its run may be writing the new one"


def test_a_lock_file_is_no_lock(project: Project, undisturbed: Table) -> None:
    """The kernel's lock ends with its holder; what stays is an empty file."""
    for name in (".run.lock", "shards/locks/encode-own-pictures-000.lock"):
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("4711")
    with lock_run(project.root), pytest.raises(Busy, match="another run is working in"):
        lock_run(project.root)
    assert project.run() == undisturbed


def test_a_run_s_lock_ends_with_its_block(tmp_path: Path) -> None:
    """Also while somebody holds the exception, with all that its frames hold."""
    with lock_run(tmp_path):
        assert is_busy(tmp_path)
    assert not is_busy(tmp_path)
    with pytest.raises(OSError) as held, lock_run(tmp_path) as lock:
        raise OSError("full")
    assert held.value is not None and lock is not None and not is_busy(tmp_path)


def test_a_lock_that_cannot_be_used_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splatbench.runner.locks._remove_left_over", lambda root: 1 / 0)
    with pytest.raises(ZeroDivisionError) as held:
        lock_run(tmp_path)
    assert held.value is not None and not is_busy(tmp_path)

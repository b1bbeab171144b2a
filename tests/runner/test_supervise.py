"""Deaths of a job's process: what becomes a row, what is left for the next run, what is passed on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from splatbench.runner import supervise
from splatbench.runner.results import EncodeResult, EvaluateResult, FileEvaluation, read_result
from splatbench.runner.supervise import DeathMark, mark_path, run_supervised

# Works on images a, b, c; in the middle of b it does to itself what argv says, unless b has a row.
_JOB = """
import os, sys, signal
from pathlib import Path
from splatbench.runner.results import EncodeResult, write_result
from splatbench.runner.supervise import DeathMark
root = Path(sys.argv[1])
with open(root / "starts", "a") as log:
    log.write("x")
for name in "abc":
    path = root / f"{name}.json"
    if path.exists():
        continue
    with DeathMark(root, "g/d-000", path, EncodeResult(image=name, pixel_sha256="p")):
        if name == "b":
            exec(sys.argv[2])
        write_result(path, EncodeResult(image=name))
"""


def _run(root, action):
    lines = []
    code = run_supervised([sys.executable, "-c", _JOB, str(root), action], root, "g/d-000", lines.append)
    return code, "\n".join(lines), (root / "starts").read_text()


def _statuses(root):
    found = {name: read_result(EncodeResult, root / f"{name}.json") for name in "abc"}
    return {name: result.status if result else None for name, result in found.items()}


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE"])
def test_a_crash_is_a_row_and_the_rest_goes_on(tmp_path, name):
    code, text, starts = _run(tmp_path, f"os.kill(os.getpid(), signal.{name})")
    assert (code, starts) == (0, "xx")
    assert _statuses(tmp_path) == {"a": "ok", "b": "failed", "c": "ok"}
    row = read_result(EncodeResult, tmp_path / "b.json")
    assert name in row.reason and row.pixel_sha256 == "p"
    assert f"b: failed: the process crashed ({name})" in text
    assert not mark_path(tmp_path, "g/d-000").exists()


_KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def _counters(monkeypatch, before, after, own):
    """What Linux counts when an image is begun, which its mark says, and at its death."""
    real = supervise._read

    def read(mark, job):
        content = real(mark, job)
        return content and content | {"memory_kills": before}

    monkeypatch.setattr(supervise, "_read", read)
    monkeypatch.setattr(supervise, "memory_kills", lambda: after)
    monkeypatch.setattr(supervise, "own_memory_kills", lambda: after if own else None)


def test_killed_for_memory_is_a_row(tmp_path, monkeypatch):
    _counters(monkeypatch, 4, 5, own=True)
    assert _run(tmp_path, _KILL)[0] == 0
    assert _statuses(tmp_path) == {"a": "ok", "b": "out_of_memory", "c": "ok"}


def test_killed_by_somebody_after_the_system_killed_others_is_no_row(tmp_path, monkeypatch):
    """Kills of before this image are in its mark already."""
    _counters(monkeypatch, 5, 5, own=True)
    assert _run(tmp_path, _KILL)[0] == 128 + signal.SIGKILL
    assert _statuses(tmp_path) == {"a": "ok", "b": None, "c": None}


def test_the_count_of_the_whole_machine_is_believed_the_second_time(tmp_path, monkeypatch):
    _counters(monkeypatch, 4, 5, own=False)
    code, text, _ = _run(tmp_path, _KILL)
    assert code == 128 + signal.SIGKILL and "the next run goes on where it stopped" in text
    assert _statuses(tmp_path) == {"a": "ok", "b": None, "c": None}
    assert _run(tmp_path, _KILL)[0] == 0
    assert _statuses(tmp_path) == {"a": "ok", "b": "out_of_memory", "c": "ok"}


def test_a_run_that_ends_well_clears_the_suspicion(tmp_path, monkeypatch):
    _counters(monkeypatch, 4, 5, own=False)
    assert _run(tmp_path, _KILL)[0] == 128 + signal.SIGKILL
    assert _run(tmp_path, "pass")[0] == 0
    (tmp_path / "b.json").unlink()
    assert _run(tmp_path, _KILL)[0] == 128 + signal.SIGKILL
    assert _statuses(tmp_path) == {"a": "ok", "b": None, "c": "ok"}


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_killed_by_somebody_leaves_the_image_to_the_next_run(tmp_path, name):
    code, text, starts = _run(tmp_path, f"os.kill(os.getpid(), signal.{name})")
    assert (code, starts) == (128 + getattr(signal, name), "x")
    assert _statuses(tmp_path) == {"a": "ok", "b": None, "c": None}
    assert name in text
    assert _run(tmp_path, "pass")[0] == 0
    assert _statuses(tmp_path) == {"a": "ok", "b": "ok", "c": "ok"}


def test_exit_codes_are_passed_on(tmp_path):
    assert _run(tmp_path, "sys.exit(3)")[0] == 3


def test_a_crash_before_any_image_ends_the_job(tmp_path):
    command = [sys.executable, "-c", "import os; os.abort()"]
    assert run_supervised(command, tmp_path, "g/d-000", lambda _: None) == 128 + signal.SIGABRT


def test_a_mark_of_another_process_is_not_believed(tmp_path):
    mark = DeathMark(tmp_path, "g/d-000", tmp_path / "old.json", EncodeResult(image="old"))
    mark.__enter__()  # by this process, which does not die
    command = [sys.executable, "-c", "import os; os.abort()"]
    assert run_supervised(command, tmp_path, "g/d-000", lambda _: None) == 128 + signal.SIGABRT
    assert not (tmp_path / "old.json").exists()


def test_a_mark_may_point_into_a_document(tmp_path, monkeypatch):
    document = EvaluateResult(
        image="a", snapshots={name: FileEvaluation(file_sha256="f", pixel_sha256="p") for name in ("1", "final")}
    )
    mark = DeathMark(tmp_path, "g/d-000", tmp_path / "a.json", document, [("snapshots", "final")])
    monkeypatch.setenv(supervise.JOB, "this one")
    mark.__enter__()
    path = mark_path(tmp_path, "g/d-000")
    content = supervise._read(path, "this one")
    assert content is not None and supervise._read(path, "another") is None
    assert supervise._complete_row(path, content, ("failed", "why"), lambda _: None)
    result = read_result(EvaluateResult, tmp_path / "a.json")
    assert {name: s.status for name, s in result.snapshots.items()} == {"1": "ok", "final": "failed"}


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_worker_does_not_outlive_its_parent(tmp_path):
    import subprocess
    import time

    child = f"import time; open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid())); time.sleep(60)"
    parent = (
        "import sys; from pathlib import Path; from splatbench.runner.supervise import run_supervised;"
        f"run_supervised([sys.executable, '-c', {child!r}], Path({str(tmp_path)!r}), 's', print)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    for _ in range(200):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    for _ in range(100):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().split()[2]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the worker still runs")

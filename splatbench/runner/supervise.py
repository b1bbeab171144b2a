"""Runs a job in a child process, so that a death by the system (out of memory, a crash in native code) is a row, too.

Before each image the child leaves a mark that holds the row to be. If the child dies by such a signal, the parent
completes that row with the reason and starts the child again for the rest. A death by any other cause (SIGKILL or
SIGTERM from a person or a scheduler) records nothing: the next run resumes at that image.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel

from splatbench.containers.memory_kills import memory_kills
from splatbench.record import Status
from splatbench.runner.results import write_document

#: Names a job to its process; a process id may be that of a job that died long ago.
JOB = "SPLATBENCH_JOB"
#: Signals that a process gets for what it did itself.
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}


def mark_path(root: Path, shard: str) -> Path:
    """Where a shard's mark lies."""
    return root / "shards" / "running" / f"{shard.replace('/', '-')}.json"


class DeathMark:
    """While entered, a file says which row the process is working on.

    Args:
        path: where the row will be written.
        document: its content should the process die.
        targets: the places in it (as keys, from the outside in) that then get status and reason.
    """

    def __init__(
        self, root: Path, shard: str, path: Path, document: BaseModel, targets: Sequence[Sequence[str]] = ((),)
    ) -> None:
        self._mark = mark_path(root, shard)
        self._content = {"path": str(path), "document": document.model_dump(mode="json"), "targets": targets}

    def __enter__(self) -> DeathMark:
        # Not flushed to disk: it has to outlive the process, not the machine.
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        self._mark.write_text(json.dumps(self._content | {"job": os.environ.get(JOB)}), encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._mark.unlink()


def run_supervised(
    command: Sequence[str],
    root: Path,
    shard: str,
    report: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> int:
    """Runs `command` until it ends by itself; returns its exit code, or 128 + signal if somebody ended it.

    Raises:
        OSError: a row cannot be written.
    """
    mark = mark_path(root, shard)
    while True:
        job = uuid.uuid4().hex
        killed_before = memory_kills()
        die_with_us = _die_with_parent if sys.platform == "linux" else None
        process = subprocess.Popen(command, env={**(environment or os.environ), JOB: job}, preexec_fn=die_with_us)
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C or SIGTERM: the child goes first, then we
            process.terminate()
            process.wait()
            raise
        if code >= 0:
            return code
        number = signal.Signals(-code)
        outcome = _outcome(number, memory_kills() > killed_before)
        if outcome is None or not _complete_row(mark, job, outcome, report):
            report(f"ended by {number.name}; the next run goes on where it stopped")
            return 128 + number


def _outcome(number: signal.Signals, out_of_memory: bool) -> tuple[Status, str] | None:
    """Status and reason for a death that the work itself caused; None for any other."""
    if number == signal.SIGKILL and out_of_memory:
        return "out_of_memory", "the system ended the process because memory ran out"
    if number in CRASHES:
        return "failed", f"the process crashed ({number.name}) while working on this image"
    return None


def _complete_row(mark: Path, job: str, outcome: tuple[Status, str], report: Callable[[str], None]) -> bool:
    """Writes the row that a dead child was working on; False if it left none."""
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
        if content["job"] != job:
            return False
        path, document = Path(content["path"]), content["document"]
        for target in content["targets"]:
            place = document
            for key in target:
                place = place[key]
            place["status"], place["reason"] = outcome
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # none, or half of one
        return False
    write_document(path, document)
    mark.unlink()
    report(f"{path.stem}: {outcome[0]}: {outcome[1]}; going on with the rest")
    return True


def _die_with_parent() -> None:
    """In the child, before it starts: Linux ends it when the parent dies (PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)

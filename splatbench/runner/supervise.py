"""Runs a job in a child process, so that a death by the system (out of memory, a crash in native code) is a row, too.

Before each image the child leaves a mark that holds the row to be. If the child dies by such a signal, the parent
completes that row with the reason and starts the child again for the rest. A death by any other cause (SIGKILL or
SIGTERM from a person or a scheduler) records nothing: the next run resumes at that image. So does a SIGKILL of which
only the whole machine's count tells that memory ran out, unless the same image died so just before.
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
from typing import Any

from pydantic import BaseModel

from splatbench.containers.memory_kills import memory_kills, own_memory_kills
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
        now = {"job": os.environ.get(JOB), "memory_kills": memory_kills()}
        self._mark.write_text(json.dumps(self._content | now), encoding="utf-8")
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
        die_with_us = _die_with_parent if sys.platform == "linux" else None
        process = subprocess.Popen(command, env={**(environment or os.environ), JOB: job}, preexec_fn=die_with_us)
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C or SIGTERM: the child goes first, then we
            process.terminate()
            process.wait()
            raise
        if code >= 0:
            _suspicion(mark).unlink(missing_ok=True)
            return code
        number = signal.Signals(-code)
        content = _read(mark, job)
        outcome = _outcome(number, mark, content) if content else None
        if content is None or outcome is None or not _complete_row(mark, content, outcome, report):
            report(f"ended by {number.name}; the next run goes on where it stopped")
            return 128 + number


def _read(mark: Path, job: str) -> dict[str, Any] | None:
    """The mark that a job left; None if it left none, or half of one."""
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) and content["job"] == job else None
    except (OSError, ValueError, KeyError, RecursionError):
        return None


def _outcome(number: signal.Signals, mark: Path, content: Mapping[str, Any]) -> tuple[Status, str] | None:
    """Status and reason for a death that the work itself caused; None for any other."""
    if number == signal.SIGKILL and _is_out_of_memory(mark, content):
        return "out_of_memory", "the system ended the process because memory ran out"
    if number in CRASHES:
        return "failed", f"the process crashed ({number.name}) while working on this image"
    return None


def _is_out_of_memory(mark: Path, content: Mapping[str, Any]) -> bool:
    """Whether the system killed the process for memory while it worked on this image. Its own control group tells. The
    whole machine's count may be of another process: that is believed when the same image dies so twice in a row."""
    before = content.get("memory_kills")
    if not isinstance(before, int) or memory_kills() <= before:
        return False
    if own_memory_kills() is not None:
        return True
    suspicion, path = _suspicion(mark), str(content.get("path"))
    with contextlib.suppress(OSError, ValueError):
        if suspicion.read_text(encoding="utf-8") == path:
            return True
    suspicion.write_text(path, encoding="utf-8")
    return False


def _suspicion(mark: Path) -> Path:
    """File that names the row at which a job of this shard was killed last, perhaps for memory."""
    return mark.with_suffix(".suspect")


def _complete_row(
    mark: Path, content: Mapping[str, Any], outcome: tuple[Status, str], report: Callable[[str], None]
) -> bool:
    """Writes the row that a dead child was working on; False if its mark does not say which."""
    try:
        path, document = Path(content["path"]), content["document"]
        for target in content["targets"]:
            place = document
            for key in target:
                place = place[key]
            place["status"], place["reason"] = outcome
    except (KeyError, TypeError):
        return False
    write_document(path, document)
    mark.unlink()
    report(f"{path.stem}: {outcome[0]}: {outcome[1]}; going on with the rest")
    return True


def _die_with_parent() -> None:
    """In the child, before it starts: Linux ends it when the parent dies (PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)

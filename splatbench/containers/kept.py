"""Runs a program of this machine below a keeper, under limits that this process watches."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from splatbench.containers import keeper
from splatbench.containers.engines import LOG_BYTES, log_tail
from splatbench.containers.memory_kills import memory_kills
from splatbench.containers.scratch import scratch_folder
from splatbench.containers.task import ContainerTask, Ended, EngineMissing
from splatbench.containers.watching import MIB, family, follow

#: Seconds that a family may take to die.
_DEATH_SECONDS = 30
#: How the keeper says that its program was ended by SIGKILL.
_KILLED = 128 + signal.SIGKILL


def run_kept(task: ContainerTask, command: Callable[[Path], Sequence[str]], environment: Mapping[str, str]) -> Ended:
    """Runs a command in an empty folder that is removed afterwards (also its HOME and TMPDIR), to its end.

    Memory, number of processes, time and output are watched, the whole family of processes is ended with it.
    The length of one file and core dumps are limited by the kernel.

    Args:
        command: made for that folder.

    Raises:
        EngineMissing: the processes do not die.
    """
    with scratch_folder() as scratch:
        folder = scratch / "home"
        folder.mkdir()
        home = dict.fromkeys(("HOME", "TMPDIR"), str(folder))
        killed_before = memory_kills()
        begun = time.perf_counter()
        # One byte more than all files together may have, so that a file which stops there is seen to be too long.
        longest = task.limits.output_mib * MIB + 1
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, str(longest), *command(folder)],
            cwd=folder,
            env={**home, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended = _End(process)
        with _Log(process) as log:
            try:
                root = psutil.Process(process.pid)
                ending, peak = follow(task, ended, lambda: family(root), enforce=True, writable=[folder])
            finally:
                _end(process, ended)
        if ending == "exited" and process.returncode == _KILLED and memory_kills() > killed_before:
            ending = "system memory"
        code = process.returncode if ending == "exited" else None
        return Ended(ending, code, log.tail(), time.perf_counter() - begun, peak)


class _End:
    """Waits for a process in a thread: the end is seen at once, and the caller's waits are exact."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._ended = threading.Event()
        self._process = process
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        self._process.wait()
        self._ended.set()

    def __call__(self, seconds: float) -> bool:
        return self._ended.wait(seconds)


def _end(process: subprocess.Popen[bytes], ended: _End) -> None:
    """Closes the keeper's input, upon which it ends its family and itself."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    if not ended(_DEATH_SECONDS):
        raise EngineMissing(f"processes below {process.pid} do not end when they are killed: end them by hand")


class _Log:
    """Reads what a process prints, in a thread, and keeps the end of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._stream: IO[bytes] = process.stdout
        self._kept = b""
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> _Log:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(_DEATH_SECONDS)
        self._stream.close()

    def _read(self) -> None:
        while block := self._stream.read1(1 << 16):  # type: ignore[attr-defined]
            self._kept = (self._kept + block)[-4 * LOG_BYTES :]

    def tail(self) -> str:
        return log_tail(self._kept)

"""Keeps a program's whole family together: `python -I keeper.py LONGEST_FILE PROGRAM ARGUMENT...`.

The program runs in a session of its own. When it ends, or when this process's standard input ends (which the kernel
does when the harness dies), everything that it started is ended, too. On Linux that holds for processes that left the
session as well: orphans below this process become its children (PR_SET_CHILD_SUBREAPER). Elsewhere they may escape.

Exit code: the program's, or 128 + signal. Standard library alone, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h


def main(longest_file: int, command: list[str]) -> int:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (longest_file, longest_file))
    try:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 126 if isinstance(error, PermissionError) else 127
    try:
        while program.returncode is None:
            ready, _, _ = select.select([woken, sys.stdin], [], [])
            if woken in ready:
                os.read(woken, 4096)
                _reap(program)
            if sys.stdin in ready:
                break
    finally:
        _end_family(program)
    code = program.wait()
    return 128 - code if code < 0 else code


def _end_family(program: subprocess.Popen[bytes]) -> None:
    """Ends the program's group at once, then whatever has left it, until nothing is left."""
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, signal.SIGKILL)
        for child in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        if not _reap(program):
            return
        time.sleep(0.001)


def _reap(program: subprocess.Popen[bytes]) -> bool:
    """Buries dead children; whether any are left alive."""
    if sys.platform != "linux":  # no orphans come to us there
        return program.poll() is None
    with contextlib.suppress(ChildProcessError):
        # Looks first: the program's own end has to be left to its object.
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if dead.si_pid == program.pid:
                program.wait()
            else:
                os.waitpid(dead.si_pid, 0)
        return True
    return False


def _children() -> list[int]:
    """Direct children, orphans that came to us included; empty where there is no /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # pid (name) state parent ...; the name may hold anything, also brackets
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2:]))

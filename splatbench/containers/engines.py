"""Engines by name, and what all of them share: cores, threads, the end of a log."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from splatbench.containers.task import ContainerTask, Engine, EngineName

#: Bytes of a log that are kept.
LOG_BYTES = 8000
#: All control characters but the line feed (tabs become spaces before), and what turns the direction of text around.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
#: Escape sequences of terminals: colours, cursor, window titles.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
#: User and group `nobody`: who a task is when the harness is root.
_NOBODY = 65534
#: Numerical libraries take one thread per core that they see unless told otherwise.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def get_engine(name: EngineName) -> Engine:
    """The engine of that name. Nothing is asked of it yet: `check` tells whether it is here.

    Raises:
        ValueError: no such engine.
    """
    if name == "docker":
        from splatbench.containers.docker import DockerEngine

        return DockerEngine()
    if name == "apptainer":
        from splatbench.containers.apptainer import ApptainerEngine

        return ApptainerEngine()
    if name == "process":
        from splatbench.containers.process import ProcessEngine

        return ProcessEngine()
    raise ValueError(f"no engine {name!r}; there are docker, apptainer and process")


def cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def threads_of(task: ContainerTask) -> int:
    """How many cores a task gets: what its limits say, at most what this process may use."""
    available = len(cores())
    return min(task.limits.threads or available, available)


def thread_environment(threads: int) -> dict[str, str]:
    """Variables that keep numerical libraries to so many threads."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def kept_environment(names: Sequence[str]) -> dict[str, str]:
    """Variables of this process, those of `names` that it has."""
    return {name: os.environ[name] for name in names if name in os.environ}


def inside_environment(task: ContainerTask) -> dict[str, str]:
    """Variables of a task that sees the machine's devices as they are numbered here: threads, its own, its GPU."""
    gpu = {"CUDA_VISIBLE_DEVICES": task.gpu or "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {**thread_environment(threads_of(task)), **task.environment, **gpu}


def task_user() -> tuple[int, int]:
    """Numbers of the user and group that a container runs as: the caller's, but never root."""
    uid = os.getuid()
    return (uid, os.getgid()) if uid else (_NOBODY, _NOBODY)


def give_folders(task: ContainerTask, user: tuple[int, int]) -> None:
    """Makes the folders that a task may write its own, where it runs as another user because the caller is root.

    Raises:
        OSError: a mount's source is missing, cannot be given, or cannot be read by that user.
    """
    for mount in task.mounts:
        if not mount.source.exists():
            raise FileNotFoundError(errno.ENOENT, "a container cannot be given what is not there", str(mount.source))
        if os.getuid() != 0 or user[0] == 0:
            continue
        if not mount.read_only:
            os.chown(mount.source, *user)
        elif not mount.source.stat().st_mode & 0o004:
            reason = "a container does not run as root, and others may not read this (chmod -R o+rX)"
            raise PermissionError(errno.EACCES, reason, str(mount.source))


def log_tail(log: bytes) -> str:
    """The end of a log as plain text, at most `LOG_BYTES` long: no control characters, no terminal sequences."""
    text = log[-2 * LOG_BYTES :].decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub("", _ESCAPES.sub("", text).replace("\t", " ")).strip()
    return text.encode()[-LOG_BYTES:].decode(errors="ignore")

"""Follows a running task to its end, or to the first limit that it breaks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from splatbench.containers.folders import exceeds
from splatbench.containers.task import ContainerTask, Ending

MIB = 1 << 20
#: Seconds between two looks at memory, and at the files that were written. A look that takes long waits longer.
_USAGE_SECONDS = 0.1
_OUTPUT_SECONDS = 0.25
#: Looking takes at most one part in so many of the time.
_LOOK_SHARE = 20


@dataclass(frozen=True)
class Usage:
    """What some processes use together: bytes of resident memory, and number of processes and threads."""

    memory: int
    tasks: int


def usage_of(processes: Iterable[psutil.Process], shared_once: bool = False) -> Usage | None:
    """Usage of those processes that still live; None if none does.

    Args:
        shared_once: a page that several processes share counts once, not once for each (slower).
    """
    memory = tasks = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            memory += _memory(process, shared_once)
            tasks += process.num_threads()
    return Usage(memory, tasks) if tasks else None


def _memory(process: psutil.Process, shared_once: bool) -> int:
    if shared_once:
        with contextlib.suppress(psutil.AccessDenied, AttributeError):  # another user's; not on this system
            return int(process.memory_full_info().pss)
    return int(process.memory_info().rss)


def family(root: psutil.Process) -> list[psutil.Process]:
    """All descendants of a process, without itself."""
    with contextlib.suppress(psutil.Error):
        return root.children(recursive=True)
    return []


def follow(
    task: ContainerTask,
    wait: Callable[[float], bool],
    processes: Callable[[], list[psutil.Process]],
    *,
    enforce: bool,
    writable: Iterable[Path] = (),
) -> tuple[Ending, float | None]:
    """Waits until the task ends by itself or has to be ended (which is the caller's work).

    Args:
        wait: waits at most so many seconds for the task's end; True if it has ended.
        processes: those of the task, as far as this machine shows them.
        enforce: memory and number of processes are limited here, since no kernel control group does it.
        writable: folders that the task can write, beside its mounts.

    Returns:
        How it ended, and the peak of its memory in MiB (None: never seen).
    """
    limits = task.limits
    folders = [*(mount.source for mount in task.mounts if not mount.read_only), *writable]
    peak = 0
    next_usage = next_output = _USAGE_SECONDS
    begun = time.monotonic()

    def ending(of: Ending) -> tuple[Ending, float | None]:
        return of, peak / MIB if peak else None

    while True:
        now = time.monotonic() - begun
        # Time marks of a task are seen with an error of one hundredth, and never more than 20 ms.
        if wait(min(max(now / 100, 0.002), 0.02)):
            break
        if task.watch is not None and task.watch():
            return ending("stopped")
        now = time.monotonic() - begun
        if now > limits.seconds:
            return ending("timeout")
        if now >= next_usage:
            used = usage_of(processes())
            peak = max(peak, used.memory if used else 0)
            broken = _broken(task, used, processes) if enforce and used else None
            if broken:
                return ending(broken)
            next_usage = _next(now, time.monotonic() - begun, _USAGE_SECONDS)
        now = time.monotonic() - begun
        if now >= next_output:
            if exceeds(folders, limits.output_mib * MIB):
                return ending("output")
            next_output = _next(now, time.monotonic() - begun, _OUTPUT_SECONDS)
    if task.watch is not None:
        task.watch()
    return ending("output" if exceeds(folders, limits.output_mib * MIB) else "exited")


def _broken(task: ContainerTask, used: Usage, processes: Callable[[], list[psutil.Process]]) -> Ending | None:
    if used.tasks > task.limits.pids:
        return "pids"
    limit = task.limits.memory_mib * MIB
    if used.memory > limit:
        exact = usage_of(processes(), shared_once=True)
        if exact and exact.memory > limit:
            return "memory"
    return None


def _next(begun: float, ended: float, interval: float) -> float:
    return ended + max(interval, _LOOK_SHARE * (ended - begun))

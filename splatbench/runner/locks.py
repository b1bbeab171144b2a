"""One run per experiment folder, one process per shard. The kernel frees these locks however their holder ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class Busy(RuntimeError):
    """Another run works in the same folder."""


#: Seconds after which what a killed job was writing is surely nobody's.
_LEFT_OVER = 86400.0


def lock_run(root: Path) -> FileLock:
    """Takes an experiment's folder for a run until the process ends or the lock is released, and removes half-written
    files that jobs left there which were killed long ago.

    Raises:
        Busy: another run has it.
        OSError: the folder cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".run.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise Busy(f"another run is working in {root}; wait for it, or end it first") from None
    for part in root.rglob(".*.part"):
        with contextlib.suppress(OSError):
            if part.stat().st_mtime < time.time() - _LEFT_OVER:
                part.unlink()
    return lock


def is_busy(root: Path) -> bool:
    """Whether a run works in an experiment's folder now. Makes nothing there."""
    path = root / ".run.lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # read-only: for looking at
        return False


@contextmanager
def lock_shard(root: Path, stage: str, shard: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds a shard for one job. Waits: the holder may be a job that outlived its killed run and is about to finish."""
    folder = root / "shards" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{stage}-{shard.replace('/', '-')}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

"""One run per experiment folder, one process per shard. The kernel frees these locks however their holder ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout


class Busy(RuntimeError):
    """Another run works in the same folder."""


#: Seconds after which what a killed job was writing is surely nobody's.
_LEFT_OVER = 86400.0


def lock_run(root: Path) -> AcquireReturnProxy:
    """Takes an experiment's folder for a run, and removes half-written files that jobs left there which were killed
    long ago. The folder is free again at the end of a `with` block on what this returns, or when nobody holds it.

    Raises:
        Busy: another run has it.
        OSError: the folder cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".run.lock")
    try:
        # Not the lock itself: to enter that is to take it once more, and to leave it held at the end.
        held = lock.acquire(blocking=False)
    except Timeout:
        raise Busy(f"another run is working in {root}; wait for it, or end it first") from None
    try:
        _remove_left_over(root)
    except BaseException:
        lock.release()
        raise
    return held


def _remove_left_over(root: Path) -> None:
    for part in root.rglob(".*.part"):
        with contextlib.suppress(OSError):
            if part.stat().st_mtime < time.time() - _LEFT_OVER:
                part.unlink()


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

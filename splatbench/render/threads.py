"""Threads for kernels: each works on its own part, and nobody spins while waiting.

OpenMP threads wait busily at the end of every parallel section. Fitting enters thousands of short sections, and beside
any other load on the machine the spinning costs ten times the work; these threads sleep instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numba
import numpy as np

_config: Any = numba.config  # its settings are made at run time
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _forget_pool() -> None:
    """A forked child has none of the parent's threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def thread_count(threads: int | None = None) -> int:
    """Threads that kernels may use: at most the cores of this process, `NUMBA_NUM_THREADS`, `SPLATBENCH_THREADS`, and
    `threads`.

    Raises:
        ValueError: `SPLATBENCH_THREADS` or `threads` is not a whole number of at least 1.
    """
    allowed: int = _config.NUMBA_NUM_THREADS
    setting = os.environ.get("SPLATBENCH_THREADS", "")
    if setting:
        if not setting.isdecimal() or int(setting) < 1:
            raise ValueError(f"SPLATBENCH_THREADS must be a whole number of at least 1, got {setting!r}")
        allowed = min(allowed, int(setting))
    if threads is None:
        return allowed
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    return threads


def threads_for(rows: int) -> int:
    """Threads for a plain loop over so many rows of a few numbers: waking one up costs as much as 30 000 of them."""
    return min(thread_count(), max(1, rows >> 15))


def run(threads: int, part: Callable[..., Any], *args: Any) -> None:
    """Calls part(t, threads, *args) for t = 0 .. threads - 1 at the same time and returns when all are done."""
    waiting = _start(threads, part, args)
    try:
        part(0, threads, *args)
    finally:  # whatever happens here: nobody writes to memory that is given back
        wait(waiting)
    for future in waiting:
        future.result()


def run_shared(threads: int, board: int, part: Callable[..., Any], *args: Any) -> None:
    """As `run` with part(t, threads, board, *args), for parts that share their work through a board of so many places.

    See `sharing`. Parts that have not begun when there is nothing left to do are not begun any more.
    """
    shared = np.zeros(board, np.int64)
    waiting = _start(threads, part, (shared, *args))
    try:
        part(0, threads, shared, *args)
    finally:
        begun = [future for future in waiting if not future.cancel()]
        wait(begun)
    for future in begun:
        future.result()


def _start(threads: int, part: Callable[..., Any], args: tuple[Any, ...]) -> list[Future[Any]]:
    """Parts 1 .. threads - 1 on threads of the pool."""
    global _pool, _pool_size
    if threads > 1 and (_pool is None or _pool_size < threads - 1):
        _pool, _pool_size = ThreadPoolExecutor(threads - 1, thread_name_prefix="splatbench"), threads - 1
    return [_pool.submit(part, t, threads, *args) for t in range(1, threads)] if _pool else []

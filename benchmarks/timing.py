"""Cases that take turns: what is compared is measured in the same minutes, on the same machine, under the same load."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.work import Work

#: A call shorter than this is repeated within one measurement.
_SHORTEST = 2e-3
_MOST_CALLS = 100
#: Measurements of a slow case, whatever they take.
_FEWEST = 3


class NotAvailable(Exception):
    """Why something cannot be measured here, and what would help."""


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        kernel: what it does, e.g. "sum forward".
        implementation: whose, e.g. "splatbench".
        build: makes the function that is timed; raises NotAvailable where it cannot be.
        work: of one call, for the roofline.
        pairs: pairs of pixel and Gaussian that one call evaluates.
        note: for the reader of the table.
    """

    kernel: str
    implementation: str
    build: Callable[[], Callable[[], object]]
    work: Work | None = None
    pairs: int | None = None
    note: str = ""


@dataclass
class Measured:
    """Seconds per call, one for each turn that the case took (None where it was left out, being slow)."""

    case: Case
    seconds: list[float | None] = field(default_factory=list)
    failure: str | None = None
    not_available: str | None = None

    @property
    def taken(self) -> np.ndarray:
        return np.array([s for s in self.seconds if s is not None])

    @property
    def median(self) -> float:
        return float(np.median(self.taken))

    def ratio(self, base: Measured) -> float:
        """Median over the turns that both took of own time / time of `base`."""
        both = [(s, b) for s, b in zip(self.seconds, base.seconds, strict=True) if s is not None and b is not None]
        return float(np.median([s / b for s, b in both]))


@dataclass(frozen=True)
class Clock:
    """How time is taken.

    Attributes:
        name: "wall" or "cpu" (of all threads of this process).
        wait: called before the clock is read; returns when all work that was started is done.
    """

    name: str
    now: Callable[[], float]
    wait: Callable[[], object] = lambda: None


WALL = Clock("wall", time.perf_counter)
CPU = Clock("cpu", time.process_time)


def cuda_clock() -> Clock:
    """Wall time between moments at which the GPU has nothing left to do."""
    import torch

    return Clock("wall", time.perf_counter, torch.cuda.synchronize)


def measure(cases: list[Case], clock: Clock, repeats: int, budget: float = 20.0) -> list[Measured]:
    """Every case once per turn, in `repeats` turns.

    A case that has used up `budget` seconds is left out of the turns that remain, but never before its third. Building,
    compiling and the first calls (which size up the case) are not counted. A case that fails becomes a result that says
    why, and does not stop the others.
    """
    results = [Measured(case) for case in cases]
    ready = []
    for result in results:
        built = _build(result, clock)
        if built is not None:
            ready.append((result, *built))
    for _ in range(repeats):
        for result, function, calls in ready:
            spent = calls * result.taken.sum() if result.seconds else 0.0
            if result.failure or (spent > budget and len(result.taken) >= _FEWEST):
                result.seconds.append(None)
            else:
                result.seconds.append(_take(result, function, calls, clock))
    return results


def _build(result: Measured, clock: Clock) -> tuple[Callable[[], object], int] | None:
    """The function and how often it is called per measurement, or None with the reason in `result`."""
    try:
        function = result.case.build()
        once = 0.0
        for _ in range(2):  # the first call compiles and touches memory for the first time
            once = _seconds(function, 1, clock)
        calls = min(_MOST_CALLS, max(1, math.ceil(_SHORTEST / max(once, 1e-9))))
        return function, calls
    except NotAvailable as reason:
        result.not_available = str(reason)
    except Exception as error:
        result.failure = f"{type(error).__name__}: {error}"
    return None


def _take(result: Measured, function: Callable[[], object], calls: int, clock: Clock) -> float | None:
    try:
        return _seconds(function, calls, clock) / calls
    except Exception as error:
        result.failure = f"{type(error).__name__}: {error}"
        return None


def _seconds(function: Callable[[], object], calls: int, clock: Clock) -> float:
    clock.wait()
    start = clock.now()
    for _ in range(calls):
        function()
    clock.wait()
    return clock.now() - start

"""Clocks, progress and snapshots: what a method reports while it encodes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol


class Diverged(RuntimeError):
    """The loss or a parameter became NaN or infinite."""


@dataclass(frozen=True)
class Outside:
    """What is known of work that another process did for `encode`.

    Attributes:
        peak_memory_mib: of that process with its children, in MiB; None where nobody measured it.
        elsewhere: the work was done before, out of sight: the clock has seen the reading of a file and nothing else,
            so there is no encode time.
    """

    peak_memory_mib: float | None = None
    elsewhere: bool = False


class Meter(Protocol):
    """What runs while the clock runs, e.g. a counter of energy."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Trace:
    """Passed to `Method.encode`. The clock runs inside `encode` and stands still while a snapshot is taken.

    Args:
        snapshots: iteration numbers (or stage names) at which the caller wants the encoding.
        on_snapshot: called with (name, encoding) outside the clock.
        on_step: called with (i, n, values) at most every `interval` seconds, for progress display.
        synchronize: called before the clock is read (a GPU's synchronise; nothing on the CPU).
        seconds: wall-time limit; `out_of_time` tells the method to stop with what it has.
        elapsed: seconds that the clock begins with: what a warm start has taken.
        meter: started and stopped with the clock.
        subject: name of the picture, for a method that looks for results of it in files.
    """

    def __init__(
        self,
        snapshots: Collection[int | str] = (),
        on_snapshot: Callable[[str, Any], None] | None = None,
        on_step: Callable[[int, int, dict[str, float]], None] | None = None,
        synchronize: Callable[[], None] = lambda: None,
        seconds: float | None = None,
        interval: float = 1.0,
        elapsed: float = 0.0,
        meter: Meter | None = None,
        subject: str = "",
    ) -> None:
        self.wanted = frozenset(str(name) for name in snapshots)
        self.stages: dict[str, float] = {}
        self.snapshot_seconds: dict[str, float] = {}
        self.curve: list[tuple[int, float, dict[str, float]]] = []
        self.notes: list[str] = []
        self.subject = subject
        self.outside: Outside | None = None  # set by a method whose work another process does
        self.steps = 0
        self._on_snapshot, self._on_step = on_snapshot, on_step
        self._synchronize, self._limit, self._interval = synchronize, seconds, interval
        self._elapsed, self._since = elapsed, None  # type: tuple[float, float | None]
        self._last_report = 0.0
        self._meter = meter

    # -- the clock --------------------------------------------------------------------------------------------------
    def start(self) -> None:
        self._synchronize()
        if self._meter is not None:
            self._meter.start()
        self._since = time.perf_counter()

    def stop(self) -> None:
        if self._since is not None:
            self._synchronize()
            self._elapsed += time.perf_counter() - self._since
            self._since = None
            if self._meter is not None:
                self._meter.stop()

    @property
    def seconds(self) -> float:
        """Seconds on the clock so far."""
        return self._elapsed + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def out_of_time(self) -> bool:
        """True once the wall-time limit of the budget has passed."""
        return self._limit is not None and self.seconds >= self._limit

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the clock time spent inside to `stages[name]`."""
        self._synchronize()
        begin = self.seconds
        try:
            yield
        finally:
            self._synchronize()
            self.stages[name] = self.stages.get(name, 0.0) + self.seconds - begin

    # -- progress ---------------------------------------------------------------------------------------------------
    def step(self, i: int, n: int, **values: float) -> None:
        """Reports step i of n (1-based).

        Raises:
            Diverged: a reported value is NaN or infinite.
            TypeError: one is no number.
        """
        self.steps = i
        values = _numbers(values)
        for name, value in values.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} became {value} at step {i} of {n}")
        now = time.perf_counter()
        if self._on_step is not None and (now - self._last_report >= self._interval or i == n):
            self._last_report = now
            self._on_step(i, n, values)

    def log(self, i: int, **values: float) -> None:
        """Adds a point (step, seconds so far, values) to the convergence curve.

        Raises:
            TypeError: a value is no number.
        """
        self.curve.append((i, self.seconds, _numbers(values)))

    def note(self, text: str) -> None:
        """Adds a sentence about this encoding for the reader of its record."""
        self.notes.append(text)

    def wants(self, name: int | str) -> bool:
        """Whether the caller asked for a snapshot of this name; making the encoding may be costly."""
        return str(name) in self.wanted

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The clock stands still inside: for work that only a snapshot needs."""
        running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()

    def count(self, seconds: float) -> None:
        """Adds seconds, at least 0, that were measured while the clock stood still: work of another process."""
        self._elapsed += seconds

    def snapshot(self, name: int | str, encoding: Any) -> None:
        """Hands over the encoding as it is now; the clock stands still meanwhile."""
        running = self._since is not None
        self.stop()
        self.snapshot_seconds[str(name)] = self._elapsed
        if self._on_snapshot is not None:
            self._on_snapshot(str(name), encoding)
        if running:
            self.start()

    # -- work that may be thrown away -------------------------------------------------------------------------------
    def branch(self) -> Trace:
        """A trace for a fit that may be thrown away: it shows the same progress and its clock goes on from this one's,
        without a limit; nobody wants its snapshots. Its stages, curve, notes and steps stay its own until `adopt`."""
        other = Trace(on_step=self._on_step, synchronize=self._synchronize, interval=self._interval)
        other._elapsed, other._last_report = self.seconds, self._last_report
        other.start()
        return other

    def adopt(self, other: Trace) -> None:
        """Takes over what a branch has recorded."""
        for name, seconds in other.stages.items():
            self.stages[name] = self.stages.get(name, 0.0) + seconds
        self.curve += other.curve
        self.notes += other.notes
        self.steps = other.steps


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Plain numbers: those of NumPy and PyTorch are no JSON."""
    numbers = {}
    for name, value in values.items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"{name} must be a number, got {value!r}") from None
    return numbers

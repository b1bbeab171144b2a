"""Encoding one image with one method: clock, snapshots, repeats, memory. Knows nothing of experiments or folders."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatbench.budget import Budget
from splatbench.energy import EnergyMeter, counters
from splatbench.gaussians import Gaussians2D
from splatbench.method import Decoded, Method, MethodError
from splatbench.runner.outside import check_outside
from splatbench.runner.progress import StepCallback
from splatbench.trace import Diverged, Trace

if TYPE_CHECKING:
    from splatbench.render import LayeredPicture

#: The stage of a record that holds the seconds of a warm start.
START_STAGE = "start"
#: A warm-up ends after this many steps or seconds, whatever the method's settings say.
WARM_UP_STEPS, WARM_UP_SECONDS = 2, 5.0


@dataclass(frozen=True)
class File:
    """One file's content and what is known about it; see `results.EncodedFile`."""

    snapshot: str
    data: bytes
    n_actual: int | None
    nominal_bits: int | None
    iterations: int | None
    seconds: float | None  # None: nobody here saw the work
    to_bytes_seconds: float | None


@dataclass(frozen=True)
class Start:
    """Gaussians to begin from, and the seconds that they took."""

    gaussians: Gaussians2D
    seconds: float


@dataclass
class Encoded:
    """What `encode_image` returns. Seconds are medians over the repeats, except `seconds_all`."""

    files: list[File] = field(default_factory=list)
    seconds_all: list[float] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float, dict[str, float]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    peak_memory_mib: float | None = None
    energy_joules: float | None = None
    energy_source: str | None = None


def encode_image(
    method: Method,
    image: np.ndarray,
    budget: Budget,
    seed: int = 1,
    snapshots: Sequence[int | str] = (),
    repeats: int = 1,
    on_step: StepCallback | None = None,
    start: Start | None = None,
    name: str = "",
) -> Encoded:
    """Runs `method.encode` under the clock and turns what it gives into files.

    Args:
        image: uint8 [H, W, 3].
        budget: not `matched_to`, which names an entry of an experiment; give the count itself.
        snapshots: iterations or stage names to keep, beside the final encoding.
        repeats: times to encode; the files are those of the first.
        start: what to begin from (`method.encode_from`); the clock begins with its seconds.
        name: of the picture (`Trace.subject`).

    Raises:
        MethodError: the budget does not fit the image or the method; what others made does not fit them.
        Diverged: a loss or a parameter became NaN or infinite.
        Exception: whatever the method raises.
    """
    check_budget(budget, *image.shape[:2])
    device = "cpu" if method.outside else method.device  # of this process
    synchronize = _synchronize(device)
    peak = PeakMemory(device)
    result = Encoded()
    stages: list[dict[str, float]] = []
    energies: list[float | None] = []
    energy_counters = [] if method.outside else counters(method.device)  # the clock need not run with its work
    for repeat in range(repeats):
        files: list[File] = []
        meter = EnergyMeter(energy_counters)
        trace = Trace(
            # The time of a snapshot is not counted, so repeats need not take them again.
            snapshots=snapshots if repeat == 0 else (),
            on_snapshot=partial(_keep_snapshot, files, method),
            on_step=on_step,
            synchronize=synchronize,
            seconds=budget.seconds,
            elapsed=start.seconds if start else 0.0,
            meter=meter,
            subject=name,
        )
        if start:
            trace.stages[START_STAGE] = start.seconds
        trace.start()
        if start:
            encoding = method.encode_from(start.gaussians, image, budget, trace, seed)
        else:
            encoding = method.encode(image, budget, trace, seed)
        trace.stop()
        # Only now are steps and times of snapshots known to the caller of `encode`.
        files = [dataclasses.replace(f, seconds=trace.snapshot_seconds[f.snapshot]) for f in files]
        check = partial(check_outside, suffix=method.suffix, image=image, budget=budget, trace=trace)
        looked_at = check if method.outside else None
        files.append(_file(method, "final", encoding, trace.steps or None, trace.seconds, looked_at))
        result.seconds_all.append(trace.seconds)
        stages.append(trace.stages)
        energies.append(meter.joules)
        if repeat == 0:
            result.files = files
            result.notes = list(trace.notes)
            result.curve = [(i, at, v) for i, at, v in trace.curve if all(map(math.isfinite, v.values()))]
        elif files[-1].data != result.files[-1].data:
            result.notes.append(f"repeat {repeat + 1} gave another file: the method is not deterministic here")
    median = statistics.median(result.seconds_all)
    result.files[-1] = dataclasses.replace(result.files[-1], seconds=median)
    result.stage_seconds = {name: statistics.median(stage.get(name, 0.0) for stage in stages) for name in stages[0]}
    result.peak_memory_mib = peak.mib()
    if method.outside:
        result.peak_memory_mib = trace.outside.peak_memory_mib if trace.outside else None
        if trace.outside and trace.outside.elsewhere:
            _forget_times(result)
    if start is None and None not in energies:  # that of a start was not read, and half a figure is none
        result.energy_joules = statistics.median(joules for joules in energies if joules is not None)
        result.energy_source = meter.source
    missing = {str(name) for name in snapshots} - {file.snapshot for file in result.files}
    if missing:
        result.notes.append(f"the method took no snapshot {', '.join(sorted(missing))}")
    return result


def _forget_times(result: Encoded) -> None:
    """What it took to read a file says nothing about the work that made it."""
    result.files = [dataclasses.replace(file, seconds=None, to_bytes_seconds=None) for file in result.files]
    result.seconds_all, result.stage_seconds, result.curve = [], {}, []


def check_budget(budget: Budget, height: int, width: int) -> None:
    """Raises MethodError for a count that makes no sense for H x W pixels."""
    try:
        n = budget.count(height, width)
    except ValueError as error:
        raise MethodError(str(error)) from None
    if n is not None and n > height * width:
        raise MethodError(
            f"{n} Gaussians are more than the image has pixels ({width}x{height} = {height * width}); ask for fewer"
        )


def _file(
    method: Method,
    name: str,
    encoding: Any,
    iterations: int | None,
    seconds: float,
    check: Callable[[bytes, Decoded], None] | None = None,
) -> File:
    # Before they are bytes: a file refuses what is not finite, and that is no fault of the file.
    parts: list[Any] = [encoding, getattr(encoding, "gaussians", None), getattr(encoding, "picture", None)]
    for part in parts:
        if hasattr(part, "check_finite"):
            _check_finite(part)
    begin = time.perf_counter()
    data = method.to_bytes(encoding)
    to_bytes_seconds = time.perf_counter() - begin
    # The count is that of the file, not what the method believes.
    decoded = method.decode(data)
    if check is not None:
        check(data, decoded)
    count = None
    if not isinstance(decoded, np.ndarray):
        _check_finite(decoded)
        count = len(decoded)
    return File(name, data, count, method.nominal_bits(encoding), iterations, seconds, to_bytes_seconds)


def _check_finite(gaussians: Gaussians2D | LayeredPicture) -> None:
    try:
        gaussians.check_finite()
    except ValueError as error:
        raise Diverged(str(error)) from None


def _keep_snapshot(files: list[File], method: Method, name: str, encoding: Any) -> None:
    """Made into bytes at once, since the method goes on changing what it handed over."""
    files.append(_file(method, name, encoding, int(name) if name.isdecimal() else None, 0.0))


class _WarmUpOver(Exception):
    """Ends a warm-up from inside the method."""


class _WarmUpTrace(Trace):
    """Ends the encoding at a step: settings may ask for thousands of them in a later stage."""

    def step(self, i: int, n: int, **values: float) -> None:
        super().step(i, n, **values)
        self._calls = getattr(self, "_calls", 0) + 1
        if self._calls >= 2 * WARM_UP_STEPS or self.seconds > WARM_UP_SECONDS:
            raise _WarmUpOver


def warm_up(method: Method, budget: Budget, start: Start | None = None) -> None:
    """Encodes a small synthetic picture, so that compilation and first allocations are not timed; where there is a
    start, from some of its Gaussians.

    Raises:
        Exception: whatever the method raises for it.
    """
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    # A rate may be out of reach for so small a picture, and searching for it compiles nothing else.
    counted = budget.bpp is not None and "gaussians" in method.budgets
    begin = None if start is None else _small_start(start.gaussians, noise.shape[:2])
    if begin is not None:
        small = Budget(gaussians=len(begin), iterations=WARM_UP_STEPS)
    elif budget.psnr is not None:  # no small noise has to reach it
        small = Budget(native=True, iterations=WARM_UP_STEPS)
    elif counted or budget.count(1000, 1000) is not None or budget.matched_to is not None:
        small = Budget(gaussians=64, iterations=WARM_UP_STEPS)
    else:
        small = dataclasses.replace(budget, iterations=WARM_UP_STEPS)
    trace = _WarmUpTrace(seconds=WARM_UP_SECONDS, synchronize=_synchronize(method.device))
    trace.start()
    with contextlib.suppress(_WarmUpOver):
        made = method.encode(noise, small, trace) if begin is None else method.encode_from(begin, noise, small, trace)
        method.from_bytes(method.to_bytes(made))


def _small_start(gaussians: Gaussians2D, size: tuple[int, int], count: int = 64) -> Gaussians2D:
    """The first Gaussians of a start, squeezed into a small picture."""
    squeezed = gaussians.resized(size)
    first: dict[str, Any] = {name: value[:count] for name, value in squeezed.tensors().items()}
    return dataclasses.replace(squeezed, **first)


def _synchronize(device: str) -> Callable[[], None]:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.synchronize
    return lambda: None


class PeakMemory:
    """Peak memory in MiB since it was made: of the device's allocator on a GPU, else resident memory of the process."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            # Linux: sets the high-water mark back to what is resident now; elsewhere it is that of the whole process.
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def mib(self) -> float:
        if self._cuda:
            import torch

            return torch.cuda.max_memory_allocated() / 2**20
        try:
            for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        except OSError:
            pass
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that host or device memory ran out."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    # The CPU allocator of torch raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def describe(error: BaseException) -> str:
    """The last line of a traceback, for the user's own errors without the class."""
    text = str(error).strip().splitlines()
    last = text[-1] if text else ""
    if isinstance(error, (MethodError, Diverged)) and last:
        return last
    return f"{type(error).__name__}: {last}" if last else type(error).__name__

"""What is kept of a run: a record per measurement, and tables made of the records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from tabulate import tabulate

from benchmarks.roofline import COPY, FMA, Roofline
from benchmarks.scenes import Scene
from benchmarks.timing import Clock, Measured
from splatbench.files import write_atomic
from splatbench.record import Provenance

#: Iterations of fits that steps are projected to: the short one of the sample experiment, and the papers'.
FITS = (800, 50_000)
_BASE = "splatbench"


class Timing(BaseModel):
    """One measurement, or why there is none. Times in seconds per call, rates per second."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    kernel: str
    implementation: str
    scene: str
    gaussians: int
    height: int
    width: int
    device: Literal["cpu", "cuda"]
    threads: int
    clock: Literal["wall", "cpu"]
    status: Literal["ok", "failed", "not_available"] = "ok"
    reason: str | None = None
    note: str = ""

    repeats: int = 0
    median: float | None = None
    tenth: float | None = None  # percentiles of the repeats
    ninetieth: float | None = None
    ratio: float | None = None  # to splatbench's time, turn by turn, in this run
    pairs: int | None = None  # of pixel and Gaussian, that a call evaluates
    pairs_per_second: float | None = None
    fma: float | None = None  # multiply-adds and bytes that the kernel needs at least
    bytes: float | None = None
    peak_fma: float | None = None  # per second, measured in turns with the kernels
    peak_bytes: float | None = None  # of copies of at least as many bytes, which small ones keep in caches
    fraction: float | None = None  # of the roofline: time of a perfect machine / median
    provenance: Provenance = Field(default_factory=Provenance)


def to_records(
    measured: Sequence[Measured], scene: Scene, clock: Clock, threads: int, peak: Roofline, made: Provenance
) -> list[Timing]:
    """A record for every case."""
    bases = {m.case.kernel: m for m in measured if m.case.implementation == _BASE and len(m.taken)}
    return [_record(m, bases.get(m.case.kernel), scene, clock, threads, peak, made) for m in measured]


def _record(
    result: Measured, base: Measured | None, scene: Scene, clock: Clock, threads: int, peak: Roofline, made: Provenance
) -> Timing:
    case = result.case
    height, width = scene.size
    timing = Timing(
        kernel=case.kernel, implementation=case.implementation, scene=scene.name, gaussians=scene.count,
        height=height, width=width, device="cuda" if scene.means.is_cuda else "cpu", threads=threads,
        clock="cpu" if clock.name == "cpu" else "wall", note=case.note, pairs=case.pairs, provenance=made,
    )  # fmt: skip
    if result.not_available or result.failure:
        status: Literal["not_available", "failed"] = "not_available" if result.not_available else "failed"
        return timing.model_copy(update={"status": status, "reason": result.not_available or result.failure})
    taken, median = result.taken, result.median
    values: dict[str, object] = {
        "repeats": len(taken),
        "median": median,
        "tenth": float(np.percentile(taken, 10)),
        "ninetieth": float(np.percentile(taken, 90)),
        "ratio": result.ratio(base) if base else None,
        "pairs_per_second": case.pairs / median if case.pairs else None,
    }
    if case.work:
        values |= {
            "fma": case.work.fma,
            "bytes": case.work.bytes,
            "peak_fma": peak.fma,
            "peak_bytes": peak.bytes_per_second(case.work.bytes),
            "fraction": peak.seconds(case.work) / median,
        }
    return timing.model_copy(update=values)


def write_timings(path: Path, timings: Iterable[Timing]) -> None:
    """JSON lines, whole or not at all."""
    lines = [json.dumps(t.model_dump(mode="json"), sort_keys=True, allow_nan=False) for t in timings]
    write_atomic(path, "".join(line + "\n" for line in lines).encode())


def read_timings(path: Path) -> Iterator[Timing]:
    """Raises ValueError naming file and line of the first record that does not fit the schema."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield Timing.model_validate_json(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error


def markdown(timings: Sequence[Timing]) -> str:
    """A table for each scene and way of running, and what whole fits come to."""
    made = timings[0].provenance
    lines = ["# Kernel timings", "", _setting(made), "", _LEGEND]
    groups: dict[tuple[str, str, int], list[Timing]] = {}
    for timing in timings:
        groups.setdefault((timing.scene, timing.device, timing.threads), []).append(timing)
    for group in groups.values():
        lines += ["", f"## {_heading(group[0])}", "", _peaks(group), "", _table(group)]
    if fits := _fits(timings):
        lines += ["", "## Whole fits, projected from the steps", "", fits]
    return "\n".join(lines) + "\n"


_LEGEND = """\
Medians; spread: from the tenth to the ninetieth percentile, as a share of the median. Ratio: time / splatbench's time,
both measured in turns. ns/pair: of pixel and Gaussian with a weight of at least 1/255 (`topk`: a response of at least
1e-6 forward, the chosen backward); a step counts its pairs twice, forward and backward. Roofline: the least time that
the multiply-adds and bytes of the plain algorithm take at the rates measured in the same run, as a share of the
median."""


def _setting(made: Provenance) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(made.versions.items()))
    commit = f"{(made.commit or 'outside a checkout')[:12]}{', with uncommitted changes' if made.dirty else ''}"
    gpu = f"GPU: {made.gpu} (driver {made.driver}). " if made.gpu else ""
    return (
        f"{gpu}CPU: {made.cpu}, {made.cores} cores. Commit {commit}. {made.time}, load average {made.load_average}. "
        f"{versions}."
    )


def _heading(timing: Timing) -> str:
    where = "GPU" if timing.device == "cuda" else f"{timing.threads} thread{'s' * (timing.threads > 1)}"
    clock = "CPU time" if timing.clock == "cpu" else "wall time"
    return f"{timing.scene}: {timing.gaussians} Gaussians, {timing.width}x{timing.height}; {where}, {clock}"


def _peaks(group: Sequence[Timing]) -> str:
    """The limits that the fractions refer to."""
    rates = [t.fma / t.median for t in group if t.kernel == FMA and t.fma and t.median]
    copies = [t for t in group if t.kernel == COPY and t.bytes and t.median]
    if not rates or not copies:
        return "No roofline: its probes are not among the records."
    sizes = ", ".join(f"{(t.bytes or 0) / 1e9 / (t.median or 1):.1f} GB/s ({t.implementation})" for t in copies)
    return f"Roofline: {max(rates) / 1e9:.1f} G multiply-adds/s; copies: {sizes}."


def _table(group: Sequence[Timing]) -> str:
    """The kernels of a group, and under it why some have no times."""
    rows = [_row(t) for t in group if t.kernel not in (FMA, COPY)]
    headers = ["kernel", "implementation", "ms", "spread", "ratio", "ns/pair", "roofline"]
    text = tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 5)
    notes = [f"{t.implementation}, {t.kernel}: {t.reason}" for t in group if t.reason]
    notes += [f"{t.implementation}, {t.kernel}: {t.note}" for t in group if t.note and not t.reason]
    return "\n".join([text, *([""] if notes else []), *(f"- {note}" for note in notes)])


def _row(t: Timing) -> list[str]:
    if t.median is None or t.tenth is None or t.ninetieth is None:
        return [t.kernel, t.implementation, "failed" if t.status == "failed" else "not available", "", "", "", ""]
    return [
        t.kernel,
        t.implementation,
        f"{1e3 * t.median:.3f}",
        f"{(t.ninetieth - t.tenth) / t.median:.0%}",
        f"{t.ratio:.2f}" if t.ratio is not None and t.implementation != _BASE else "",
        f"{1e9 / t.pairs_per_second:.3f}" if t.pairs_per_second else "",
        f"{t.fraction:.1%}" if t.fraction else "",
    ]


def _fits(timings: Sequence[Timing]) -> str:
    rows = [
        [t.kernel, t.implementation, t.scene, _heading(t).rpartition("; ")[2], *(_duration(n * t.median) for n in FITS)]
        for t in timings
        if t.kernel.startswith("step ") and t.median is not None
    ]
    headers = ["step", "implementation", "scene", "device, clock", *(f"{n} iterations" for n in FITS)]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) if rows else ""


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )

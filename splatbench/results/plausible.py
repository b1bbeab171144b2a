"""Whether the numbers of one record can be right: each by itself, and with each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from splatbench.budget import Budget
from splatbench.metrics import REGISTRY
from splatbench.record import Record
from splatbench.results.fields import field_kinds
from splatbench.results.findings import Finding
from splatbench.results.quality import of_metrics, within

#: Larger numbers fit into no column of 64 bits.
_LARGEST = 2**63 - 1


def of_record(record: Record) -> Iterator[Finding]:
    """Numbers that cannot be right, and as warnings those that hardly can."""
    wrong = list(_impossible(record))
    yield from wrong
    if wrong:
        return  # what follows computes with them
    yield from _metrics(record)
    yield from _times(record)
    yield from _curve(record)
    if record.status == "ok":
        yield from _rate(record)
        yield from _gaussians(record)


def _impossible(record: Record) -> Iterator[Finding]:
    """Not a number, negative, beyond 64 bits, or zero where something was measured."""
    kinds = field_kinds(Record)
    numbers = {name: getattr(record, name) for name in kinds if kinds[name] in ("whole", "real")}
    numbers |= {f"stage_seconds.{name}": value for name, value in record.stage_seconds.items()}
    numbers |= {f"encode_seconds_all.{i}": value for i, value in enumerate(record.encode_seconds_all)}
    if record.start is not None:
        numbers["start.seconds"] = record.start.seconds
    for name, value in numbers.items():
        if value is not None and not (0 <= value <= _LARGEST):
            yield Finding("number", f"{name} is {value}; it must be a number from 0 on")
    for name in ("height", "width", "bytes"):
        if getattr(record, name) == 0:
            yield Finding("number", f"{name} is 0")


def _metrics(record: Record) -> Iterator[Finding]:
    for name, value in record.metrics.items():
        if name not in REGISTRY:
            yield Finding("metric", f"unknown metric {name!r} (known: {', '.join(REGISTRY)})")
        elif value is None:
            if record.status == "ok" and not record.metrics_not_run.get(name):
                yield Finding("metric", f"{name} is null, and metrics_not_run does not say why")
        elif not within(value, *REGISTRY[name].bounds):
            yield Finding("metric", f"{name} is {value:g}, outside of its range {_range(*REGISTRY[name].bounds)}")
    if record.status == "ok" and all(value is None for value in record.metrics.values()):
        yield Finding("metric", "status 'ok' without the value of any metric; evaluate it")
    yield from of_metrics(record)


def _range(lowest: float | None, highest: float | None) -> str:
    return f"{'-inf' if lowest is None else f'{lowest:g}'} to {'inf' if highest is None else f'{highest:g}'}"


def _times(record: Record) -> Iterator[Finding]:
    if record.status != "ok":
        return
    if record.encode_seconds is None and (record.implementation == "ours" or record.container is not None):
        yield Finding("time", "status 'ok' without encode_seconds")
    if not record.decode_seconds:
        yield Finding("time", f"decode_seconds is {record.decode_seconds}; the file was decoded, which takes time")
    if record.encode_seconds is not None and record.encode_seconds_all:
        median = statistics.median(record.encode_seconds_all)
        if not math.isclose(median, record.encode_seconds, rel_tol=1e-6, abs_tol=1e-9):
            text = f"encode_seconds is {record.encode_seconds:g}, but the median of encode_seconds_all is {median:g}"
            yield Finding("time", text)
    longest = max(record.encode_seconds_all, default=record.encode_seconds)
    stages = sum(record.stage_seconds.values())
    if longest is not None and stages > 1.05 * longest + 0.1:
        yield Finding("time", f"the stages take {stages:.2f} s together, the whole encoding only {longest:.2f} s")


def _curve(record: Record) -> Iterator[Finding]:
    for (step, seconds, _), (next_step, next_seconds, _) in pairwise(record.curve):
        if next_step <= step or not next_seconds >= seconds:
            text = f"from step {step} at {seconds:g} s to step {next_step} at {next_seconds:g} s"
            yield Finding("curve", f"the curve goes back in time: {text}")
            break
    if record.curve and record.curve[0][1] < 0:
        yield Finding("curve", "the curve begins before its encoding")


def _rate(record: Record) -> Iterator[Finding]:
    missing = [name for name in ("height", "width", "bytes", "bpp") if getattr(record, name) is None]
    if missing:
        yield Finding("rate", f"status 'ok' without {', '.join(missing)}")
        return
    size: Any = record.bytes, record.height, record.width
    bpp = 8 * size[0] / (size[1] * size[2])
    if record.bpp is None or not math.isclose(record.bpp, bpp, rel_tol=1e-9):
        text = f"bpp is {record.bpp}, but {size[0]} bytes for {size[2]}x{size[1]} pixels are {bpp:.9g}"
        yield Finding("rate", f"{text}: a rate is the length of a real file")


def _gaussians(record: Record) -> Iterator[Finding]:
    if record.column != "control" and not record.n_actual:
        yield Finding("count", f"n_actual is {record.n_actual}; a file of Gaussians holds some")
    if not (record.height and record.width):
        return
    try:
        wanted = Budget(**record.budget).count(record.height, record.width)
    except (TypeError, ValueError, OverflowError):
        return  # said where budgets are looked at
    if wanted is not None and record.n_target not in (None, wanted):
        yield Finding("count", f"n_target is {record.n_target}, but the budget {record.budget_slug} means {wanted}")

"""From records to rows of a table: means over images, what failed, and which means may be put in order.

A row is one entry with one budget, snapshot and seed on one data set. Its means are arithmetic means of per-image
values over the images that are there ("n of N"). Rows are ordered only within a track and a budget target, by means
over the images that all ordered rows of that target have. That is no claim that differences are significant.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from splatbench.budget import RATE_TOLERANCE
from splatbench.metrics import REGISTRY
from splatbench.record import Record
from splatbench.report.labels import DECIMALS, QUANTITIES, budget_label, count, significant, target_label

#: Equal Gaussians and equal bytes are never mixed; controls stand apart.
Track = Literal["gaussians", "bytes", "controls"]

#: The snapshot that fits take before their first step.
START_SNAPSHOT = "init"

#: A row whose count is further than this from its target on any image is not ranked; for rates RATE_TOLERANCE holds.
TARGET_TOLERANCE = 0.01

_NO_CONTENDER = "repeats single errors of the published code: no contender"

#: What makes two records values of the same row.
ROW_KEYS = ["dataset", "entry", "config_hash", "budget_slug", "snapshot", "seed"]


@dataclass(frozen=True)
class Row:
    """One row of a table. Means and deviations are over images, keyed by metric or quantity.

    Attributes:
        record: the first record of the row: what all of them share (entry, family, config, budget ...).
        target: the budget's target, the same for rows that may be ranked against each other.
        images: names of the images with status ok.
        total: images of the data set in the whole experiment, whatever became of them.
        means, spreads: mean and standard deviation (n - 1) of the per-image values.
        counts: images that have the value.
        statuses: status -> number of images, for those not ok; reasons: (status, reason) -> image names.
        not_run: metric -> reasons why it is missing on some image.
        count_error: largest |n_actual / n_target - 1| over the images (or of the bytes), and the image.
        common: images that the order is taken on; common_mean: the metric that orders, on these.
        rank: place in the order of means, 1 is best; rank_of: among how many; unranked: why it has no place.
    """

    record: Record
    track: Track
    target: str
    total: int
    images: tuple[str, ...]
    means: dict[str, float]
    spreads: dict[str, float]
    counts: dict[str, int]
    statuses: dict[str, int]
    reasons: dict[tuple[str, str], tuple[str, ...]]
    not_run: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    devices: tuple[str, ...]
    iterations: int | None
    steps: int | None
    count_error: tuple[float, str] | None
    values: dict[str, dict[str, float]] = field(repr=False)  # metric -> image -> value
    common: int = 0
    common_mean: float | None = None
    rank: int | None = None
    rank_of: int = 0
    unranked: str | None = None

    @property
    def budget(self) -> str:
        return budget_label(self.record.budget)

    @property
    def label(self) -> str:
        """Family, and what tells this row from others of the family."""
        text = self.record.family or self.record.title or self.record.entry
        if self.record.snapshot == START_SNAPSHOT:
            text += ", its start alone"
        elif self.record.snapshot != "final":
            text += f", after {snapshot_label(self.record.snapshot)}"
        return text


def snapshot_label(snapshot: str) -> str:
    """ "800" -> "800 iterations"; stage names stay."""
    return f"{count(int(snapshot))} iterations" if snapshot.isdecimal() else snapshot


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One line per record, metrics as columns; everything but the curve. Raw values, nothing averaged."""
    lines = []
    for record in records:
        line = record.model_dump(mode="json", exclude={"metrics", "metrics_not_run", "curve", "provenance"})
        line |= {name: record.metrics.get(name) for name in metric_names([record])}
        line |= {f"not_run_{name}": reason for name, reason in record.metrics_not_run.items()}
        provenance = record.provenance.model_dump(mode="json")
        lines.append(line | {f"provenance_{name}": value for name, value in provenance.items()})
    return pd.DataFrame(lines)


def metric_names(records: Iterable[Record]) -> list[str]:
    """Metrics that were asked for, in the registry's order; unknown ones last."""
    names = {name for record in records for name in (*record.metrics, *record.metrics_not_run)}
    return [name for name in REGISTRY if name in names] + sorted(names - set(REGISTRY))


def track_of(record: Record) -> Track:
    """Equal bytes where the budget fixes a rate or a quality, equal Gaussians where it fixes or yields a count."""
    if record.column == "control":
        return "controls"
    if record.budget.get("bpp") is not None or record.budget.get("quality") is not None:
        return "bytes"
    return "gaussians"


def fitted_iterations(record: Record) -> int | None:
    """Fitting steps behind a record: of the snapshot, the budget, the settings, or as counted."""
    if record.snapshot.isdecimal():
        return int(record.snapshot)
    if record.snapshot == START_SNAPSHOT:
        return 0
    planned = record.budget.get("iterations") or record.config.get("iterations")
    if isinstance(planned, int) and record.budget.get("seconds") is None:
        return planned
    return record.iterations


def summarise(records: Iterable[Record], rank_by: str = "psnr", decimals: Mapping[str, int] | None = None) -> list[Row]:
    """The rows of all tables, in the order in which the records name them, ranked."""
    digits = DECIMALS.get(rank_by, 2) if decimals is None else _digits(rank_by, decimals)
    return _ranked(group_rows(records), rank_by, digits)


def group_rows(records: Iterable[Record]) -> list[Row]:
    """The rows of all tables, in the order in which the records name them, without ranks."""
    records = list(records)
    images: dict[str, set[str]] = {}
    for record in records:
        images.setdefault(record.dataset, set()).add(record.image)
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(str(getattr(record, key)) for key in ROW_KEYS), []).append(record)
    return [_row(group, len(images[group[0].dataset])) for group in groups.values()]


def _digits(name: str, decimals: Mapping[str, int]) -> int:
    return decimals.get(name, DECIMALS.get(name, 2))


def _row(group: list[Record], total: int) -> Row:
    first = group[0]
    done = [record for record in group if record.status == "ok"]
    values = _values(done)
    reasons: dict[tuple[str, str], list[str]] = {}
    not_run: dict[str, list[str]] = {}
    for record in group:
        if record.status != "ok":
            reasons.setdefault((record.status, record.reason or "no reason recorded"), []).append(record.image)
        for name, reason in record.metrics_not_run.items():
            if reason not in not_run.setdefault(name, []):
                not_run[name].append(reason)
    means = {name: float(np.mean(list(found.values()))) for name, found in values.items() if found}
    spreads = {name: float(np.std(list(found.values()), ddof=1)) for name, found in values.items() if len(found) > 1}
    planned = {fitted_iterations(record) for record in done}
    counted = {record.iterations for record in done}
    iterations = planned.pop() if len(planned) == 1 else None
    return Row(
        record=first,
        track=track_of(first),
        target=_target(first),
        total=total,
        images=tuple(record.image for record in done),
        means=means,
        spreads=spreads,
        counts={name: len(found) for name, found in values.items() if found},
        statuses=dict(Counter(record.status for record in group if record.status != "ok")),
        reasons={key: tuple(names) for key, names in reasons.items()},
        not_run={name: tuple(texts) for name, texts in not_run.items()},
        notes=tuple(dict.fromkeys(note for record in done for note in record.notes)),
        devices=tuple(sorted({record.provenance.device for record in done})),
        iterations=iterations,
        steps=counted.pop() if len(counted) == 1 and None not in counted else iterations,
        count_error=_count_error(done),
        values=values,
    )


def _values(done: list[Record]) -> dict[str, dict[str, float]]:
    """Metric or quantity -> image -> value of one row; images without it are left out."""
    names = metric_names(done)
    values: dict[str, dict[str, float]] = {name: {} for name in (*names, *QUANTITIES)}
    for record in done:
        found = [*((name, record.metrics.get(name)) for name in names)]
        for name, value in found + [(name, getattr(record, name)) for name in QUANTITIES]:
            if value is not None and not math.isnan(value):
                values[name][record.image] = float(value)
    return values


def _target(record: Record) -> str:
    """An entry that chooses its counts sets the target of those that are matched to it, so they share one."""
    if target_label(record.budget) == "native" or record.budget.get("psnr") is not None:
        return target_label({"matched_to": record.entry})
    return target_label(record.budget)


def _count_error(done: list[Record]) -> tuple[float, str] | None:
    errors = []
    for record in done:
        wanted, got = cast(tuple[Any, Any], (record.n_target, record.n_actual))
        if record.budget.get("bpp") is not None:
            wanted, got = record.budget["bpp"], record.bpp
        if wanted and got is not None:
            errors.append((abs(got / wanted - 1), record.image))
    return max(errors, default=None)


def _ranked(rows: list[Row], rank_by: str, digits: int) -> list[Row]:
    """Order of means within (data set, track, target), on the images that all these rows have; equal as printed is a
    tie."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    reasons = [why_unranked(row, rank_by) or (_NO_CONTENDER if single_errors(row) else None) for row in rows]
    for index, row in enumerate(rows):
        if reasons[index] is None:
            groups.setdefault((row.record.dataset, row.track, row.target), []).append(index)
    result = [replace(row, unranked=reason) for row, reason in zip(rows, reasons, strict=True)]
    for members in groups.values():
        shared = set.intersection(*(set(rows[index].values[rank_by]) for index in members))
        if not shared:
            for index in members:
                result[index] = replace(rows[index], unranked="no image has results of all rows of this budget")
            continue
        means = pd.Series({i: sum(rows[i].values[rank_by][name] for name in shared) / len(shared) for i in members})
        ascending = rank_by in REGISTRY and REGISTRY[rank_by].direction == "lower"
        ranks = means.round(digits).rank(method="min", ascending=ascending).astype(int)
        for index in members:
            result[index] = replace(
                rows[index],
                common=len(shared),
                common_mean=float(means[index]),
                rank=int(ranks[index]) if len(members) > 1 else None,
                rank_of=len(members),
                unranked=None if len(members) > 1 else "the only row of this budget",
            )
    return result


def single_errors(row: Row) -> bool:
    """Whether a row as published is the corrected method with errors switched on one by one, to see what each does."""
    config = row.record.config
    return row.record.column == "published" and (
        config.get("preset") == "corrected" or config.get("kernels") == "exact"
    )


def why_unranked(row: Row, rank_by: str) -> str | None:
    """Why a row takes no part in ranks; None where it does."""
    if row.track == "controls":
        return "control"
    if not row.images:
        return "no image succeeded"
    if row.record.snapshot != "final":
        return "snapshot of a longer run; only final results are compared"
    what, allowed = ("rate", RATE_TOLERANCE) if row.record.budget.get("bpp") is not None else ("N", TARGET_TOLERANCE)
    if row.count_error is not None and row.count_error[0] > allowed + 1e-9:
        error, image = row.count_error
        off = f"{what} is up to {significant(100 * error)} % off its target ({image})"
        return f"{off}; {100 * allowed:g} % is allowed"
    if row.track == "bytes" and row.record.budget.get("bpp") is None:
        return "its budget fixes a quality, not a rate: compare on the rate–distortion curve"
    if not row.values.get(rank_by):
        reason = "; ".join(row.not_run.get(rank_by, ("it was not asked for",)))
        return f"{rank_by} was not run: {reason}"
    return None

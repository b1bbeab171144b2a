"""How results are called, grouped and ordered in the comparison of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from splatbench.metrics import REGISTRY
from splatbench.record import Record
from splatbench.report.aggregate import START_SNAPSHOT, fitted_iterations, snapshot_label
from splatbench.report.labels import COLUMN_TITLES, budget_label, count, number, significant
from splatbench.site.compare import Source
from splatbench.site.rows import SiteRow

ORIGINAL = "original"


def original_source(image: str, height: int, width: int) -> Source:
    return Source(
        id=ORIGINAL,
        label="Original",
        group="Original",
        image=image,
        why_no_file="the original has no Gaussians",
        facts=[("Size", f"{width} × {height} pixels"), ("Rate", "24 bit/pixel, not compressed")],
    )


def source_of(
    row: SiteRow, record: Record, group: tuple[str, str | None], image: str | None, file: str | None, why: str | None
) -> Source:
    """The source of one result; `group` is of `group_of`."""
    return Source(
        id=source_id(row, record),
        label=_label(row, record),
        group=group[0],
        stage=group[1],
        image=image,
        file=file,
        why_no_file=why,
        facts=_facts(row, record),
    )


def source_id(row: SiteRow, record: Record) -> str:
    return row.id if len(row.seeds) == 1 else f"{row.id}-s{record.seed}"


def in_order(found: Sequence[tuple[SiteRow, Record, Path]]) -> list[tuple[SiteRow, Record, Path]]:
    """Results in the order of their rows; snapshots of one result in the order in which they were taken."""
    first: dict[tuple[str, ...], int] = {}
    for row, record, _ in found:
        first.setdefault(_run(row, record), len(first))
    return sorted(found, key=lambda item: (first[_run(item[0], item[1])], *_time(item[1])))


def group_of(row: SiteRow, record: Record, results: Sequence[tuple[SiteRow, Record]]) -> tuple[str, str | None]:
    """(group, stage): a run with snapshots is a group of stages; the others are grouped by their family."""
    mine = _run(row, record)
    if sum(_run(other, of) == mine for other, of in results) < 2:
        return row.family, None
    seed = "" if len(row.seeds) == 1 else f", seed {record.seed}"
    stage = "start" if record.snapshot == START_SNAPSHOT else snapshot_label(record.snapshot)
    return f"{row.family}{_column(record)}, {budget_label(record.budget)}{seed}, stages", stage


def first_shown(results: Sequence[tuple[SiteRow, Record]], sources: Sequence[Source]) -> str:
    """The id to show beside the original at first: the best final picture of Gaussians, else the first."""
    ids = {source.id for source in sources}
    candidates = [
        (record.metrics.get("psnr") or 0.0, source_id(row, record))
        for row, record in results
        if record.snapshot == "final" and record.column != "control" and source_id(row, record) in ids
    ]
    return max(candidates)[1] if candidates else sources[0].id


def _run(row: SiteRow, record: Record) -> tuple[str, ...]:
    """What the snapshots of one run share."""
    settings = record.config_hash or record.entry
    return (record.method, settings, record.column, row.target, record.budget_slug, str(record.seed))


def _time(record: Record) -> tuple[int, int]:
    if record.snapshot == START_SNAPSHOT:
        return 0, 0
    if record.snapshot == "final":
        return 2, 0
    return 1, int(record.snapshot) if record.snapshot.isdecimal() else 0


def _column(record: Record) -> str:
    return f", {COLUMN_TITLES[record.column]}" if record.column in ("published", "corrected") else ""


def _label(row: SiteRow, record: Record) -> str:
    parts = [f"N = {count(record.n_actual)}"] if record.n_actual is not None else []
    parts += [f"{number(record.bpp, 'bpp')} bit/pixel"] if record.bpp is not None else []
    psnr = record.metrics.get("psnr")
    parts += [f"{number(psnr, 'psnr')} dB"] if psnr is not None else []
    seed = "" if len(row.seeds) == 1 else f", seed {record.seed}"
    return f"{row.label}{_column(record)}{seed}: {', '.join(parts)}"


def _facts(row: SiteRow, record: Record) -> list[tuple[str, str]]:
    facts = [("Method", row.label + _column(record)), ("Budget", budget_label(record.budget))]
    if record.n_actual is not None:
        facts.append(("Gaussians", count(record.n_actual)))
    if record.bytes is not None:
        facts.append(("File", f"{count(record.bytes)} bytes"))
    if record.bpp is not None:
        facts.append(("Rate", f"{number(record.bpp, 'bpp')} bit/pixel"))
    for name, metric in REGISTRY.items():
        value = record.metrics.get(name)
        if value is not None and name != "psnr_u8":
            facts.append((metric.title, f"{number(value, name)} {metric.unit}".strip()))
    if (steps := fitted_iterations(record)) is not None:
        facts.append(("Steps", count(steps)))
    if record.encode_seconds is not None and record.snapshot == "final":
        facts.append(("Encode", f"{significant(record.encode_seconds)} s on {record.provenance.device}"))
    return facts

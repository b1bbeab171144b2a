"""Tables that list rather than average: failures, metrics that were not run, every image."""

from __future__ import annotations

from collections.abc import Sequence

from splatbench.metrics import REGISTRY
from splatbench.record import Record
from splatbench.report.aggregate import Row, metric_names, snapshot_label
from splatbench.report.labels import COLUMN_TITLES, QUANTITIES, budget_label, count, heading, meaning, number
from splatbench.report.settings import ReportSettings
from splatbench.report.tables import Cell, Column, Table, text_cell

#: Quantities of every image, after the metrics.
_SHOWN = ("bpp", "nominal_bpp", "encode_seconds", "decode_seconds", "peak_memory_mib")


def failure_table(rows: Sequence[Row]) -> Table | None:
    """Every result that is missing, with the reason; None where nothing is."""
    columns = [
        Column("dataset", "Data set"),
        Column("method", "Method"),
        Column("column", "Column"),
        Column("budget", "Budget"),
        Column("status", "Status"),
        Column("images", "Images", True),
        Column("reason", "Reason, and what to do"),
        Column("names", "Which"),
    ]
    body = [
        [
            text_cell(row.record.dataset),
            text_cell(row.label),
            text_cell(COLUMN_TITLES[row.record.column]),
            text_cell(row.budget),
            text_cell(status.replace("_", " "), kind="worse" if status != "not_run" else "muted"),
            Cell(count(len(images)), len(images)),
            text_cell(reason),
            Cell(_some(images), ", ".join(images)),
        ]
        for row in rows
        for (status, reason), images in row.reasons.items()
    ]
    return Table("failures", "Failures and results that were not run", columns, body) if body else None


def metrics_not_run_table(records: Sequence[Record]) -> Table | None:
    """Metrics that were asked for and are missing, by reason; None where all were run."""
    missing: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        for name, reason in record.metrics_not_run.items():
            missing.setdefault((record.dataset, name, reason), []).append(record.image)
    columns = [
        Column("dataset", "Data set"),
        Column("metric", "Metric"),
        Column("results", "Results", True),
        Column("reason", "Reason, and what to do"),
        Column("names", "Images"),
    ]
    body = [
        [
            text_cell(dataset),
            text_cell(REGISTRY[name].title if name in REGISTRY else name),
            Cell(count(len(images)), len(images)),
            text_cell(reason),
            Cell(_some(list(dict.fromkeys(images))), ", ".join(dict.fromkeys(images))),
        ]
        for (dataset, name, reason), images in missing.items()
    ]
    return Table("metrics-not-run", "Metrics that were not run", columns, body) if body else None


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def image_table(identity: str, records: Sequence[Record], settings: ReportSettings) -> Table:
    """Every record of a data set (all of the same), nothing averaged."""
    metrics = metric_names(records)
    shown = ("n_actual", *metrics, *_SHOWN)
    columns = [
        Column("image", "Image"),
        Column("method", "Method"),
        Column("column", "Column"),
        Column("budget", "Budget"),
        Column("snapshot", "Snapshot"),
        Column("seed", "Seed", True),
        *(Column(name, heading(name), True, meaning(name)) for name in shown),
        Column("status", "Status"),
    ]
    snapshots = len({record.snapshot for record in records}) > 1
    seeds = len({record.seed for record in records}) > 1
    body = []
    for record in sorted(records, key=lambda r: r.image):
        values = {**record.metrics, **{name: getattr(record, name) for name in QUANTITIES}}
        body.append(
            [
                text_cell(record.image),
                text_cell(record.family or record.title or record.entry),
                text_cell(COLUMN_TITLES[record.column]),
                text_cell(budget_label(record.budget)),
                Cell(snapshot_label(record.snapshot), record.snapshot if snapshots else None),
                Cell(str(record.seed), record.seed if seeds else None),
                *(
                    Cell(
                        number(values.get(n), n, settings.decimals),
                        values.get(n),
                        hint=record.metrics_not_run.get(n, ""),
                    )
                    for n in shown
                ),
                Cell(record.status.replace("_", " "), record.status, _status_kind(record), record.reason or ""),
            ]
        )
    dataset = records[0].dataset
    return Table(identity, f"{dataset}: every image", columns, body, dataset=dataset).without_empty_columns()


def _status_kind(record: Record) -> str:
    return {"ok": "", "not_run": "muted"}.get(record.status, "worse")

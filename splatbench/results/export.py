"""Records for other programs: CSV and Parquet with one flat row per record, and the tables in LaTeX."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from splatbench.files import write_atomic
from splatbench.metrics import REGISTRY
from splatbench.record import Provenance, Record
from splatbench.report.aggregate import frame, metric_names
from splatbench.report.build import make_content
from splatbench.report.csv_text import as_text
from splatbench.report.settings import ReportSettings
from splatbench.report.tables import to_latex
from splatbench.results.fields import Kind, field_kinds

_DTYPES: dict[Kind, str] = {
    "whole": "Int64",
    "real": "Float64",
    "flag": "boolean",
    "text": "string",
    "nested": "string",
}

#: Fields that are spread over several columns, or left out: the curve is a table of its own in every row.
_SPREAD = ("metrics", "metrics_not_run", "provenance", "curve")


def column_kinds(records: Iterable[Record] = ()) -> dict[str, Kind]:
    """Every column and what it holds, in order: a record's fields, a column per metric (all that splatbench knows, then
    others of the records), why a metric was not run, and the provenance.

    Raises:
        ValueError: a metric has the name of a field.
    """
    names = list(dict.fromkeys((*REGISTRY, *metric_names(records))))
    fields = {name: kind for name, kind in field_kinds(Record).items() if name not in _SPREAD}
    if clash := sorted(set(names) & set(fields)):
        raise ValueError(f"metrics have the names of a record's fields: {', '.join(clash)}; rename them")
    values: dict[str, Kind] = dict.fromkeys(names, "real")
    reasons: dict[str, Kind] = {f"not_run_{name}": "text" for name in names}
    made = {f"provenance_{name}": kind for name, kind in field_kinds(Provenance).items()}
    return {**fields, **values, **reasons, **made}


def flat(records: Iterable[Record]) -> pd.DataFrame:
    """One row per record in their order, in the columns of `column_kinds` and their types: Int64, Float64, boolean and
    string, missing values as NA. Nested fields (settings, budget, notes, stages, versions) are JSON text with sorted
    keys.

    Raises:
        ValueError: a metric has the name of a field.
    """
    records = list(records)
    kinds = column_kinds(records)
    table = frame(records).reindex(columns=list(kinds))
    for name, kind in kinds.items():
        values = [_json(value) for value in table[name]] if kind == "nested" else table[name]
        table[name] = pd.Series(values, index=table.index, dtype=_DTYPES[kind])
    return table


def _json(value: Any) -> str | None:
    """JSON text of a list or mapping; None where there is nothing (pandas may have made it NaN)."""
    if isinstance(value, list | Mapping):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return None


def write_csv(records: Iterable[Record], path: Path) -> None:
    """UTF-8, commas, one heading line, numbers unrounded, empty cells for missing values. Text that a spreadsheet would
    take for a formula has an apostrophe before it.

    Raises:
        OSError: it cannot be written.
    """
    table = flat(records)
    for column in [name for name, kind in column_kinds().items() if kind == "text"]:
        table[column] = table[column].map(as_text, na_action="ignore")
    table = table.rename(columns=as_text)
    write_atomic(path, table.to_csv(index=False, lineterminator="\n").encode())


def parquet(records: Iterable[Record]) -> bytes:
    """A Parquet file of the same table with its types, compressed by Zstandard; equal records give equal bytes with the
    same pyarrow."""
    table = pa.Table.from_pandas(flat(records), preserve_index=False).replace_schema_metadata(None)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def write_parquet(records: Iterable[Record], path: Path) -> None:
    """`parquet` as a file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    write_atomic(path, parquet(records))


def write_latex(records: Sequence[Record], path: Path) -> None:
    """The tables of each experiment in the booktabs style, experiments by name; labels are tab:EXPERIMENT-TABLE.

    Raises:
        OSError: it cannot be written.
    """
    parts = []
    for experiment in sorted({record.experiment for record in records}):
        content = make_content([record for record in records if record.experiment == experiment], ReportSettings())
        parts += [to_latex(replace(table, id=f"{experiment}-{table.id}")) for table in content.tables]
    write_atomic(path, "\n".join(parts).encode())

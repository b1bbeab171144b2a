"""CSV in which text stays text: a spreadsheet takes a cell that begins as a formula does for one, and runs it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

#: What a cell of a formula begins with (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\n")


def as_text(value: Any) -> Any:
    """Text with an apostrophe before it where a spreadsheet would take it for a formula; anything else as it is.

    Numbers keep their signs, written as text, too. Carriage returns become line feeds: writers of CSV do not put them
    in quotes, so they would begin a row of their own.
    """
    if not isinstance(value, str):
        return value
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    if not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def to_csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Comma-separated lines; None is an empty cell."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([as_text(value) for value in row] for row in rows)
    return buffer.getvalue()

"""What tells rows apart that have the same name, column and budget: the settings in which they differ."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from splatbench.report.labels import COLUMN_TITLES
from splatbench.site.rows import SiteRow


def variants(rows: Iterable[SiteRow]) -> dict[str, str]:
    """Id of a row -> the settings that tell it from rows of the same board, name, column and budget.

    Rows that nothing else has the name of are left out. "psnr_threshold = 32", "gradient = published"; the
    implementation where that differs; the title where settings say nothing.
    """
    groups: dict[Hashable, list[SiteRow]] = {}
    for row in rows:
        groups.setdefault((row.board, row.label, row.record.column, row.row.budget), []).append(row)
    found: dict[str, str] = {}
    for group in groups.values():
        if len(group) > 1:
            found |= _told_apart(group)
    return found


def _told_apart(group: list[SiteRow]) -> dict[str, str]:
    settings = [{"implementation": row.record.implementation} | row.record.config for row in group]
    keys = sorted(set().union(*settings))
    differing = [key for key in keys if len({repr(values.get(key)) for values in settings}) > 1]
    if not differing:
        return {row.id: row.record.title or row.record.entry for row in group}
    return {
        row.id: ", ".join(
            f"{key} = {_text(values[key])}" for key in differing if values.get(key) not in (None, "", False)
        )
        or "default settings"
        for row, values in zip(group, settings, strict=True)
    }


def _text(value: Any) -> str:
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def full_label(row: SiteRow, told_apart: dict[str, str]) -> str:
    """Name, column and what tells the row apart, for legends and tables."""
    column = "" if row.record.column == "control" else f", {COLUMN_TITLES[row.record.column]}"
    variant = told_apart.get(row.id)
    return row.label + column + (f" ({variant})" if variant else "")

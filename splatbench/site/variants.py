"""What tells rows apart that have the same name: the settings in which they differ."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from splatbench.report.labels import count
from splatbench.site.rows import SiteRow

#: Settings and limits whose names alone would not say what they do.
_PHRASES = {"seconds": "at most {} s", "warm": "from other Gaussians", "quantise": "quantised"}


def variants(rows: Iterable[SiteRow]) -> dict[str, str]:
    """Id of a row -> the settings that tell it from rows of the same board, name, column and budget.

    Rows that nothing else has the name of are left out. "psnr threshold 32", "gradient published"; the implementation
    where that differs.
    """
    groups: dict[Hashable, list[SiteRow]] = {}
    for row in rows:
        groups.setdefault((row.board, row.label, row.record.column, row.row.budget), []).append(row)
    found: dict[str, str] = {}
    for group in groups.values():
        if len(group) > 1:
            settings = [{"implementation": row.record.implementation} | row.record.config for row in group]
            texts = differences(settings)
            found |= {row.id: text or row.record.entry for row, text in zip(group, texts, strict=True)}
    return found


def differences(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each of some settings what others have otherwise, in words; all empty where they are equal."""
    keys = sorted(set().union(*settings))
    differing = [key for key in keys if len({repr(values.get(key)) for values in settings}) > 1]
    if not differing:
        return [""] * len(settings)
    return [
        ", ".join(_words(key, values[key]) for key in differing if values.get(key) not in (None, "", False))
        or "default settings"
        for values in settings
    ]


def _words(key: str, value: Any) -> str:
    if key in _PHRASES:
        return _PHRASES[key].format(f"{value:g}" if isinstance(value, float) else value)
    if key == "iterations" and isinstance(value, int):
        return f"{count(value)} iterations"
    name = key.replace("_", " ")
    return name if value is True else f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"

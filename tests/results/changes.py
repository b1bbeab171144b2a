"""Records with other fields."""

from __future__ import annotations

from splatbench.record import Record


def changed(record: Record, **changes: object) -> Record:
    """The record with other fields; keys of provenance and metrics may be given as provenance__NAME, metrics__NAME."""
    values = record.model_dump(mode="json")
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        if inner:
            values[outer][inner] = value
        else:
            values[outer] = value
    return Record.model_validate(values)

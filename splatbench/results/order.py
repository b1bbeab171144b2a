"""The order in which a person would list records."""

from __future__ import annotations

import re

from splatbench.record import Record
from splatbench.report.aggregate import START_SNAPSHOT


def record_order(record: Record) -> tuple[object, ...]:
    """By experiment, entry, settings, data set, budget, seed, image and snapshot: the start first, the final result
    last. Records of different keys are never equal.
    """
    names = record.experiment, record.entry, record.config_hash, record.dataset, record.budget_slug
    snapshot = (record.snapshot == "final", record.snapshot != START_SNAPSHOT, natural(record.snapshot))
    return (*map(natural, names), record.seed, natural(record.image), *snapshot, record.key)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which "n9000" comes before "n28000"."""
    parts = re.split(r"([0-9]{1,18})", name)
    return tuple((1, int(part), part) if part.isdigit() and part.isascii() else (0, 0, part) for part in parts if part)

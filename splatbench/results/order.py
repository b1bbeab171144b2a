"""The order in which a person would list records."""

from __future__ import annotations

import functools
import re

from splatbench.report.aggregate import START_SNAPSHOT


def key_order(key: tuple[str, ...]) -> tuple[object, ...]:
    """Of a `Record.key`: by experiment, entry, settings, data set, budget, seed, image and snapshot: the start first,
    the final result last. Different keys are never equal.
    """
    experiment, dataset, image, entry, config_hash, budget, seed, snapshot = key
    names = map(natural, (experiment, entry, config_hash, dataset, budget))
    place = (snapshot == "final", snapshot != START_SNAPSHOT, natural(snapshot))
    return (*names, int(seed), natural(image), *place, key)


@functools.lru_cache(maxsize=1 << 14)
def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which "n9000" comes before "n28000"."""
    parts = re.split(r"([0-9]{1,18})", name)
    return tuple((1, int(part), part) if part.isdigit() and part.isascii() else (0, 0, part) for part in parts if part)

"""What encoders ran on, as far as it decides which times may be compared."""

from __future__ import annotations

from collections.abc import Iterable

from splatbench.record import Record


def devices(records: Iterable[Record]) -> list[str]:
    """Devices of the records that succeeded, in alphabetical order.

    A processor goes with its threads, "cpu, 1 thread": two threads are another device than one. What a graphics card
    does hardly depends on the threads of its host.
    """
    return sorted({_device(record) for record in records if record.status == "ok"})


def _device(record: Record) -> str:
    made = record.provenance
    if made.device != "cpu" or not made.threads:
        return made.device
    return f"{made.device}, {made.threads} thread{'s' * (made.threads != 1)}"

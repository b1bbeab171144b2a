"""Which rows may stand on one time axis: of one data set, kind of target and device, on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from splatbench.site.devices import devices
from splatbench.site.rows import SiteRow

#: Sets of images that a reader can choose from, per data set, target and device.
MOST_SUBSETS = 4


@dataclass(frozen=True)
class Subset:
    """Images that rows are compared on: those rows are shown that were timed on all of them.

    Attributes:
        rows, methods: how many were.
    """

    images: frozenset[str]
    rows: int
    methods: int


@dataclass(frozen=True)
class Scope:
    """Rows that may stand on one axis, where they ran on the same images.

    Attributes:
        target: "" for all targets.
        subsets: the first is the default.
    """

    dataset: str
    target: str
    device: str
    rows: tuple[SiteRow, ...]
    subsets: tuple[Subset, ...]


def device_of(row: SiteRow) -> str:
    """A row that ran on several devices is of none of them: its mean is a mixture."""
    return " and ".join(devices(row.records))


def timed_images(row: SiteRow) -> frozenset[str]:
    return frozenset(row.row.values["encode_seconds"])


def scopes(rows: Sequence[SiteRow]) -> list[Scope]:
    """One per data set, target and device, and one per data set and device for all targets together. Controls are in
    each of their data set and device; images are chosen without them where there is anything else."""
    groups: dict[tuple[str, str, str], list[SiteRow]] = {}
    controls: dict[tuple[str, str], list[SiteRow]] = {}
    for row in rows:
        device = device_of(row)
        whole = groups.setdefault((row.dataset, "", device), [])
        if row.track == "controls":
            controls.setdefault((row.dataset, device), []).append(row)
        else:
            whole.append(row)
            groups.setdefault((row.dataset, row.target, device), []).append(row)
    found = []
    for (dataset, target, device), members in groups.items():
        beside = controls.get((dataset, device), [])
        found.append(Scope(dataset, target, device, (*members, *beside), tuple(_subsets(members or beside))))
    return found


def _subsets(rows: Sequence[SiteRow]) -> list[Subset]:
    """Candidates are the sets that rows have, and what all rows share: first that on which most methods can be
    compared, of equal ones the largest. One is left out where an earlier one has at least as many images and rows."""
    sets = {timed_images(row) for row in rows}
    scored = []
    for images in {*sets, frozenset.intersection(*sets)} - {frozenset[str]()}:
        inside = [row for row in rows if images <= timed_images(row)]
        scored.append(Subset(images, len(inside), len({row.record.method for row in inside})))
    scored.sort(key=lambda s: (-s.methods, -len(s.images), -s.rows, sorted(s.images)))
    chosen: list[Subset] = []
    for subset in scored:
        if not any(len(c.images) >= len(subset.images) and c.rows >= subset.rows for c in chosen):
            chosen.append(subset)
    return chosen[:MOST_SUBSETS]

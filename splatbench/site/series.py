"""Rate-distortion series: the rows of one method variant over its budgets, on images that can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from splatbench.analysis.bd import FEWEST_POINTS
from splatbench.method import available
from splatbench.report.labels import COLUMN_TITLES, count
from splatbench.site.links import short_hash
from splatbench.site.rows import SiteRow
from splatbench.site.variants import differences

#: A classical codec or another control; Gaussians in fewer bits than float16 takes; Gaussians as float32.
Kind = Literal["control", "quantised", "float"]

#: Bits per Gaussian below which the file must be quantised: eight parameters of 16 bits. As float32 they take 256,
#: about 190 after entropy coding.
FLOAT_BITS = 128

#: What labels of float32 files end with.
NOT_QUANTISED = " · float32"

#: Sets of images that a reader can choose from.
MOST_SUBSETS = 5

#: What a budget may ask for, other than what the method does by itself.
_TARGETS = ("gaussians", "compression_ratio", "bpp", "quality", "psnr", "matched_to")

#: Limits of a budget that make another series; what is left of it, its target, makes another point.
_LIMITS = ("iterations", "seconds", "warm")


@dataclass(frozen=True)
class Series:
    """One method variant over its budgets.

    Attributes:
        key: the same for the same series whatever else there is.
        rows: by rate.
    """

    key: str
    label: str
    family: str
    column: str
    method: str
    kind: Kind
    rows: tuple[SiteRow, ...]


def split_retired(rows: Sequence[SiteRow]) -> tuple[list[SiteRow], list[SiteRow]]:
    """Rows, and those of them whose method is not there any more: what took its place measures the same once more, so
    that curves leave them out."""
    known = available()
    retired = [row for row in rows if row.record.method not in known]
    return [row for row in rows if row.record.method in known], retired


def retired_labels(rows: Sequence[SiteRow]) -> list[str]:
    """What a page says of rows that it leaves out: "JPEG (method jpeg), 4 rows"."""
    counts = Counter((row.family, row.record.method) for row in rows)
    return [f"{family} (method {method}), {n} row{'s' * (n != 1)}" for (family, method), n in counts.items()]


def series_of(rows: Sequence[SiteRow]) -> list[Series]:
    """The series of one data set: final results of the same family, column, settings and limits.

    A native budget has no target: what sets the number of Gaussians there are the settings, so that a family is one
    series whatever its settings are.
    """
    groups: dict[tuple[str, ...], list[SiteRow]] = {}
    for row in rows:
        if row.record.snapshot == "final" and row.row.means.get("bpp"):
            groups.setdefault(_key(row), []).append(row)
    names: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for key, members in groups.items():
        names.setdefault((members[0].family, members[0].record.column), []).append(key)
    told_apart: dict[tuple[str, ...], str] = {}
    for sharing in names.values():
        texts = differences([_settings(groups[key][0]) for key in sharing])
        told_apart |= dict(zip(sharing, texts, strict=True))
    return [_series(key, members, told_apart[key]) for key, members in groups.items()]


def _key(row: SiteRow) -> tuple[str, ...]:
    r = row.record
    native = all(r.budget.get(name) is None for name in _TARGETS)
    limits = [str(r.budget.get(name) or "") for name in _LIMITS]
    settings = "" if native else r.config_hash or r.entry
    return (r.method, row.family, r.column, r.implementation, settings, str(native), *limits)


def _settings(row: SiteRow) -> dict[str, Any]:
    r = row.record
    limits = {name: r.budget.get(name) for name in _LIMITS}
    return {"implementation": r.implementation, "method": r.method} | r.config | limits


def _series(key: tuple[str, ...], rows: list[SiteRow], variant: str) -> Series:
    r = rows[0].record
    column = "" if r.column == "control" else f", {COLUMN_TITLES[r.column]}"
    ordered = tuple(sorted(rows, key=lambda row: (row.row.means["bpp"], row.id)))
    kind = _kind(ordered)
    label = rows[0].family + column + (f" ({variant})" if variant else "") + (NOT_QUANTISED if kind == "float" else "")
    return Series(short_hash(*key), label, rows[0].family, r.column, r.method, kind, ordered)


def _kind(rows: Sequence[SiteRow]) -> Kind:
    if rows[0].record.column == "control":
        return "control"
    bits = [
        8 * row.row.means["bytes"] / n
        for row in rows
        if (n := row.row.means.get("n_actual")) and "bytes" in row.row.means
    ]
    return "float" if not bits or max(bits) >= FLOAT_BITS else "quantised"


@dataclass(frozen=True)
class Subset:
    """Images that points are compared on: those rows are shown that have all of them.

    Attributes:
        series: how many have a point on all of these images.
        curves: how many of codecs and quantised Gaussians have enough points for a Bjøntegaard delta.
        float_curves: how many float32 ones.
    """

    images: tuple[str, ...]
    series: int
    curves: int
    float_curves: int

    @property
    def label(self) -> str:
        images = "1 image" if len(self.images) == 1 else f"{count(len(self.images))} images"
        curves = f"{self.curves} curves" + (f" and {self.float_curves} of float32" if self.float_curves else "")
        return f"{images}: {curves}, {self.series} series with single points"


def subsets(series: Sequence[Series]) -> list[Subset]:
    """Sets of images to choose from; the first is the default: the one on which most curves of codecs and quantised
    Gaussians can be compared (of float32 files, which are shown on demand, where there are none), of equal ones the
    largest. Candidates are the sets that rows have, and what all rows share; a set is left out where another one has at
    least as many images and series, and comes before it."""
    found = [(frozenset(row.row.images), place) for place, one in enumerate(series) for row in one.rows]
    counts = Counter(images for images, _ in found)
    if not counts:
        return []
    candidates = {*counts, frozenset.intersection(*counts)} - {frozenset[str]()}
    scored = []
    for images in candidates:
        points = Counter(place for others, place in found if images <= others)
        curves = Counter(series[place].kind == "float" for place, n in points.items() if n >= FEWEST_POINTS)
        scored.append(Subset(tuple(sorted(images)), len(points), curves[False], curves[True]))
    scored.sort(key=lambda s: (-s.curves, -s.float_curves if not s.curves else 0, -len(s.images), -s.series, s.images))
    chosen: list[Subset] = []
    for subset in scored:
        if not any(len(c.images) >= len(subset.images) and c.series >= subset.series for c in chosen):
            chosen.append(subset)
    return chosen[:MOST_SUBSETS]

"""A page for every data set: where its pictures come from, what is known of them, and what was measured on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from splatbench.datasets.manifest import DatasetError, Manifest, available_datasets, load_manifest
from splatbench.report.aggregate import Track
from splatbench.report.content import TRACK_TITLES
from splatbench.report.labels import COLUMN_TITLES
from splatbench.report.reference import reports_folder
from splatbench.site.addresses import dataset_address
from splatbench.site.cells import PaperTable, papers
from splatbench.site.intervals import row_intervals
from splatbench.site.methods import in_order
from splatbench.site.page import Data, Page, Site
from splatbench.site.ranking import RANK_BY
from splatbench.site.rows import SiteRow
from splatbench.site.variants import variants

_STYLES = ("assets/verdicts.css", "assets/methods.css")
_SCRIPTS = ("assets/sort.js",)

#: So many images are called the hardest, and so many the easiest; of fewer than three times as many, none are.
_EXTREMES = 3


@dataclass(frozen=True)
class Target:
    """A board of the leaderboard: rows of one kind of budget and target; `address` leads to it."""

    track: str
    target: str
    rows: int
    methods: tuple[str, ...]
    address: str


@dataclass(frozen=True)
class ImageLine:
    """One measured image.

    Attributes:
        size: width and height in pixels; None where no record has them.
        results: records of it.
        mean: mean PSNR in dB over the rows that have every image; None where there is no such row.
        place: "hardest" or "easiest" for the extremes by that mean.
    """

    name: str
    address: str
    size: tuple[int, int] | None
    results: int
    mean: float | None
    place: str


@dataclass(frozen=True)
class Entry:
    """One data set with all that the site has of it.

    Attributes:
        page: its address.
        manifest: None where this project has none; `problem` says why.
        rows: everything measured on it.
        tables: of papers that use it.
        complete: rows that have every image: what the images' means are over.
    """

    name: str
    page: str
    manifest: Manifest | None
    problem: str
    rows: tuple[SiteRow, ...]
    images: tuple[ImageLine, ...]
    complete: int
    tables: tuple[PaperTable, ...]

    @property
    def title(self) -> str:
        return self.manifest.title if self.manifest is not None else self.name

    @property
    def results(self) -> int:
        return sum(image.results for image in self.images)

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that were measured on it, by folder name."""
        return tuple(dict.fromkeys(row.record.method for row in self.rows))

    @property
    def final(self) -> list[SiteRow]:
        return in_order(row for row in self.rows if row.record.snapshot == "final")

    @property
    def targets(self) -> list[Target]:
        """Its boards, the largest first within each kind of budget."""
        groups: dict[tuple[Track, str], list[SiteRow]] = {}
        for row in self.rows:
            if row.record.snapshot == "final":
                groups.setdefault((row.track, row.target), []).append(row)
        order = list(TRACK_TITLES)
        keys = sorted(groups, key=lambda key: (order.index(key[0]), -len(groups[key]), key[1]))
        return [self._target(track, target, groups[track, target]) for track, target in keys]

    def _target(self, track: Track, target: str, rows: list[SiteRow]) -> Target:
        methods = tuple(dict.fromkeys(row.family for row in rows))
        state = "&".join(f"{k}={quote(v)}" for k, v in (("dataset", self.name), ("track", track), ("target", target)))
        return Target(TRACK_TITLES[track], target, len(rows), methods, f"leaderboard.html#{state}")


def pages(site: Site) -> Iterator[Page | Data]:
    found = [_entry(site, name) for name in _names(site)]
    measured = [entry for entry in found if entry.rows]
    others = [entry for entry in found if not entry.rows]
    context = {"groups": {"Measured": measured, "Not measured yet": others}, "facts_of": facts_of}
    yield Page("datasets.html", "datasets.html.j2", "Data sets", "datasets", context, (), _STYLES)
    told_apart, intervals = variants(site.rows), row_intervals(site)
    for entry in found:
        page_context = {
            "entry": entry,
            "facts": facts_of(entry.manifest) if entry.manifest is not None else {},
            "column_titles": COLUMN_TITLES,
            "told_apart": told_apart,
            "intervals": intervals,
        }
        yield Page(entry.page, "dataset.html.j2", entry.title, "datasets", page_context, _SCRIPTS, _STYLES)


def _names(site: Site) -> list[str]:
    """Data sets of the records, of the papers, and of the project's own manifests."""
    own = reports_folder().parent / "datasets"
    manifests = [name for name, path in available_datasets().items() if path.parent == own]
    printed = [table.table.dataset for table in papers(site).tables]
    return list(dict.fromkeys([*site.datasets, *manifests, *printed]))


def _entry(site: Site, name: str) -> Entry:
    manifest, problem = _manifest(site, name)
    rows = [row for row in site.rows if row.dataset == name]
    complete = _complete(rows, site.images.get(name, {}))
    return Entry(
        name=name,
        page=dataset_address(site, name),
        manifest=manifest,
        problem=problem,
        rows=tuple(rows),
        images=tuple(_images(site, name, rows, complete)),
        complete=len(complete),
        tables=tuple(table for table in papers(site).tables if table.table.dataset == name),
    )


def _manifest(site: Site, name: str) -> tuple[Manifest | None, str]:
    if name not in available_datasets():
        return None, (
            "This project has no manifest of it: a folder of somebody's own pictures, or a paper's data set whose "
            "pictures have no known address."
        )
    try:
        return load_manifest(name), ""
    except DatasetError as error:
        site.problems.append(f"data set {name}: {error}")
        return None, "Its manifest cannot be read: only its records are shown."


def _complete(rows: list[SiteRow], images: dict[str, str]) -> list[dict[str, float]]:
    """PSNR by image of the final rows that have every image; controls say nothing of how hard an image is."""
    found = [
        row.row.values.get(RANK_BY, {}) for row in rows if row.record.snapshot == "final" and row.track != "controls"
    ]
    return [values for values in found if values.keys() >= images.keys()]


def _images(site: Site, dataset: str, rows: list[SiteRow], complete: list[dict[str, float]]) -> Iterator[ImageLine]:
    results: Counter[str] = Counter()
    sizes: dict[str, tuple[int, int]] = {}
    for row in rows:
        for record in row.records:
            results[record.image] += 1
            if record.width and record.height:
                sizes.setdefault(record.image, (record.width, record.height))
    names = list(site.images.get(dataset, {}))
    means = {name: sum(values[name] for values in complete) / len(complete) for name in names} if complete else {}
    places = _places(means)
    for name in names:
        address = site.image_page(dataset, name)
        yield ImageLine(name, address, sizes.get(name), results[name], means.get(name), places.get(name, ""))


def _places(means: dict[str, float]) -> dict[str, str]:
    """The extremes by mean PSNR; with few images these words would say nothing."""
    if len(means) < 3 * _EXTREMES:
        return {}
    order = sorted(means, key=lambda name: (means[name], name))
    return dict.fromkeys(order[:_EXTREMES], "hardest") | dict.fromkeys(order[-_EXTREMES:], "easiest")


def facts_of(manifest: Manifest) -> dict[str, str]:
    """What a manifest says of its pictures, as heading -> text."""
    entries = manifest.entries()
    return {
        "Images": str(len(entries)),
        "Size": _sizes(manifest),
        "Checked by": _checks(manifest),
        "Source": _source(manifest),
    }


def _sizes(manifest: Manifest) -> str:
    entries = manifest.entries()
    sizes = Counter((e.width, e.height) for e in entries if e.width and e.height)
    unknown = len(entries) - sizes.total()
    if len(sizes) > 4:
        pixels = sorted(width * height / 1e6 for width, height in sizes if width and height)
        found = [f"{len(sizes)} sizes, {pixels[0]:.3g} to {pixels[-1]:.3g} megapixels"]
    else:
        found = [f"{width}×{height} ({n})" for (width, height), n in sizes.most_common()]
    if unknown and manifest.long_side:
        found.append(f"long side {manifest.long_side} pixels ({unknown})")
    elif unknown:
        found.append(f"not known beforehand ({unknown})")
    return ", ".join(found)


def _checks(manifest: Manifest) -> str:
    """How a picture is known to be the right one."""
    entries = manifest.entries()
    hashed = sum(bool(entry.sha256 or entry.pixel_sha256) for entry in entries)
    if hashed == len(entries):
        return "a hash of every picture"
    whole = any(archive.take == "whole" for archive in manifest.archives)
    rest = "the archive's hash when downloaded, else the size" if whole else "the size alone"
    return f"a hash of {hashed} pictures, the others by {rest}" if hashed else rest


def _source(manifest: Manifest) -> str:
    if manifest.generator == "synthetic":
        return "made on the spot, the same on every machine"
    if manifest.generator == "central_crop":
        return f"central crops of {manifest.source}"
    if manifest.builtin:
        return "inside an installed package"
    if manifest.base_url or manifest.archives or all(entry.urls for entry in manifest.entries()):
        return "downloaded"
    return "a person has to get them; the command says where and how"

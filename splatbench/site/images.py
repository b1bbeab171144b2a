"""A page for every image: its pictures side by side, and what every method made of it; and a page of all images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from splatbench.datasets import DatasetError, available_datasets, get_dataset
from splatbench.record import Record
from splatbench.report.aggregate import START_SNAPSHOT, metric_names, snapshot_label
from splatbench.report.labels import COLUMN_TITLES, MISSING, budget_label, heading, meaning, number
from splatbench.site import compare
from splatbench.site.page import Data, Page, Site, Thumbnail, script
from splatbench.site.pictures import ImagePictures, Result, make_pictures, new_files
from splatbench.site.rows import SiteRow

SCRIPTS = ("assets/sort.js",)
COMPARISON_SCRIPTS = (*(f"assets/{name}" for name in compare.SCRIPTS), "assets/compare-page.js")
STYLES = ("assets/images.css",)
#: Quantities beside the metrics, in the table of an image.
_QUANTITIES = ("bpp", "encode_seconds", "decode_seconds")
_STATUSES = {"diverged": "diverged", "out_of_memory": "out of memory", "failed": "failed", "not_run": "not run"}


@dataclass(frozen=True)
class ImageEntry:
    """An image in the list of all: its page below the site's folder, and its small picture where there is one."""

    name: str
    address: str
    thumbnail: str | None
    results: int


@dataclass(frozen=True)
class ResultLine:
    """One line of an image's table."""

    address: str  # of the row in the leaderboard, from the site's folder
    label: str
    column: str
    budget: str
    snapshot: str
    cells: tuple[str, ...]
    status: str
    reason: str


def pages(site: Site) -> Iterator[Page | Data]:
    """The image pages, the pictures and encoded files that they show, then the list of all images."""
    results = _by_image(site)
    entries: dict[str, list[ImageEntry]] = {}
    written: set[str] = set()
    for dataset, images in site.images.items():
        names = list(images)
        for index, image in enumerate(names):
            mine = results[dataset, image]
            address = site.image_page(dataset, image)
            pictures = make_pictures(site, dataset, image, mine, "../" * address.count("/"))
            site.problems.extend(pictures.problems)
            yield from new_files(pictures.files, written)
            neighbours = (names[index - 1] if index else None, names[index + 1] if index + 1 < len(names) else None)
            yield from _image_page(site, dataset, image, mine, pictures, neighbours)
            if pictures.thumbnail is not None:
                site.thumbnails.append(Thumbnail(image, address, pictures.thumbnail))
            entries.setdefault(dataset, []).append(ImageEntry(image, address, pictures.thumbnail, len(mine)))
    yield Page("images.html", "images.html.j2", "Images", "images", {"entries": entries}, (), STYLES)


def _by_image(site: Site) -> dict[tuple[str, str], list[Result]]:
    """Results of every image in the order of the rows; the rows' records are one per image and seed."""
    found: dict[tuple[str, str], list[Result]] = {}
    for row in site.rows:
        for record in row.records:
            found.setdefault((record.dataset, record.image), []).append((row, record))
    return found


def _image_page(
    site: Site,
    dataset: str,
    image: str,
    results: Sequence[Result],
    pictures: ImagePictures,
    neighbours: tuple[str | None, str | None],
) -> Iterator[Page | Data]:
    metrics = metric_names(record for _, record in results)
    measured = [name for name in metrics if any(record.metrics.get(name) is not None for _, record in results)]
    columns = ["n_actual", *measured, *_QUANTITIES]
    seeds: dict[str, set[int]] = {}
    for row, record in results:
        seeds.setdefault(row.id, set()).add(record.seed)
    data = f"data/compare/{site.datasets[dataset]}/{site.images[dataset][image]}.js"
    scripts: tuple[str, ...] = SCRIPTS
    if pictures.comparison is not None:
        yield Data(data, script("compare", pictures.comparison.as_dict()))
        scripts += (data, *COMPARISON_SCRIPTS)
    first = results[0][1]
    context = {
        "dataset": dataset,
        "image": image,
        "size": (first.width, first.height) if first.width and first.height else None,
        "credit": _credit(dataset, image),
        "pictures": pictures,
        "columns": [(name, heading(name), meaning(name)) for name in columns],
        "lines": [_line(row, record, columns, len(seeds[row.id]) > 1) for row, record in results],
        "neighbours": [(name, site.image_page(dataset, name)) if name else None for name in neighbours],
    }
    styles = STYLES + tuple(f"assets/{name}" for name in compare.STYLES if pictures.comparison is not None)
    title = f"{image}, {dataset}"
    yield Page(site.image_page(dataset, image), "image.html.j2", title, "images", context, scripts, styles)


def _credit(dataset: str, image: str) -> tuple[str, str] | None:
    """(who made it, its licence), as the data set's manifest says."""
    if dataset not in available_datasets():
        return None
    data = get_dataset(dataset)
    try:
        entry = data.entry(image)
    except DatasetError:
        return None
    return entry.credit, entry.licence or data.licence


def _line(row: SiteRow, record: Record, columns: Sequence[str], name_seed: bool) -> ResultLine:
    def cell(name: str) -> str:
        if record.status != "ok":
            return MISSING
        value = record.metrics.get(name) if name in record.metrics else getattr(record, name, None)
        return number(value, name)

    snapshot = "start" if record.snapshot == START_SNAPSHOT else snapshot_label(record.snapshot)
    return ResultLine(
        address=f"leaderboard.html#{row.id}",
        label=row.family,
        column=COLUMN_TITLES[record.column],
        budget=budget_label(record.budget) + (f", seed {record.seed}" if name_seed else ""),
        snapshot=snapshot,
        cells=tuple(cell(name) for name in columns),
        status=_STATUSES.get(record.status, ""),
        reason="" if record.status == "ok" else record.reason or "no reason recorded",
    )

"""What a site is made of: pages from templates, and data that its scripts read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from splatbench.record import Record
from splatbench.report.aggregate import metric_names
from splatbench.site.links import unique_slugs
from splatbench.site.rows import SiteRow

#: Pages of the navigation, in its order: (section, address, text).
NAVIGATION = (
    ("overview", "index.html", "Overview"),
    ("leaderboard", "leaderboard.html", "Leaderboard"),
    ("rates", "rates.html", "Rate–distortion"),
    ("time", "time.html", "Time"),
    ("verdicts", "verdicts.html", "Verdicts"),
    ("methods", "methods.html", "Methods"),
    ("datasets", "datasets.html", "Data"),
    ("images", "images.html", "Images"),
    ("about", "about.html", "How to read"),
)


@dataclass(frozen=True)
class Page:
    """One HTML page.

    Attributes:
        path: below the site's folder, e.g. "methods/air.html".
        template: in reports/site/templates/, a child of base.html.j2.
        section: key of NAVIGATION.
        context: what the template reads, beside `site`, `page` and the filters of `build`.
        scripts: run after common.js, in this order; addresses below the site's folder.
        styles: further style sheets.
    """

    path: str
    template: str
    title: str
    section: str
    context: Mapping[str, Any] = field(default_factory=dict)
    scripts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """From the page to the site's folder."""
        return "../" * self.path.count("/")


@dataclass(frozen=True)
class Data:
    """A file that is no page: its address below the site's folder, and its content."""

    path: str
    content: bytes


def script(name: str, value: Any) -> bytes:
    """A script that hands a value to `splatbench.data`: pages that are opened as files cannot read JSON.

    Raises:
        ValueError: NaN or infinity in the value, which JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    # Inside <script src> nothing of JSON is special, but files get inlined, and markup in a name is no markup anywhere.
    text = text.replace("<", "\\u003c")
    return f"splatbench.data({json.dumps(name)},{text});\n".encode()


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of an image page; addresses below the site's folder."""

    name: str
    page: str
    picture: str


@dataclass
class Site:
    """Everything that pages are made of; computed once.

    Attributes:
        records: all of them, as read.
        rows: see `rows.site_rows`.
        results: where encoded files are looked for, beside the published store; None: only there.
        store: folder of published files, named by their hash.
        problems: pictures that could not be made, and why; parts add to it.
        thumbnails: of the image pages with pictures; filled while these are made.
    """

    records: list[Record]
    rows: list[SiteRow]
    results: Path | None = None
    store: Path | None = None
    problems: list[str] = field(default_factory=list)
    thumbnails: list[Thumbnail] = field(default_factory=list)

    @cached_property
    def metrics(self) -> list[str]:
        return metric_names(self.records)

    @cached_property
    def datasets(self) -> dict[str, str]:
        """Data set -> name of its page."""
        return unique_slugs(record.dataset for record in self.records)

    @cached_property
    def methods(self) -> dict[str, str]:
        """Method (folder name) -> name of its page."""
        return unique_slugs(record.method for record in self.records)

    @cached_property
    def images(self) -> dict[str, dict[str, str]]:
        """Data set -> image -> name of its page."""
        found: dict[str, set[str]] = {}
        for record in self.records:
            found.setdefault(record.dataset, set()).add(record.image)
        return {dataset: unique_slugs(found[dataset]) for dataset in sorted(found)}

    def method_page(self, method: str) -> str:
        return f"methods/{self.methods[method]}.html"

    def dataset_page(self, dataset: str) -> str:
        return f"datasets/{self.datasets[dataset]}.html"

    def image_page(self, dataset: str, image: str) -> str:
        return f"images/{self.datasets[dataset]}/{self.images[dataset][image]}.html"

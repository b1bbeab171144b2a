"""A page for every method: what it is, how it is set, what is known against it, and everything measured with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from splatbench.method import Method, get_method
from splatbench.report.labels import COLUMN_TITLES
from splatbench.report.method_settings import settings_of, sources_of
from splatbench.report.verdict import VerdictKind
from splatbench.site.addresses import method_address
from splatbench.site.cells import KINDS, Cell, Papers, Summary, count_kinds, papers
from splatbench.site.facts import MethodFacts, method_facts
from splatbench.site.intervals import row_intervals
from splatbench.site.page import Data, Page, Site
from splatbench.site.ranking import RANK_BY
from splatbench.site.rows import SiteRow
from splatbench.site.variants import variants
from splatbench.site.verdicts import KIND_MEANINGS

#: Kinds in the order of methods.html, each with its heading.
GROUPS = {
    "fitting": "Fitted to each picture",
    "network": "A network makes the Gaussians",
    "external": "Made by other code",
    "codec": "Classical codecs",
    "control": "Controls",
    "": "Not known to this version",
}

BLENDS = {
    "sum": "plain sum of Gaussians",
    "topk": "average of the ten strongest Gaussians",
    "alpha": "Gaussians one over the other, in order of depth",
}

BUDGETS = {
    "gaussians": "number of Gaussians",
    "compression_ratio": "compression ratio",
    "bpp": "bits per pixel",
    "matched_to": "counts of another method",
    "native": "its own choice",
    "quality": "quality setting",
    "psnr": "a PSNR to reach",
}


SCRIPTS = ("assets/sort.js",)


@dataclass(frozen=True)
class Best:
    """The row with the highest mean PSNR on a data set, of those with the most images."""

    dataset: str
    row: SiteRow


@dataclass(frozen=True)
class Entry:
    """One method with all that the site has of it.

    Attributes:
        page: its address.
        facts: what reports/methods.yaml says; None where it says nothing.
        method: its code; None where this version has none, or it cannot be loaded, which `problem` says.
        rows: final results; snapshots: stages and intermediate states.
        cells: of the papers' tables that are about it.
    """

    name: str
    page: str
    facts: MethodFacts | None
    method: type[Method] | None
    problem: str
    rows: tuple[SiteRow, ...]
    snapshots: tuple[SiteRow, ...]
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        if self.facts is not None:
            return self.facts.title
        return self.method.title if self.method is not None else self.name

    @property
    def kind(self) -> str:
        return self.facts.kind if self.facts is not None else ""

    @property
    def families(self) -> dict[str, list[str]]:
        """Families that were measured -> their columns, in words."""
        found: dict[str, list[str]] = {}
        for row in (*self.rows, *self.snapshots):
            columns = found.setdefault(row.family, [])
            if (title := COLUMN_TITLES[row.record.column]) not in columns:
                columns.append(title)
        return found

    @property
    def best(self) -> list[Best]:
        datasets = dict.fromkeys(row.dataset for row in self.rows)
        found = []
        for dataset in datasets:
            rows = [row for row in self.rows if row.dataset == dataset and RANK_BY in row.row.means]
            if rows:
                best = max(rows, key=lambda row: (len(row.row.values[RANK_BY]), row.row.means[RANK_BY]))
                found.append(Best(dataset, best))
        return found

    @property
    def summary(self) -> Summary:
        return count_kinds(self.cells)

    @property
    def sentence(self) -> str:
        """The first sentence of the description."""
        return self.facts.description.partition(". ")[0].rstrip(".") + "." if self.facts is not None else ""


def pages(site: Site) -> Iterator[Page | Data]:
    found = entries(site, papers(site))
    styles = ("assets/verdicts.css", "assets/methods.css")
    groups = {title: [entry for entry in found if entry.kind == kind] for kind, title in GROUPS.items()}
    yield Page(
        "methods.html", "methods.html.j2", "Methods", "methods", {"groups": groups, "blends": BLENDS}, (), styles
    )
    told_apart, intervals = variants(site.rows), row_intervals(site)
    for entry in found:
        context = _context(entry) | {"told_apart": told_apart, "intervals": intervals}
        yield Page(entry.page, "method.html.j2", entry.title, "methods", context, SCRIPTS, styles)


def entries(site: Site, found: Papers) -> list[Entry]:
    """The project's own methods, and all that the records name."""
    facts = method_facts()
    names = [*facts, *(name for name in site.methods if name not in facts)]
    return [_entry(site, found, name, facts.get(name)) for name in names]


def _entry(site: Site, found: Papers, name: str, facts: MethodFacts | None) -> Entry:
    method, problem = _load(site, name)
    rows = in_order([row for row in site.rows if row.record.method == name])
    return Entry(
        name=name,
        page=method_address(site, name),
        facts=facts,
        method=method,
        problem=problem,
        rows=tuple(row for row in rows if row.record.snapshot == "final"),
        snapshots=tuple(row for row in rows if row.record.snapshot != "final"),
        cells=tuple(found.of_method(name)),
    )


def in_order(rows: Iterable[SiteRow]) -> list[SiteRow]:
    """Rows for a table: data sets and families as they come, within a family by track and number of Gaussians."""
    rows = list(rows)
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    families = list(dict.fromkeys(row.family for row in rows))
    tracks = ("gaussians", "bytes", "controls")

    def key(row: SiteRow) -> tuple[int, int, int, float, str]:
        means = row.row.means
        size = means.get("n_actual", means.get("bpp", math.inf))
        return datasets.index(row.dataset), families.index(row.family), tracks.index(row.track), size, row.id

    return sorted(rows, key=key)


def _load(site: Site, name: str) -> tuple[type[Method] | None, str]:
    """A method's class, or why there is none. Whatever its code does wrong must not take the site with it."""
    from splatbench.method import available

    if name not in available():
        return None, "This version of splatbench has no method of this name: only its records are shown."
    try:
        return get_method(name), ""
    except Exception as error:
        site.problems.append(f"method {name} cannot be loaded: {type(error).__name__}: {error}")
        return None, f"The method cannot be loaded ({type(error).__name__}): only its records are shown."


def _context(entry: Entry) -> dict[str, object]:
    method = entry.method
    return {
        "entry": entry,
        "kind_title": GROUPS[entry.kind],
        "blend": BLENDS[method.blend] if method is not None and entry.kind in ("fitting", "network") else "",
        "budgets": [BUDGETS.get(name, name) for name in method.budgets] if method is not None else [],
        "settings": settings_of(method) if method is not None else [],
        "sources": sources_of(method) if method is not None else "",
        "kind_meanings": KIND_MEANINGS,
        "tables": _tables(entry.cells),
        "column_titles": COLUMN_TITLES,
    }


def _tables(cells: tuple[Cell, ...]) -> Mapping[tuple[str, str], Mapping[VerdictKind, list[Cell]]]:
    """(Address, title) of each paper's table -> verdict -> cells, in the order of verdicts."""
    found: dict[tuple[str, str], dict[VerdictKind, list[Cell]]] = {}
    for cell in cells:
        of_table = found.setdefault((cell.table, cell.title), {kind: [] for kind in KINDS})
        of_table[cell.kind].append(cell)
    return found

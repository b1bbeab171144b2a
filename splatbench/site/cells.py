"""Every cell of every published table beside our rows of all experiments, and what may be said about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from splatbench.report.labels import count
from splatbench.report.reference import Reference, ReferenceRow, ReferenceTable, available_references, load_reference
from splatbench.report.verdict import JUDGED, Cause, Comparison, VerdictKind, compare
from splatbench.site.experiments import paper_experiments
from splatbench.site.facts import method_facts, method_of
from splatbench.site.page import Site
from splatbench.site.rows import SiteRow

#: In the order in which they are shown.
KINDS: tuple[VerdictKind, ...] = get_args(VerdictKind)

#: As `verdict.Cause`; "no code": this project does not have the method; "not repeated": not this variant of it, or no
#: run of ours can be this row.
MissingCause = Cause | Literal["no code", "not repeated"]


@dataclass(frozen=True)
class Cell:
    """One printed value of a paper.

    Attributes:
        table, title: address and title of its table's page.
        row: its row's place in the table, from 0.
        metric: its column; "seconds" for times.
        comparisons: one per family of ours that may stand in the row; the first one counts. Never empty.
        cause, reason: why there is no verdict with numbers; see `Verdict`.
        method: ours, by folder name; None where this project does not have it.
        files: experiment files of this project that ask for it with the paper's setting.
    """

    table: str
    title: str
    row: int
    metric: str
    comparisons: tuple[Comparison, ...]
    cause: MissingCause | None
    reason: str
    method: str | None
    files: tuple[str, ...]

    @property
    def counted(self) -> Comparison:
        """The comparison that the cell's verdict is of."""
        return self.comparisons[0]

    @property
    def kind(self) -> VerdictKind:
        return self.counted.verdict.kind

    @property
    def paper(self) -> ReferenceRow:
        return self.counted.paper

    @property
    def anchor(self) -> str:
        """Of the cell on its table's page."""
        return f"cell-{self.row + 1}-{self.metric.replace('_', '-')}"


@dataclass(frozen=True)
class Summary:
    """Counts of cells by verdict.

    Attributes:
        kinds: all kinds in their order, zeros included.
        caveats: of these, the cells with caveats; the kinds of `verdict.JUDGED`, zeros included.
        reproduced_range: the fewest and the most cells reproduced, over the variants of ours that may stand in rows
            of a paper that name none; `kinds` is of one of them.
    """

    kinds: dict[VerdictKind, int]
    caveats: dict[VerdictKind, int]
    reproduced_range: tuple[int, int]

    @property
    def cells(self) -> int:
        return sum(self.kinds.values())

    @property
    def comparable(self) -> int:
        """Cells with numbers of ours in the paper's setting but for their caveats."""
        return sum(self.kinds[kind] for kind in JUDGED)

    @property
    def reproduced(self) -> int:
        return self.kinds["reproduced"]

    @property
    def with_caveats(self) -> int:
        """Of the comparable cells those where the paper leaves something open, or does it otherwise."""
        return sum(self.caveats.values())

    @property
    def reproduced_with_caveats(self) -> int:
        return self.caveats["reproduced"]

    @property
    def open(self) -> bool:
        """Whether the number of reproduced cells depends on a variant that the paper does not name."""
        low, high = self.reproduced_range
        return low < high

    @property
    def reproduced_text(self) -> str:
        """How many were reproduced: "5", or "3 to 5"."""
        low, high = self.reproduced_range
        return f"{count(low)} to {count(high)}" if self.open else count(low)


@dataclass(frozen=True)
class PaperTable:
    """One published table: the cells in the paper's order, row by row.

    Attributes:
        page: its address, e.g. "verdicts/air-table1.html".
        metrics: its columns, "seconds" last.
    """

    page: str
    reference: Reference
    table: ReferenceTable
    metrics: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """As told apart from all others."""
        return _title(self.reference, self.table)

    @cached_property
    def summary(self) -> Summary:
        return count_kinds(self.cells)

    @cached_property
    def files(self) -> dict[str, int]:
        """Experiment files of this project, and how many of the cells each of them asks for."""
        return dict(Counter(file for cell in self.cells for file in cell.files))


@dataclass(frozen=True)
class Papers:
    """All published tables.

    Attributes:
        tables: in the order of the reference files.
        site_rows: the row of the site that a row of a comparison is of, by the identity of the object.
    """

    tables: tuple[PaperTable, ...]
    site_rows: dict[int, SiteRow]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for table in self.tables for cell in table.cells)

    @cached_property
    def summary(self) -> Summary:
        return count_kinds(self.cells)

    def of_method(self, method: str) -> list[Cell]:
        """Cells whose paper has this method, or beside which a row of it stands."""
        return [
            cell
            for cell in self.cells
            if cell.method == method
            or any(row.record.method == method for c in cell.comparisons for row in c.rows.values())
        ]


def papers(site: Site) -> Papers:
    """The published tables beside the rows of a site; made once for each site."""
    # As functools.cached_property does it: with the object, for as long as there is the object.
    store = vars(site)
    if "_papers" not in store:
        store["_papers"] = compare_papers(site.rows, map(load_reference, available_references()))
    found: Papers = store["_papers"]
    return found


def compare_papers(rows: Iterable[SiteRow], references: Iterable[Reference]) -> Papers:
    """Every table of some references beside rows of all experiments."""
    rows = list(rows)
    tables: list[PaperTable] = []
    for reference in references:
        found = compare(reference, [row.row for row in rows], paper_experiments().settings.get(reference.name))
        for number, table in enumerate(reference.tables, 1):
            several = f"-{number}" if len(reference.tables) > 1 else ""
            page = f"verdicts/{reference.name.replace('_', '-')}{several}.html"
            here = [comparison for comparison in found if comparison.table is table]
            cells = tuple(_cells(page, _title(reference, table), table, here))
            compared = {cell.metric for cell in cells}
            metrics = (*(name for name in table.metrics if name in compared), *sorted(compared - set(table.metrics)))
            tables.append(PaperTable(page, reference, table, metrics, cells))
    return Papers(tuple(tables), {id(row.row): row for row in rows})


def _title(reference: Reference, table: ReferenceTable) -> str:
    return reference.title if len(reference.tables) == 1 else f"{reference.title}: {table.table}"


def _cells(page: str, title: str, table: ReferenceTable, comparisons: Iterable[Comparison]) -> Iterable[Cell]:
    """The comparisons of a table, those of one printed value together."""
    places = {id(row): number for number, row in enumerate(table.rows)}
    groups: dict[tuple[int, str], list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((places[id(comparison.paper)], comparison.metric), []).append(comparison)
    for (row, metric), group in groups.items():
        ordered = tuple(sorted(group, key=_precedence))
        method = method_of(ordered[0].paper.family)
        cause, reason = _why(ordered[0], method)
        files = tuple(paper_experiments().files(ordered[0].reference.name, table, ordered[0].paper, metric))
        yield Cell(page, title, row, metric, ordered, cause, reason, method, files)


def _precedence(comparison: Comparison) -> tuple[int, bool, str]:
    """Which of several families of ours counts where the paper names none of them: one with a verdict before one
    without, then the paper's own name, then the alphabet. Never the one that comes nearest to the paper's value."""
    kind = comparison.verdict.kind
    place = 0 if kind in (*JUDGED, "only here") else 1 if kind == "not comparable" else 2
    return place, comparison.family != comparison.paper.family, comparison.family


def _why(comparison: Comparison, method: str | None) -> tuple[MissingCause | None, str]:
    """Why there is no number of ours, in words that hold for all experiments together; else the verdict's reason."""
    verdict, paper, dataset = comparison.verdict, comparison.paper, comparison.table.dataset
    if verdict.kind != "not run" or verdict.cause in ("metric", "failure"):
        return verdict.cause, verdict.reason
    if method is None:
        return "no code", f"{paper.family} is not a method of this project"
    if paper.not_repeated:
        return "not repeated", paper.not_repeated
    facts = method_facts()[method]
    if paper.family in facts.not_repeated:
        return "not repeated", facts.not_repeated[paper.family]
    if verdict.cause == "data set":
        return "data set", f"nothing was measured on {dataset} yet"
    if verdict.cause == "method":
        return "method", f"{paper.family} was not measured on {dataset} yet"
    return "budget", f"{comparison.family} was not measured with {paper.label} on {dataset} yet"


def count_kinds(cells: Iterable[Cell]) -> Summary:
    cells = list(cells)
    found = Counter(cell.kind for cell in cells)
    caveats = Counter(cell.kind for cell in cells if cell.counted.caveats)
    return Summary(
        {kind: found[kind] for kind in KINDS}, {kind: caveats[kind] for kind in JUDGED}, _reproduced_range(cells)
    )


def _reproduced_range(cells: Iterable[Cell]) -> tuple[int, int]:
    """Fewest and most: all rows of a method in one table are of one variant, those of two tables perhaps of two."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.table, cell.paper.family), []).append(cell)
    counts = [[n for _, n in reproduced_by_variant(group)] for group in groups.values()]
    return sum(min(each) for each in counts if each), sum(max(each) for each in counts if each)


def reproduced_by_variant(group: Iterable[Cell]) -> list[tuple[str, int]]:
    """Each family of ours with a verdict in one of the cells, and how many cells are reproduced if the paper meant it;
    cells where it has no verdict stay as they are counted."""
    group = list(group)
    families = dict.fromkeys(c.family for cell in group for c in cell.comparisons if c.verdict.kind in JUDGED)
    return [(family, sum(_kind_of(cell, family) == "reproduced" for cell in group)) for family in families]


def _kind_of(cell: Cell, family: str) -> VerdictKind:
    kinds = [c.verdict.kind for c in cell.comparisons if c.family == family and c.verdict.kind in JUDGED]
    return kinds[0] if kinds else cell.kind

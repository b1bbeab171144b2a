"""Why cells of papers' tables were not run, grouped, and what it would take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splatbench.datasets.manifest import available_datasets, load_manifest
from splatbench.site.cells import Cell, MissingCause, Papers, PaperTable
from splatbench.site.facts import method_facts


@dataclass(frozen=True)
class Step:
    """Something to do: a sentence, and the command where there is one."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Need:
    """Cells that were not run for one cause.

    Attributes:
        title: the cause.
        tables: those that the cells are of.
        steps: what it takes; empty where nothing can be done, which `title` says.
        hours: encode time by the papers' own numbers on their hardware; None where they print none.
        untimed: rows without such a number.
    """

    cause: MissingCause
    title: str
    cells: tuple[Cell, ...]
    tables: tuple[PaperTable, ...]
    steps: tuple[Step, ...]
    hours: float | None
    untimed: int


def needs(papers: Papers) -> list[Need]:
    """Every cell that was not run is in one of them; the largest group comes first."""
    groups: dict[tuple[MissingCause, str], list[Cell]] = {}
    for cell in papers.cells:
        if cell.kind == "not run":
            assert cell.cause is not None, "a cell that was not run has a cause"
            groups.setdefault((cell.cause, _subject(cell)), []).append(cell)
    by_page = {table.page: table for table in papers.tables}
    found = []
    for (cause, subject), cells in groups.items():
        tables = tuple(by_page[page] for page in dict.fromkeys(cell.table for cell in cells))
        hours, untimed = _hours(cells)
        steps = tuple(_steps(cause, cells, tables))
        found.append(Need(cause, subject, tuple(cells), tables, steps, hours, untimed))
    return sorted(found, key=lambda need: (not need.steps, -len(need.cells), need.title))


def _subject(cell: Cell) -> str:
    """What the cells of a group share, as a sentence."""
    dataset = cell.counted.table.dataset
    if cell.cause == "data set":
        return f"Nothing was measured on {dataset} yet"
    if cell.cause in ("method", "budget") and cell.method:
        title = method_facts()[cell.method].title
        what = "" if cell.cause == "method" else " with the paper's budget"
        return f"{title} was not measured on {dataset}{what} yet"
    if cell.cause == "no code":
        return "Methods that this project does not have"
    if cell.cause == "not repeated":
        return "Variants that this project does not repeat"
    return cell.reason[:1].upper() + cell.reason[1:]


def _steps(cause: MissingCause, cells: Sequence[Cell], tables: Sequence[PaperTable]) -> Iterable[Step]:
    if cause in ("no code", "not repeated", "metric", "failure"):
        return
    if cause == "data set":
        yield _data(cells[0].counted.table.dataset)
    if cause != "budget":
        for method in dict.fromkeys(cell.method for cell in cells if cell.method):
            facts = method_facts()[method]
            if facts.needs and any(cell.method == method and _official(cell) for cell in cells):
                yield Step(f"For {facts.title}: {facts.needs}.")
    files = dict.fromkeys(name for table in tables for name in table.experiments)
    if not files:
        yield Step("An experiment file for it: there is none in config/ yet.")
    for name in files:
        yield Step("Then run the experiment:", f"snakemake --cores all --configfile {name}")


def _official(cell: Cell) -> bool:
    """Whether the paper's own network is meant."""
    return method_facts()[cell.method].kind == "network" if cell.method else False


def _data(dataset: str) -> Step:
    if dataset not in available_datasets():
        return Step(f"The pictures: this project knows no address of {dataset}, so it has no manifest of them.")
    manifest = load_manifest(dataset)
    fetched = manifest.base_url or manifest.archives or manifest.generator or manifest.builtin
    if fetched or all(image.urls for image in manifest.entries()):
        return Step(f"The pictures ({manifest.title}):", f"splatbench data fetch {dataset}")
    return Step(
        f"The pictures ({manifest.title}), which a person has to get; this says where and how:",
        f"splatbench data fetch {dataset}",
    )


def _hours(cells: Iterable[Cell]) -> tuple[float | None, int]:
    """Sum over the rows of images times the seconds that the paper prints; and how many rows have none."""
    rows = {(cell.table, cell.row): cell for cell in cells}.values()
    timed = [cell.paper.seconds * cell.counted.table.images for cell in rows if cell.paper.seconds is not None]
    return sum(timed) / 3600 if timed else None, len(rows) - len(timed)

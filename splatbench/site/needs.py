"""Why cells of papers' tables were not run, grouped, and what it would take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splatbench.datasets.manifest import available_datasets, load_manifest
from splatbench.report.labels import heading, significant
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
        reasons: what else is known, each once.
        steps: what it takes; empty where `reasons` says all.
        time: all images of these rows by the papers' own encode times, on their hardware; empty where they print none.
        untimed: rows without such a time.
    """

    cause: MissingCause
    title: str
    cells: tuple[Cell, ...]
    tables: tuple[PaperTable, ...]
    reasons: tuple[str, ...]
    steps: tuple[Step, ...]
    time: str
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
        steps = tuple(_steps(cause, cells, tables))
        reasons = () if steps else tuple(dict.fromkeys(cell.reason for cell in cells))
        found.append(Need(cause, subject, tuple(cells), tables, reasons, steps, *_time(cells)))
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
    if cell.cause == "metric":
        return f"{heading(cell.metric)} was not measured"
    return {
        "no code": "Methods that this project does not have",
        "not repeated": "Variants that this project does not repeat",
    }.get(str(cell.cause), "Runs that gave nothing")


def _steps(cause: MissingCause, cells: Sequence[Cell], tables: Sequence[PaperTable]) -> Iterable[Step]:
    if cause not in ("data set", "method", "budget"):
        return
    if cause == "data set":
        yield _data(cells[0].counted.table.dataset)
    methods = list(dict.fromkeys(cell.method for cell in cells if cell.method))
    for facts in (method_facts()[method] for method in methods if cause != "budget"):
        if facts.needs:
            yield Step(f"For {facts.title}: {facts.needs}.")
    files = list(dict.fromkeys(file for table in tables for file in table.files(methods)))
    if not files:
        yield Step("An experiment file: none in config/ asks for these cells yet.")
    for file in files:
        yield Step("The experiment:", f"snakemake --cores all --configfile {file}")


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


def _time(cells: Iterable[Cell]) -> tuple[str, int]:
    """Sum over the rows of images times the seconds that the paper prints; and how many rows have none."""
    rows = {(cell.table, cell.row): cell for cell in cells}.values()
    timed = [cell.paper.seconds * cell.counted.table.images for cell in rows if cell.paper.seconds is not None]
    return duration(sum(timed)) if timed else "", len(rows) - len(timed)


def duration(seconds: float) -> str:
    """In the unit that suits."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds)} seconds"

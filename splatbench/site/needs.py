"""Why cells of papers' tables were not run, grouped, and what it would take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splatbench.datasets.manifest import available_datasets, load_manifest
from splatbench.report.labels import count, heading, significant
from splatbench.site.cells import Cell, MissingCause, Papers, PaperTable
from splatbench.site.facts import method_facts


@dataclass(frozen=True)
class Step:
    """Something to do: a sentence, and the command where there is one.

    Attributes:
        cells: those that it is for; empty: all of the need.
    """

    text: str
    command: str = ""
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Need:
    """Cells that were not run for one cause.

    Attributes:
        title: the cause.
        tables: those that the cells are of.
        reasons: what else is known, each once.
        steps: what it takes; empty where `reasons` says all.
        time: all images of these rows by the papers' own encode times, on their hardware; empty where they print none.
            Stages of one run count once, with the longest time.
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
        steps = tuple(_steps(cause, cells))
        reasons = () if steps else tuple(dict.fromkeys(cell.reason for cell in cells))
        found.append(Need(cause, subject, tuple(cells), tables, reasons, steps, *_time(cells)))
    return sorted(found, key=lambda need: (not need.steps, -len(need.cells), need.title))


def _subject(cell: Cell) -> str:
    """What the cells of a group share, as a sentence."""
    dataset = cell.counted.table.dataset
    if cell.cause == "data set":
        return f"Nothing was measured on {dataset} yet"
    if cell.cause in ("method", "budget") and cell.method:
        what = "" if cell.cause == "method" else " with the paper's budget"
        return f"{cell.paper.family} was not measured on {dataset}{what} yet"
    if cell.cause == "metric":
        return f"{heading(cell.metric)} was not measured"
    return {
        "no code": "Methods that this project does not have",
        "not repeated": "Rows that this project does not repeat",
    }.get(str(cell.cause), "Runs that gave nothing")


def _steps(cause: MissingCause, cells: Sequence[Cell]) -> Iterable[Step]:
    if cause not in ("data set", "method", "budget"):
        return
    if cause == "data set":
        yield _data(cells[0].counted.table.dataset)
    methods = list(dict.fromkeys(cell.method for cell in cells if cell.method))
    for facts in (method_facts()[method] for method in methods if cause != "budget"):
        if facts.needs:
            yield Step(f"For {facts.title}: {facts.needs}.")
    yield from _experiments(cells)


def _experiments(cells: Sequence[Cell]) -> Iterable[Step]:
    """The files that ask for cells with the papers' setting, and how many of these each of them fills."""
    for file in dict.fromkeys(file for cell in cells for file in cell.files):
        filled = tuple(cell for cell in cells if file in cell.files)
        yield Step(
            f"This experiment fills {_share(filled, cells)}:", f"snakemake --cores all --configfile {file}", filled
        )
    if unasked := tuple(cell for cell in cells if not cell.files):
        yield Step(f"An experiment file: none in config/ asks for {_share(unasked, cells)} yet.", cells=unasked)


def _share(some: Sequence[Cell], cells: Sequence[Cell]) -> str:
    if len(cells) == 1:
        return "this cell"
    return "these cells" if len(some) == len(cells) else f"{count(len(some))} of these cells"


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
    """Sum over the runs behind the rows of images times the seconds that the paper prints; and how many rows have none.

    Rows with a stage of a run (`snapshot`) have the time up to there: the longest is that of the run.
    """
    rows = {(cell.table, cell.row): cell for cell in cells}
    runs: dict[tuple[str, object], float] = {}
    for (table, number), cell in rows.items():
        if cell.paper.seconds is not None:
            run = (table, cell.paper.family if cell.paper.snapshot else number)
            runs[run] = max(runs.get(run, 0.0), cell.paper.seconds * cell.counted.table.images)
    untimed = sum(cell.paper.seconds is None for cell in rows.values())
    return duration(sum(runs.values())) if runs else "", untimed


def duration(seconds: float) -> str:
    """In the unit that suits."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds)} seconds"

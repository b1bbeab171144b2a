"""The papers' tables, cell by cell: what they print, what we measured, and whether that reproduces them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from splatbench.report.content import doubts, printed
from splatbench.report.csv_text import to_csv_text
from splatbench.report.labels import COLUMN_TITLES, MISSING, heading, meaning, number, signed
from splatbench.report.reference import ReferenceRow
from splatbench.report.verdict import JUDGED, Comparison, obstacles, outcome_text, setting, tolerances_text
from splatbench.site.addresses import dataset_address
from splatbench.site.cells import KINDS, Cell, Papers, PaperTable, Summary, papers, reproduced_by_variant
from splatbench.site.needs import needs
from splatbench.site.page import Data, Page, Site

_STYLES = ("assets/verdicts.css",)

#: Our columns that may stand beside a paper's value.
COLUMNS = ("published", "corrected", "ours")

KIND_MEANINGS = {
    "reproduced": "The paper's setting but for the cell's caveats, and the difference is within the tolerance.",
    "better": "The paper's setting but for the cell's caveats, and ours is better by more than the tolerance.",
    "worse": "The paper's setting but for the cell's caveats, and ours is worse by more than the tolerance.",
    "only here": "The paper prints a word (Fail, OOM) where we have a number.",
    "not comparable": "Measured, but not in the paper's setting; each cell says what differs.",
    "not run": "No number of ours; each cell says why.",
}

#: Columns of papers that are shown and never compared.
EXTRAS = {
    "render_fps": "Frames per second",
    "render_ms": "Render [ms]",
    "iterations_per_second": "Iterations per second",
    "gpu_memory_mib": "GPU memory [MiB]",
    "gpu_memory_gb": "GPU memory [GB]",
    "parameters": "Parameters",
    "best_psnr": "Best PSNR in training [dB]",
    "utilisation": "Utilisation",
}

CONFIDENCE = {
    "printed": "read in the paper's table",
    "logs": "read in run logs that the authors published",
    "second_hand": "taken from a published summary of the paper",
    "figure": "read off a plot, about ±0.1 dB",
    "unconfirmed": "not confirmed",
}


def summary(site: Site) -> Summary:
    """How many cells of all published tables were reproduced."""
    return papers(site).summary


def cells(site: Site) -> tuple[Cell, ...]:
    """Every cell of every published table."""
    return papers(site).cells


@dataclass(frozen=True)
class Ours:
    """A value of ours beside a paper's: text, why it may not be compared, and the leaderboard's row that it is of."""

    text: str
    hint: str
    address: str
    other: bool


@dataclass(frozen=True)
class Line:
    """One family of ours beside one cell.

    Attributes:
        paper: the paper's value, over the images that ours has where the paper gives them; whole: as printed.
        counts: whether the verdict is the cell's.
    """

    cell: Cell
    comparison: Comparison
    ours: dict[str, Ours | None]
    paper: str
    whole: str
    difference: str
    setting: str
    why: str
    counts: bool


def pages(site: Site) -> Iterator[Page | Data]:
    found = papers(site)
    yield Data("data/verdicts.csv", _csv(found).encode())
    yield Page(
        "verdicts.html",
        "verdicts.html.j2",
        "Did the papers' numbers reproduce?",
        "verdicts",
        {
            "papers": found,
            "needs": needs(found),
            "dataset_address": dataset_address,
            "kinds": KINDS,
            "kind_meanings": KIND_MEANINGS,
            "tolerances": tolerances_text(cell.metric for cell in found.cells),
        },
        styles=_STYLES,
    )
    for table in found.tables:
        yield Page(table.page, "verdict.html.j2", table.title, "verdicts", _context(found, table), (), _STYLES)


def _context(found: Papers, table: PaperTable) -> dict[str, object]:
    lines = [
        _line(found, cell, comparison)
        for cell in table.cells
        for comparison in cell.comparisons
        if comparison.basis and comparison.ours(comparison.basis) is not None
    ]
    notes = _notes(table)
    return {
        "table": table,
        "dataset_address": dataset_address,
        "kinds": KINDS,
        "kind_meanings": KIND_MEANINGS,
        "columns": [c for c in COLUMNS if c != "ours" or any(line.ours["ours"] for line in lines)],
        "column_titles": COLUMN_TITLES,
        "extras": {name: title for name, title in EXTRAS.items() if any(name in r.extra for r in table.table.rows)},
        "lines": lines,
        "open_rows": _open_rows(table),
        "notes": notes,
        "note_of": {i: list(notes).index(text) + 1 for i, row in enumerate(table.table.rows) if (text := _note(row))},
        "confidence": _confidence(table),
        "doubts": {mark for cell in table.cells for mark in doubts(cell.counted)},
        "grid": {(cell.row, cell.metric): _line(found, cell, cell.counted) for cell in table.cells},
        "metric_headings": {name: heading(_quantity(name)) for name in table.metrics},
        "metric_meanings": {name: meaning(_quantity(name)) for name in table.metrics},
        "needs": needs(Papers((table,), found.site_rows)),
        "files": table.files,
        "tolerances": tolerances_text(cell.metric for cell in table.cells),
        "extra_text": _extra_text,
    }


def _open_rows(table: PaperTable) -> list[tuple[str, int, list[tuple[str, int]]]]:
    """Methods of the paper for whose rows several variants of ours may stand: cells that could be compared, and how
    many of them each variant reproduces."""
    found = []
    for family in dict.fromkeys(cell.paper.family for cell in table.cells):
        group = [cell for cell in table.cells if cell.paper.family == family and cell.kind in JUDGED]
        variants = reproduced_by_variant(group)
        if len(variants) > 1:
            found.append((family, len(group), variants))
    return found


def _line(found: Papers, cell: Cell, comparison: Comparison) -> Line:
    return Line(
        cell=cell,
        comparison=comparison,
        ours={column: _ours(found, comparison, column) for column in COLUMNS},
        paper=printed(comparison) + doubts(comparison),
        whole=printed(replace(comparison, value=_whole(comparison))) + doubts(comparison),
        # Seconds of two machines: their difference would look like a finding.
        difference=MISSING if cell.metric == "seconds" else signed(comparison.deviation, cell.metric),
        setting=setting(comparison),
        why=comparison.why if comparison.caveats or comparison is not cell.counted else cell.reason,
        counts=comparison is cell.counted,
    )


def _ours(found: Papers, comparison: Comparison, column: str) -> Ours | None:
    value = comparison.ours(column)
    if value is None:
        return None
    row = comparison.rows[column]
    site_row = found.site_rows[id(row)]
    differences = obstacles(comparison.paper, row)
    over = f"{len(comparison.images) or len(row.images)} images, {row.budget}"
    hint = "; ".join([f"{site_row.label}, {COLUMN_TITLES[column]}: {over}", *differences])
    return Ours(number(value, _quantity(comparison.metric)), hint, f"leaderboard.html#{site_row.id}", bool(differences))


def _whole(comparison: Comparison) -> float | None:
    """The value that the paper prints, whatever images ours has."""
    paper, metric = comparison.paper, comparison.metric
    return paper.seconds if metric == "seconds" else paper.metrics.get(metric)


def _quantity(metric: str) -> str:
    return "encode_seconds" if metric == "seconds" else metric


def _note(row: ReferenceRow) -> str:
    """What must be known of a row of a paper."""
    return " ".join(filter(None, [row.note, row.incomparable and f"Not comparable: {row.incomparable}."]))


def _notes(table: PaperTable) -> dict[str, None]:
    return dict.fromkeys(text for row in table.table.rows if (text := _note(row)))


def _confidence(table: PaperTable) -> list[str]:
    """How the paper's values of a table were read."""
    kinds = dict.fromkeys(row.confidence for row in table.table.rows)
    if len(kinds) == 1:
        return [f"The values were {CONFIDENCE[kind]}." for kind in kinds]
    rows = {kind: dict.fromkeys(r.family for r in table.table.rows if r.confidence == kind) for kind in kinds}
    return [f"{', '.join(families)}: {CONFIDENCE[kind]}." for kind, families in rows.items()]


def _extra_text(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.10g}".replace(",", "\u202f")


_CSV_PAPER = ("reference", "table", "dataset", "row", "family", "n", "compression_ratio", "iterations", "images")
_CSV_OURS = (
    "our_family",
    "as_published",
    "corrected",
    "ours",
    "judged",
    "difference",
    "verdict",
    "cause",
    "reason",
    "caveats",
)


def _csv(found: Papers) -> str:
    """Every cell, and every family of ours beside it; numbers unrounded, one heading line."""
    lines: list[list[object]] = []
    rows = [f"row_{column}" for column in COLUMNS]
    lines.append([*_CSV_PAPER, "metric", "paper", "confidence", "confirmed", "second_hand", *_CSV_OURS,
                     "counts", *rows, "page", "citation", "url"])  # fmt: skip
    for table in found.tables:
        source = table.reference.source
        for cell in table.cells:
            place = f"{table.page}#{cell.anchor}"
            lines += [
                [*_csv_paper(table, cell), *_csv_ours(found, cell, comparison), place, source.citation, source.url]
                for comparison in cell.comparisons
            ]
    return to_csv_text(lines)


def _csv_paper(table: PaperTable, cell: Cell) -> list[object]:
    paper, comparison = cell.paper, cell.counted
    value = comparison.value if comparison.value is not None else outcome_text(paper)
    return [
        table.reference.name,
        table.table.table,
        table.table.dataset,
        cell.row + 1,
        paper.family,
        paper.n,
        paper.compression_ratio,
        paper.iterations,
        table.table.images,
        cell.metric,
        value,
        paper.confidence,
        "yes" if comparison.confirmed else "no",
        "yes" if paper.second_hand else "no",
    ]


def _csv_ours(found: Papers, cell: Cell, comparison: Comparison) -> list[object]:
    verdict = comparison.verdict
    counted = comparison is cell.counted
    ids = [found.site_rows[id(comparison.rows[column])].id if column in comparison.rows else None for column in COLUMNS]
    return [
        comparison.family,
        *(comparison.ours(column) for column in COLUMNS),
        comparison.basis,
        comparison.deviation,
        verdict.kind,
        cell.cause if counted else verdict.cause,
        cell.reason if counted else verdict.reason,
        "; ".join(comparison.caveats),
        "yes" if counted else "no",
        *ids,
    ]

"""The tables of a report: results per data set and track, controls, and the papers beside ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from splatbench.budget import NOMINAL_BYTES_PER_GAUSSIAN, RATE_TOLERANCE
from splatbench.metrics import REGISTRY
from splatbench.report.aggregate import TARGET_TOLERANCE, Row, metric_names
from splatbench.report.labels import (
    COLUMN_TITLES,
    MISSING,
    budget_label,
    count,
    heading,
    meaning,
    number,
    signed,
    significant,
)
from splatbench.report.reference import OUTCOMES
from splatbench.report.settings import ReportSettings
from splatbench.report.tables import Cell, Column, Table, text_cell
from splatbench.report.verdict import Comparison, setting, tolerances_text

TRACK_TITLES = {"gaussians": "equal Gaussians", "bytes": "equal bytes", "controls": "controls"}

#: Quantities shown in tables of means, after the metrics.
_RATES, _COSTS = (
    ("bpp", "nominal_bpp"),
    ("encode_seconds", "decode_seconds", "peak_memory_mib", "energy_joules"),
)

#: What the narrow pages of LaTeX do without.
_NOT_ON_PAPER = {"psnr_u8", "nominal_bpp", "peak_memory_mib", "energy_joules"}

#: Bits per pixel of what is compressed: 8 for each of red, green and blue.
_RAW_BPP = 24
_RATIO_COLUMNS = (
    Column("bpp_ratio", "CR, real", True, f"Compression ratio: {_RAW_BPP} bit/pixel over the real rate."),
    Column(
        "nominal_ratio",
        "CR, nominal",
        True,
        f"Compression ratio with {NOMINAL_BYTES_PER_GAUSSIAN} bytes per Gaussian, as SmartSplat counts: 3HW / (7N), "
        "whatever a file holds.",
        on_paper="left out",
    ),
)


def slug(text: str) -> str:
    """Part of a name for files and anchors: at most 60 letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "x"


def dataset_ids(datasets: Iterable[str]) -> dict[str, str]:
    """Data set -> a name for files and anchors; two data sets never share one."""
    found: dict[str, str] = {}
    for dataset in dict.fromkeys(datasets):
        identity, number = slug(dataset), 2
        while identity in found.values():
            identity, number = f"{slug(dataset)}-{number}", number + 1
        found[dataset] = identity
    return found


# -- means -------------------------------------------------------------------------------------------------------------


def result_tables(rows: Sequence[Row], settings: ReportSettings) -> list[Table]:
    """One table per data set and track, controls last; never two tracks in one table."""
    tables = []
    for dataset, identity in dataset_ids(row.record.dataset for row in rows).items():
        for track, title in TRACK_TITLES.items():
            chosen = _sorted([row for row in rows if row.record.dataset == dataset and row.track == track])
            if chosen:
                table = _means_table(f"{identity}-{track}", f"{dataset}: {title}", chosen, settings)
                tables.append(replace(table, dataset=dataset, track=track))
    return tables


def _means_table(identity: str, title: str, rows: list[Row], settings: ReportSettings) -> Table:
    metrics = metric_names([row.record for row in rows])
    shared = settings.rank_by
    columns = [
        Column("order", f"Order by {_title(shared)}", True, _order_meaning(shared)),
        Column("method", "Method"),
        Column("column", "Column"),
        Column("budget", "Budget"),
        Column("seed", "Seed", True),
        Column("iterations", "Iterations", True, "all optimisation steps, quantisation-aware ones included"),
        Column("n", "N", True, meaning("n_actual")),
        *(_measured(name) for name in metrics),
        Column(
            f"{shared}_common",
            f"{_title(shared)} on shared images",
            True,
            "mean over the images that all rows in the order have",
        ),
        *(_measured(name) for name in _RATES),
        *_RATIO_COLUMNS,
        *(_measured(name) for name in _COSTS),
        Column("images", "Images", True, "results of images in the experiment"),
        Column("device", "Device", on_paper="left out"),
        Column("note", "Remarks", on_paper="note"),
    ]
    several_seeds = len({row.record.seed for row in rows}) > 1
    several_devices = len({row.devices for row in rows}) > 1
    best = _best_values(rows, metrics)
    partial = any(row.common and row.common != len(row.images) for row in rows)
    body = []
    for row in rows:
        cells = [
            _order_cell(row, rows),
            text_cell(row.label),
            Cell(COLUMN_TITLES[row.record.column], row.record.column if row.track != "controls" else None),
            text_cell(budget_label(row.record.budget, iterations=False)),
            Cell(str(row.record.seed), row.record.seed if several_seeds else None),
            Cell(MISSING if row.steps is None else count(row.steps), row.steps),
            _mean_cell(row, "n_actual", settings),
            *(_mean_cell(row, name, settings, best) for name in metrics),
            Cell(number(row.common_mean, shared, settings.decimals), row.common_mean if partial else None),
            *(_mean_cell(row, name, settings) for name in _RATES),
            _ratio_cell(row.means.get("bpp")),
            _ratio_cell(_rate_by_count(row)),
            *(_mean_cell(row, name, settings) for name in _COSTS),
            Cell(f"{len(row.images)} of {row.total}", f"{len(row.images)} of {row.total}", _completeness(row)),
            Cell(", ".join(row.devices), ", ".join(row.devices) if several_devices else None),
            text_cell(_remarks(row)),
        ]
        body.append(cells)
    table = Table(identity, title, columns, body, _means_notes(rows, settings))
    return table.without_empty_columns(keep=("method", "budget", "n", *metrics))


def _measured(name: str) -> Column:
    return Column(name, heading(name), True, meaning(name), "left out" if name in _NOT_ON_PAPER else "column")


def _sorted(rows: list[Row]) -> list[Row]:
    """Rows of the same target together, the best first, those out of the order last. Controls stay as they are: the
    same quality of two codecs is no common target."""
    if rows and rows[0].track == "controls":
        return rows
    targets = list(dict.fromkeys(row.target for row in rows))
    return sorted(rows, key=lambda row: (targets.index(row.target), row.rank or len(rows) + 1))


def _title(name: str) -> str:
    return REGISTRY[name].title if name in REGISTRY else name


def _completeness(row: Row) -> str:
    return "" if len(row.images) == row.total else "partial"


def _order_meaning(name: str) -> str:
    return (
        f"order of the means of {_title(name)}, not a claim that differences are significant: the site's leaderboard "
        "tests that"
    )


def _order_cell(row: Row, rows: list[Row]) -> Cell:
    if row.rank is None:
        return Cell(MISSING, None, "muted", row.unranked or "")
    equals = [r for r in rows if r.rank == row.rank and r.target == row.target and r.track == row.track]
    hint = f"of {row.rank_of} with {row.target}, on {row.common} images"
    return Cell(f"{row.rank}{'=' if len(equals) > 1 else ''}", row.rank, hint=hint)


def _best_values(rows: list[Row], metrics: list[str]) -> set[tuple[int, str]]:
    """Best value in the order per target and metric, to be set in bold; only where rows have the same images."""
    found: set[tuple[int, str]] = set()
    for target in {row.target for row in rows}:
        ranked = [row for row in rows if row.target == target and row.rank is not None]
        for name in metrics:
            values = {id(row): row.means[name] for row in ranked if name in row.means}
            if len(values) < 2 or len({row.images for row in ranked}) > 1:
                continue
            lower = name in REGISTRY and REGISTRY[name].direction == "lower"
            extreme = min(values.values()) if lower else max(values.values())
            found |= {(identity, name) for identity, value in values.items() if value == extreme}
    return found


def _mean_cell(row: Row, name: str, settings: ReportSettings, best: Iterable[tuple[int, str]] = ()) -> Cell:
    value = row.means.get(name)
    if value is None:
        reasons = row.not_run.get(name, ())
        return Cell("not run" if reasons and row.images else MISSING, None, "muted", "; ".join(reasons))
    text = number(value, name, settings.decimals)
    hint = ""
    if name in row.spreads and name not in ("n_actual", "bytes"):
        values = row.values[name].values()
        low, high = (number(v, name, settings.decimals) for v in (min(values), max(values)))
        hint = f"± {number(row.spreads[name], name, settings.decimals)} over {row.counts[name]} images, {low} to {high}"
    if row.counts[name] != len(row.images):
        text += f" ({row.counts[name]} of {len(row.images)})"
    return Cell(text, value, "best" if (id(row), name) in set(best) else "", hint)


def _rate_by_count(row: Row) -> float | None:
    """Mean bit/pixel with 7 bytes per Gaussian; None where there are no Gaussians."""
    counts, rates, lengths = (row.values.get(name, {}) for name in ("n_actual", "bpp", "bytes"))
    nominal = [NOMINAL_BYTES_PER_GAUSSIAN * n * rates[i] / lengths[i] for i, n in counts.items() if i in lengths]
    return sum(nominal) / len(nominal) if nominal else None


def _ratio_cell(rate: float | None) -> Cell:
    """The compression ratio of a mean rate; a mean of ratios would be that of the easiest images."""
    ratio = _RAW_BPP / rate if rate else None
    return Cell(MISSING if ratio is None else significant(ratio), ratio, "muted" if ratio is None else "")


def _remarks(row: Row) -> str:
    parts = [f"{status.replace('_', ' ')}: {n}" for status, n in row.statuses.items()]
    if row.rank is None and row.unranked and row.track != "controls":
        parts.append(f"not in the order: {row.unranked}")
    return "; ".join(parts)


def _means_notes(rows: list[Row], settings: ReportSettings) -> list[str]:
    notes = ["Means are arithmetic means of per-image values over the images that succeeded (column Images)."]
    if any(row.rank is not None for row in rows):
        notes.append(
            f"Order by {_title(settings.rank_by)}: an {_order_meaning(settings.rank_by)}. It is among rows with the "
            "same budget, on the images that all of these rows have. A row whose N is more than "
            f"{100 * TARGET_TOLERANCE:g} % off its target on any image, or whose rate {100 * RATE_TOLERANCE:g} %, is "
            "not in it."
        )
    commons = {(row.target, row.common) for row in rows if row.rank is not None and row.common != row.total}
    notes += [f"{target}: ordered on {n} shared images." for target, n in sorted(commons)]
    if any("nominal_bpp" in row.means for row in rows):
        notes.append("Real rates are lengths of files; nominal rates are the papers' formulas and no file's size.")
    return notes


# -- papers ------------------------------------------------------------------------------------------------------------


def paper_table(identity: str, comparisons: Sequence[Comparison], settings: ReportSettings) -> Table:
    """One paper's table beside ours, value by value."""
    first = comparisons[0]
    columns = [
        Column("method", "Method"),
        Column("setting", "Paper's setting"),
        Column("metric", "Metric"),
        Column("paper", "Paper", True),
        Column("published", "As published", True, "ours, with the published behaviour, known errors included"),
        Column("corrected", "Corrected", True, "ours, with the exact mathematics"),
        Column("ours", "Ours", True),
        Column("deviation", "Deviation", True, "ours minus the paper's; of the as-published column where there is one"),
        Column("verdict", "Verdict"),
        Column("reason", "Why", on_paper="note"),
    ]
    rows = [_paper_row(comparison, settings) for comparison in comparisons]
    title = f"{first.reference.title}: {first.table.table}, {first.table.dataset}"
    if first.table.table in first.reference.title:
        title = first.reference.title
    return Table(identity, title, columns, rows, _paper_notes(comparisons)).without_empty_columns(
        keep=("paper", "published", "corrected", "deviation", "verdict")
    )


def _paper_row(comparison: Comparison, settings: ReportSettings) -> list[Cell]:
    metric = comparison.metric
    name = "encode_seconds" if metric == "seconds" else metric
    verdict = comparison.verdict
    return [
        text_cell(comparison.family or comparison.paper.family),
        text_cell(
            setting(comparison), hint="; ".join(filter(None, [", ".join(comparison.images), comparison.paper.note]))
        ),
        text_cell(heading(name)),
        Cell(printed(comparison) + doubts(comparison), comparison.value or comparison.paper.outcome, "paper"),
        *(
            Cell(number(comparison.ours(c), name, settings.decimals), comparison.ours(c))
            for c in ("published", "corrected", "ours")
        ),
        Cell(
            signed(comparison.deviation, name, settings.decimals),
            comparison.deviation,
            hint=_basis(comparison, settings),
        ),
        text_cell(verdict.kind + (", with caveats" if comparison.caveats else ""), kind=slug(verdict.kind)),
        text_cell(comparison.why),
    ]


def printed(comparison: Comparison) -> str:
    """The paper's value with as many digits as the paper prints, or its word."""
    if comparison.value is None:
        return OUTCOMES[comparison.paper.outcome] if comparison.paper.outcome else MISSING
    digits = comparison.table.decimals.get(comparison.metric)
    if digits is None:
        return f"{comparison.value:,.10g}".replace(",", "\u202f")
    return number(comparison.value, comparison.metric, {comparison.metric: digits})


def doubts(comparison: Comparison) -> str:
    """Marks of a paper's value: * its transcription is unconfirmed, † it is not of the method's own authors."""
    return ("*" if not comparison.confirmed else "") + ("†" if comparison.paper.second_hand else "")


def _basis(comparison: Comparison, settings: ReportSettings) -> str:
    if comparison.basis is None:
        return ""
    text = f"of the column “{COLUMN_TITLES[comparison.basis]}”"
    if len(comparison.images) < 2:
        return text
    ours, paper = comparison.rows[comparison.basis].values[comparison.metric], comparison.paper.images
    deviations = {name: ours[name] - paper[name][comparison.metric] for name in comparison.images}
    image = max(deviations, key=lambda name: abs(deviations[name]))
    return f"{text}; largest of one image: {signed(deviations[image], comparison.metric, settings.decimals)} ({image})"


def _paper_notes(comparisons: Sequence[Comparison]) -> list[str]:
    first = comparisons[0]
    place = first.table.table + (f", page {first.table.page}" if first.table.page else "")
    notes = [f"Paper: {first.reference.source.citation}, {place}.", *first.table.protocol]
    bases = {comparison.basis for comparison in comparisons} - {None}
    if bases:
        notes.append(
            "Deviation and verdict are of the as-published column where it was run, else of the corrected one. "
            f"Reproduced means within: {tolerances_text(c.metric for c in comparisons)}."
        )
    notes += _row_notes(comparisons)
    if any(not c.confirmed for c in comparisons):
        notes.append("* The transcription of this value is unconfirmed.")
    if any(c.paper.second_hand for c in comparisons):
        notes.append("† Not reported by the method's own authors.")
    return notes


def _row_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Notes on the paper's rows, each once; those that the column "Why" has are left out."""
    shown: dict[str, dict[str, dict[str, None]]] = {}  # family -> note -> labels of the rows
    for comparison in comparisons:
        note = "" if comparison.verdict.kind == "only here" else comparison.paper.note
        shown.setdefault(comparison.paper.family, {}).setdefault(note, {})[comparison.paper.label] = None
    return [
        f"{family}: {note}" if len(notes) == 1 else f"{family} ({', '.join(labels)}): {note}"
        for family, notes in shown.items()
        for note, labels in notes.items()
        if note
    ]

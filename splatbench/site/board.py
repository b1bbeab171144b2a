"""The leaderboard: its page, what its scripts read, and all rows as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from splatbench.metrics import REGISTRY
from splatbench.report.csv_text import to_csv_text
from splatbench.report.labels import COLUMN_TITLES, DECIMALS, QUANTITIES, heading, meaning, target_label
from splatbench.report.verdict import single_errors
from splatbench.site.compact import compact
from splatbench.site.devices import devices
from splatbench.site.intervals import mean_intervals, row_intervals
from splatbench.site.page import Data, Page, Site, script
from splatbench.site.pairs import pairs
from splatbench.site.ranking import RANK_BY, Board, boards
from splatbench.site.rows import SiteRow
from splatbench.site.variants import variants

#: Quantities that the leaderboard shows beside the metrics; the last one only where a record has it.
_QUANTITIES = ("n_actual", "bpp", "nominal_bpp", "encode_seconds", "decode_seconds", "peak_memory_mib", "energy_joules")

#: Quantities that are seen only when a reader asks for more columns, so that the others fit a screen.
_MORE = ("psnr_u8", "nominal_bpp", "decode_seconds", "peak_memory_mib", "energy_joules")

#: Boards with more ranked rows do not say of each pair who is better.
MOST_COMPARED = 100

TRACKS = {
    "gaussians": "Equal Gaussians",
    "bytes": "Equal bytes",
    "controls": "Controls and classical codecs",
}


@dataclass(frozen=True)
class Column:
    """One column of the leaderboard: `digits` None means three significant ones."""

    key: str
    heading: str
    meaning: str
    numeric: bool = False
    digits: int | None = None
    better: str = ""  # "higher" or "lower", where one is better
    more: bool = False  # seen when a reader asks for more columns


def pages(site: Site) -> Iterator[Page | Data]:
    found = boards(site.rows, site.metrics)
    names = numbers(site)
    yield Data("data/board.js", script("board", board_data(site, found, names)))
    yield Data("data/pairs.js", script("pairs", pairs(found)))
    yield Data("data/leaderboard.csv", _csv(site, found, names).encode())
    yield Page(
        path="leaderboard.html",
        template="leaderboard.html.j2",
        title="Leaderboard",
        section="leaderboard",
        context={"columns": columns(names), "rank_by": heading(RANK_BY)},
        scripts=(
            "assets/vendor/d3.min.js",
            "assets/vendor/plot.umd.min.js",
            "data/board.js",
            "assets/sort.js",
            "assets/board-data.js",
            "assets/plots.js",
            "assets/pairs.js",
            "assets/board-row.js",
            "assets/board.js",
        ),
        styles=("assets/plots.css", "assets/board.css"),
    )


def numbers(site: Site) -> list[str]:
    """Metrics and quantities that the leaderboard shows, in its order."""
    measured = [name for name in _QUANTITIES if any(name in row.row.means for row in site.rows)]
    return [*site.metrics, *measured]


def columns(names: Sequence[str]) -> list[Column]:
    """The columns, in their order, with what each means."""
    quantities = {name: _number(name) for name in names}
    metrics = [column for name, column in quantities.items() if name in REGISTRY or name not in QUANTITIES]
    others = [column for name, column in quantities.items() if name in QUANTITIES and name != "n_actual"]
    return [
        Column(
            "rank",
            "Rank",
            f"Range of ranks by {heading(RANK_BY)} that a row may have within its board: same data set, same kind of "
            "budget, same target. Two rows get different ranks only where Wilcoxon's signed-rank test tells them apart "
            "on the images that all ranked rows share (5 %, corrected over all pairs after Holm). A dash says by its "
            "hint why there is none.",
            numeric=True,
        ),
        Column("label", "Method", "The method and its variant; the link leads to its page."),
        Column(
            "column",
            "Column",
            "As published: repeats the published code, known faults included. Corrected: these faults mended. "
            "Ours: a method or weights of this project. Authors' code, other code: not of this project, run in a "
            "container or read from files. Control: not a Gaussian method, or one that shows what a "
            "trivial answer gets; never ranked.",
        ),
        Column(
            "budget",
            "Budget",
            "What the method was given: a count, a rate, a quality, limits on steps or time. With one board chosen, "
            "what is not in its name; a dash says that nothing else was given.",
        ),
        *([quantities["n_actual"]] if "n_actual" in quantities else []),
        Column("steps", "Steps", "Fitting steps per image; a dash where they differ between images.", True, 0),
        Column("images", "Images", "Images with a result, of those that the data set has in the records.", True, 0),
        *metrics,
        *others,
        Column("seeds", "Seeds", "Seeds; with several, the standard deviation over them of the mean PSNR.", True, 0),
        Column(
            "device",
            "Device",
            "What the encoder ran on, and with how many threads. Times of different devices are not comparable.",
        ),
        Column(
            "remarks",
            "Remarks",
            "Stale: today's code, settings or packages might give another result. Partial: some images are missing. "
            "Failures, and why a row is not ranked.",
        ),
    ]  # fmt: skip


def _number(name: str) -> Column:
    better = REGISTRY[name].direction if name in REGISTRY else ""
    return Column(name, heading(name), meaning(name), True, DECIMALS.get(name), better, name in _MORE)


def board_data(site: Site, found: Sequence[Board], names: Sequence[str]) -> dict[str, Any]:
    """What `assets/board-data.js` reads: boards, columns and rows; numbers of a row in the order of `numbers`."""
    told_apart = variants(site.rows)
    known = row_intervals(site)
    intervals = [known.get(row.id) for row in site.rows]
    place = {row.id: index for index, board in enumerate(found) for row in board.rows}
    shared = [dict.fromkeys(board.images) for board in found]
    subsets = [_subset(row, shared[place[row.id]]) for row in site.rows]
    shared_intervals = mean_intervals([list((values or {}).values()) for values in subsets])
    return {
        "rankBy": RANK_BY,
        "numbers": names,
        "tracks": TRACKS,
        "columnTitles": COLUMN_TITLES,
        "columns": [
            {"key": c.key, "heading": c.heading, "meaning": c.meaning, "numeric": c.numeric, "digits": c.digits,
             "better": c.better, "more": c.more}
            for c in columns(names)
        ],
        "boards": [
            {"dataset": b.dataset, "track": b.track, "target": b.target, "ranked": len(b.ranked),
             "images": len(b.images), "reason": b.reason, "best": b.best, **_who_is_better(b)}
            for b in found
        ],
        "pages": {
            "methods": {row.record.method: site.method_page(row.record.method) for row in site.rows},
            "datasets": {dataset: site.dataset_page(dataset) for dataset in site.datasets},
            "images": {
                dataset: {image: site.image_page(dataset, image) for image in images}
                for dataset, images in site.images.items()
            },
        },
        "rows": [
            _row(row, found[place[row.id]], place[row.id], names, told_apart.get(row.id), own, subset, both)
            for row, own, subset, both in zip(site.rows, intervals, subsets, shared_intervals, strict=True)
        ],
    }  # fmt: skip


def _who_is_better(board: Board) -> dict[str, Any]:
    """Ids of the ranked rows in order, and per row a digit for each of them: 1 where it is significantly better."""
    if board.better is None or len(board.ranked) > MOST_COMPARED:
        return {}
    digits = ["".join("1" if better else "0" for better in row) for row in board.better.tolist()]
    return {"order": [row.id for row in board.ranked], "better": digits}


def _subset(row: SiteRow, images: dict[str, None]) -> dict[str, float] | None:
    """PSNR on the images that the board shares; None where the row lacks one, or the board shares none."""
    values = row.row.values.get(RANK_BY, {})
    return {image: values[image] for image in images} if images and images.keys() <= values.keys() else None


def _row(
    row: SiteRow,
    board: Board,
    place: int,
    names: Sequence[str],
    variant: str | None,
    interval: tuple[float, float] | None,
    subset: dict[str, float] | None,
    subset_interval: tuple[float, float] | None,
) -> dict[str, Any]:
    """A row as its scripts read it; what is empty is left out."""
    rank = board.ranks.get(row.id)
    same = subset is not None and len(subset) == len(row.row.images)
    found: dict[str, Any] = {
        "id": row.id,
        "board": place,
        "label": row.label,
        "family": row.family,
        "variant": variant,
        "method": row.record.method,
        "column": row.record.column,
        "budget": row.row.budget,
        "limits": _limits(row),
        "final": row.record.snapshot == "final",
        "steps": row.row.steps,
        "means": [compact(row.row.means.get(name)) for name in names],
        "counts": {name: n for name in names if 0 < (n := row.row.counts.get(name, 0)) < len(row.row.images)},
        "interval": interval,
        "shared": True if same else None if subset is None else _means(row, subset, names),
        "sharedInterval": None if same else subset_interval,
        "rank": None if rank is None else [rank.low, rank.high],
        "unranked": board.excluded.get(row.id),
        "images": len(row.row.images),
        "total": row.row.total,
        "busy": row.busy or None,
        "noContender": single_errors(row.row) or None,
        "seeds": len(row.seeds),
        "spread": compact(_spread(row)),
        "devices": devices(row.records),
        "stale": list(row.stale),
        "failures": [f"{status.replace('_', ' ')} on {len(images)}: {reason}"
                     for (status, reason), images in row.row.reasons.items()],
        "notRun": [f"{heading(name)}: {reason}" for name, reasons in row.row.not_run.items() for reason in reasons],
        "notes": list(row.row.notes),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value not in (None, [], {}, "")}


def _limits(row: SiteRow) -> str:
    """The budget without what the name of the row's board says already."""
    own = target_label(row.record.budget)
    return row.row.budget if own == "native" else row.row.budget.removeprefix(own).removeprefix(", ")


def _spread(row: SiteRow) -> float | None:
    repeats = row.spread.get(RANK_BY)
    return None if repeats is None else repeats.spread


def _means(row: SiteRow, images: dict[str, float], names: Sequence[str]) -> list[float | None]:
    """Means over a subset of the images; None where a value is missing on one of them."""
    means: list[float | None] = []
    for name in names:
        values = row.row.values.get(name, {})
        whole = all(image in values for image in images)
        means.append(compact(sum(values[image] for image in images) / len(images)) if whole else None)
    return means


def _csv(site: Site, found: Sequence[Board], names: Sequence[str]) -> str:
    """All rows with unrounded means, and over how many images each is; one heading line."""
    lines: list[list[object]] = []
    head = ["id", "dataset", "track", "target", "family", "method", "column", "budget", "snapshot", "steps"]
    tail = ["rank_low", "rank_high", "unranked", "images", "total", "seeds", "spread_over_seeds", "devices", "stale"]
    lines.append([*head, *names, *tail, *(f"{name}_images" for name in names)])
    of_row = {row.id: board for board in found for row in board.rows}
    for row in site.rows:
        board = of_row[row.id]
        rank = board.ranks.get(row.id)
        r = row.record
        start = [row.id, row.dataset, row.track, row.target, row.family, r.method, r.column, row.row.budget, r.snapshot]
        end = [*((rank.low, rank.high) if rank else ("", "")), board.excluded.get(row.id) or board.reason or ""]
        end += [len(row.row.images), row.row.total, len(row.seeds), _blank(_spread(row))]
        end += ["; ".join(devices(row.records)), "; ".join(row.stale)]
        end += [row.row.counts.get(name, 0) for name in names]
        lines.append([*start, _blank(row.row.steps), *(_blank(row.row.means.get(name)) for name in names), *end])
    return to_csv_text(lines)


def _blank(value: float | None) -> float | str:
    return "" if value is None else value

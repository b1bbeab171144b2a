"""Time: quality against encode time, convergence, decoding, memory, energy, and the stages of encoding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from splatbench.record import Record
from splatbench.site.compact import compact
from splatbench.site.curves import mean_curve
from splatbench.site.intervals import mean_intervals, row_intervals
from splatbench.site.page import Data, Page, Site, script
from splatbench.site.ranking import RANK_BY
from splatbench.site.rows import SiteRow
from splatbench.site.scopes import device_of, scopes, timed_images
from splatbench.site.series import retired_labels, split_retired

#: What a row costs beside its encode time, where it was measured.
COSTS = ("decode_seconds", "peak_memory_mib", "energy_joules")

#: Share of the encode time below which a stage is shown with the rest.
SMALL_STAGE = 0.005


def pages(site: Site) -> Iterator[Page | Data]:
    yield Data("data/times.js", script("times", times_data(site)))
    yield Page(
        path="time.html",
        template="time.html.j2",
        title="Time",
        section="time",
        scripts=(
            "assets/vendor/d3.min.js",
            "assets/vendor/plot.umd.min.js",
            "data/board.js",
            "data/times.js",
            "assets/sort.js",
            "assets/board-data.js",
            "assets/plots.js",
            "assets/times-plots.js",
            "assets/times.js",
        ),
        styles=("assets/plots.css",),
    )


def times_data(site: Site) -> dict[str, Any]:
    """What `assets/times.js` reads beside the leaderboard's data: final rows with an encode time.

    Returns:
        datasets: name -> subsets: [[image ...] ...]; scopes: target ("" for all) -> device -> [[subset, rows, methods]
        ...], the default first; retired: what is left out, since its method is not there any more.
        rows: id -> device, and at: subset -> numbers over its images, see `_numbers`.
    """
    timed = [row for row in site.rows if row.record.snapshot == "final" and row.row.means.get("encode_seconds")]
    kept, retired = split_retired(timed)
    datasets: dict[str, dict[str, Any]] = {}
    wanted: dict[tuple[str, int], tuple[SiteRow, Sequence[str]]] = {}
    for scope in scopes(kept):
        found = datasets.setdefault(scope.dataset, {"subsets": [], "scopes": {}})
        entries = found["scopes"].setdefault(scope.target, {}).setdefault(scope.device, [])
        for subset in scope.subsets:
            images = sorted(subset.images)
            if images not in found["subsets"]:
                found["subsets"].append(images)
            place = found["subsets"].index(images)
            entries.append([place, subset.rows, subset.methods])
            wanted |= {(row.id, place): (row, images) for row in scope.rows if subset.images <= timed_images(row)}
    for dataset, found in datasets.items():
        found["retired"] = retired_labels([row for row in retired if row.dataset == dataset])
    rows: dict[str, dict[str, Any]] = {row.id: {"device": device_of(row), "at": {}} for row in kept}
    intervals = _intervals(site, list(wanted.values()))
    for ((row_id, place), (row, shared)), interval in zip(wanted.items(), intervals, strict=True):
        rows[row_id]["at"][place] = _numbers(row, shared, interval)
    return {"datasets": datasets, "rows": rows}


def _intervals(site: Site, wanted: Sequence[tuple[SiteRow, Sequence[str]]]) -> list[tuple[float, float] | None]:
    """95 % intervals of the mean PSNR over the images; those of whole rows are known already."""
    known = row_intervals(site)
    values = [[row.row.values.get(RANK_BY, {}).get(image) for image in images] for row, images in wanted]
    whole = [set(images) == row.row.values.get(RANK_BY, {}).keys() for row, images in wanted]
    few = [[] if all_ or None in of_row else of_row for all_, of_row in zip(whole, values, strict=True)]
    found = mean_intervals([[value for value in of_row if value is not None] for of_row in few])
    return [known.get(row.id) if all_ else one for (row, _), all_, one in zip(wanted, whole, found, strict=True)]


def _numbers(row: SiteRow, images: Sequence[str], interval: tuple[float, float] | None) -> dict[str, Any]:
    """Over the images, what is missing left out: means of PSNR and costs; range: [fastest, slowest image] in seconds;
    stages: mean seconds by name; decode: megapixels per second; load: [lowest, highest] load average over the cores,
    above 1 where others were waiting; busy; warm: mean seconds of the start, which the encode time includes; curve: see
    `curves.mean_curve`."""
    inside = frozenset(images)
    done = [record for record in row.records if record.status == "ok" and record.image in inside]
    times = [row.row.values["encode_seconds"][image] for image in images]
    load = _load(done)
    found = {
        **{name: compact(_mean_over(row, images, name)) for name in (RANK_BY, "encode_seconds", *COSTS)},
        "interval": interval,
        "range": [compact(min(times), 4), compact(max(times), 4)],
        "stages": _stages(done),
        "decode": compact(_megapixels_per_second(done), 4),
        "load": [compact(value, 2) for value in load],
        "busy": True if load and load[1] > 1 else None,
        "warm": compact(_mean([record.start.seconds for record in done if record.start is not None]), 4),
        "curve": mean_curve(done),
    }
    return {key: value for key, value in found.items() if value not in (None, [], {})}


def _mean_over(row: SiteRow, images: Sequence[str], name: str) -> float | None:
    values = row.row.values.get(name, {})
    return _mean([values[image] for image in images]) if all(image in values for image in images) else None


def _stages(done: Sequence[Record]) -> dict[str, float | int | None]:
    """Mean seconds per stage over the images that have stages, in their first order; small ones are "other"."""
    staged = [record for record in done if record.stage_seconds]
    names = dict.fromkeys(name for record in staged for name in record.stage_seconds)
    means = {name: sum(r.stage_seconds.get(name, 0.0) for r in staged) / len(staged) for name in names}
    total = sum(means.values())
    large = {name: seconds for name, seconds in means.items() if seconds >= SMALL_STAGE * total}
    rest = total - sum(large.values())
    shown = large | ({"other": large.get("other", 0.0) + rest} if rest > 0 and len(large) < len(means) else {})
    return {name: compact(seconds, 4) for name, seconds in shown.items()}


def _megapixels_per_second(done: Sequence[Record]) -> float | None:
    """All pixels over all seconds, so that a small image does not count as much as a large one."""
    timed = [(r.height * r.width, r.decode_seconds) for r in done if r.height and r.width and r.decode_seconds]
    return sum(pixels for pixels, _ in timed) / 1e6 / sum(seconds for _, seconds in timed) if timed else None


def _load(done: Sequence[Record]) -> list[float]:
    """Load average when the job began, over the machine's cores: [lowest, highest]."""
    found = [p.load_average / p.cores for r in done if (p := r.provenance).load_average is not None and p.cores]
    return [min(found), max(found)] if found else []


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None

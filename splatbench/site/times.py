"""Time: quality against encode time, convergence, decoding, memory, energy, and the stages of encoding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from splatbench.record import Record
from splatbench.site.compact import compact
from splatbench.site.curves import mean_curve
from splatbench.site.page import Data, Page, Site, script
from splatbench.site.rows import SiteRow

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
    """What `assets/times.js` reads beside the leaderboard's data: id of a final row with an encode time -> its times.

    Each: [fastest, slowest image] in seconds; stages: mean seconds by name; decoding in megapixels per second;
    threads; load: [lowest, highest] load average over the cores, above 1 where others were waiting; warm: mean seconds
    of the start, which the encode time includes; curve: see `curves.mean_curve`.
    """
    rows = [row for row in site.rows if row.record.snapshot == "final" and row.row.means.get("encode_seconds")]
    return {"rows": {row.id: _row(row) for row in rows}}


def _row(row: SiteRow) -> dict[str, Any]:
    done = [record for record in row.records if record.status == "ok"]
    times = list(row.row.values["encode_seconds"].values())
    found = {
        "range": [compact(min(times), 4), compact(max(times), 4)],
        "stages": _stages(done),
        "decode": compact(_megapixels_per_second(done), 4),
        "threads": sorted({record.provenance.threads for record in done if record.provenance.threads}),
        "load": _load(done),
        "warm": compact(_mean([record.start.seconds for record in done if record.start is not None]), 4),
        "curve": mean_curve(done),
    }
    return {key: value for key, value in found.items() if value not in (None, [], {})}


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


def _load(done: Sequence[Record]) -> list[float | int | None]:
    """Load average when the job began, over the machine's cores: [lowest, highest]."""
    found = [p.load_average / p.cores for r in done if (p := r.provenance).load_average is not None and p.cores]
    return [compact(min(found), 2), compact(max(found), 2)] if found else []


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None

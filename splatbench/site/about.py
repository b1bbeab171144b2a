"""How to read the site: what every number is, what the marks mean, where it comes from, and all of it as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from splatbench.metrics import REGISTRY
from splatbench.report.content import TRACK_TITLES
from splatbench.report.labels import COLUMN_TITLES, QUANTITIES
from splatbench.report.page import environments
from splatbench.report.verdict import tolerances_text
from splatbench.results.export import parquet
from splatbench.site.page import Data, Page, Site

_COLUMNS = {
    "published": "Our code with the published behaviour, known errors included: what the authors' code computes.",
    "corrected": "Our code with the exact mathematics.",
    "ours": "Settings, networks or codecs of ours for which no paper has a counterpart.",
    "official": "Code of the paper's authors, as its user says, run in a container or read from files that it left.",
    "external": "Code of somebody else, run in a container or read from files that it left.",
    "control": "Not a contender: codecs, down-sampling, Gaussians at random, the picture itself. Never ranked.",
}
_TRACKS = {
    "gaussians": "The budget is a number of Gaussians, or a compression ratio, which SmartSplat defines by one.",
    "bytes": "The budget is the length of the file. Never mixed with equal Gaussians.",
    "controls": "Whatever a control is asked for: a quality, a number of Gaussians, nothing.",
}

#: File below the site's folder, what it is.
DOWNLOADS = (
    (
        "data/records.parquet",
        "every record with its settings and provenance, one row each; convergence curves left out",
    ),
    ("data/leaderboard.csv", "every row of the leaderboard, unrounded"),
    ("data/verdicts.csv", "every cell of the papers' tables beside ours"),
)


def pages(site: Site) -> Iterator[Page | Data]:
    yield Data("data/records.parquet", parquet(site.records))
    yield Page(
        path="about.html",
        template="about.html.j2",
        title="How to read the numbers",
        section="about",
        context={
            "metrics": [REGISTRY[name] for name in site.metrics if name in REGISTRY],
            "quantities": QUANTITIES,
            "columns": {COLUMN_TITLES[key]: text for key, text in _COLUMNS.items()},
            "tracks": {TRACK_TITLES[key]: text for key, text in _TRACKS.items()},
            "tolerances": tolerances_text(site.metrics),
            "machines": machines(environments(site.records)),
            "downloads": DOWNLOADS,
            "stale": sorted({reason for row in site.rows for reason in row.stale}),
        },
    )


def machines(environments: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Environments of the same hardware and packages as one: threads and commits, sum of results, highest load."""
    found: dict[str, dict[str, Any]] = {}
    for each in environments:
        same = {key: each[key] for key in ("gpu", "driver", "cpu", "cores", "versions")}
        machine = found.setdefault(repr(same), {**same, "results": 0, "load": 0.0, "threads": set(), "commits": {}})
        machine["results"] += each["results"]
        machine["load"] = max(machine["load"], each["load"])
        machine["threads"].add(each["threads"])
        commit = ((each["commit"] or "")[:12] or "no commit recorded", bool(each["dirty"]))
        machine["commits"][commit] = machine["commits"].get(commit, 0) + each["results"]
    return [{**machine, "threads": sorted(machine["threads"])} for machine in found.values()]

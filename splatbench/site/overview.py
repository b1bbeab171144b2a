"""The first page: which method for a budget, did the papers reproduce, how sure is it, what does it look like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from splatbench.report.labels import count
from splatbench.report.page import devices, span
from splatbench.site.board import TRACKS
from splatbench.site.page import Data, Page, Site
from splatbench.site.verdicts import KIND_MEANINGS, summary

#: Encode times that one may ask for: seconds, text.
LIMITS = (("", "any"), ("1", "1 s"), ("10", "10 s"), ("60", "1 minute"), ("600", "10 minutes"), ("3600", "1 hour"))
#: Images on the first page.
MOST_SHOWN = 4


def pages(site: Site) -> Iterator[Page | Data]:
    """Made after the image pages, whose small pictures it shows."""
    yield Page(
        path="index.html",
        template="index.html.j2",
        title="Overview",
        section="overview",
        context={
            "facts": facts(site),
            "tracks": TRACKS,
            "limits": LIMITS,
            "summary": summary(site),
            "kind_meanings": KIND_MEANINGS,
            "single_seed": all(len(row.seeds) == 1 for row in site.rows),
            "stale": sum(bool(row.stale) for row in site.rows),
            "shown": site.thumbnails[:MOST_SHOWN],
        },
        scripts=("data/board.js", "assets/board-data.js", "assets/overview.js"),
        styles=("assets/overview.css", "assets/verdicts.css"),
    )


def facts(site: Site) -> list[tuple[str, str]]:
    """What was measured, on what and when: lines below the title."""
    statuses = Counter(record.status.replace("_", " ") for record in site.records)
    contenders = {record.method for record in site.records if record.column != "control"}
    controls = {record.method for record in site.records if record.column == "control"}
    images = {(record.dataset, record.image) for record in site.records}
    times = sorted(record.provenance.time for record in site.records if record.provenance.time)
    return [
        ("Results", ", ".join(f"{count(n)} {status}" for status, n in statuses.most_common())),
        ("Methods", f"{len(contenders)}, and {len(controls)} controls"),
        ("Images", f"{count(len(images))} of {', '.join(site.datasets)}"),
        ("Measured", span(times)),
        ("Devices", "; ".join(devices(site.records)) or "not recorded"),
    ]

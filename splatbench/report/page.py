"""The HTML page: one file with its style and figures inside; only the pictures beside it are loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from splatbench.metrics import REGISTRY
from splatbench.record import Record
from splatbench.report.aggregate import metric_names
from splatbench.report.figures import Picture
from splatbench.report.labels import QUANTITIES, budget_label, count, significant
from splatbench.report.pictures import ERROR_GAIN, Gallery
from splatbench.report.reference import reports_folder
from splatbench.report.tables import Table
from splatbench.report.verdict import JUDGED, Comparison, VerdictKind


@dataclass(frozen=True)
class Section:
    """One data set: its tables and figures."""

    id: str
    title: str
    tables: list[Table]
    figures: list[Picture]
    images: Table


@dataclass(frozen=True)
class PaperSection:
    """One paper's table: what we have beside it, and its values that this experiment has nothing for."""

    table: Table | None
    others: Table | None


@dataclass
class Page:
    """Everything that the template shows."""

    title: str
    introduction: str
    records: list[Record]
    sections: list[Section]
    papers: list[PaperSection]
    comparisons: list[Comparison]
    controls: list[Table]
    galleries: list[Gallery]
    pictures_reason: str  # why there are no pictures, where there are none
    failures: Table | None
    metrics_not_run: Table | None
    downloads: list[tuple[str, str]] = field(default_factory=list)  # (file beside the page, what it is)


def render_page(page: Page) -> str:
    """The page as HTML. Whatever comes from a file is escaped; figures are the only markup that is passed through."""
    environment = Environment(
        loader=FileSystemLoader(reports_folder() / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Matplotlib escapes all text that it draws.
    environment.filters["svg"] = lambda picture: Markup(picture.inline)
    environment.filters["budget"] = budget_label
    environment.filters["count"] = count
    environment.filters["significant"] = significant
    return environment.get_template("page.html.j2").render(
        page=page,
        facts=_facts(page.records),
        verdicts=verdict_counts(page.comparisons),
        judged=sum(comparison.verdict.kind in JUDGED for comparison in page.comparisons),
        with_caveats=sum(bool(comparison.caveats) for comparison in page.comparisons),
        statuses=_statuses(page.records),
        metrics=[REGISTRY[name] for name in metric_names(page.records) if name in REGISTRY],
        quantities=QUANTITIES,
        provenance=environments(page.records),
        error_gain=ERROR_GAIN,
    )


def verdict_counts(comparisons: Sequence[Comparison]) -> dict[VerdictKind, int]:
    """Verdicts on the values of methods that the experiment runs, best first; kinds without any are left out."""
    kinds: tuple[VerdictKind, ...] = ("reproduced", "better", "worse", "only here", "not comparable", "not run")
    found = Counter(comparison.verdict.kind for comparison in comparisons if comparison.family)
    return {kind: found[kind] for kind in kinds if found[kind]}


def _statuses(records: Sequence[Record]) -> dict[str, int]:
    return dict(Counter(record.status.replace("_", " ") for record in records).most_common())


def _facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What was run, when, on what, from which commit: the lines below the title."""
    done = [record for record in records if record.status == "ok"]
    images = dict.fromkeys((record.dataset, record.image) for record in records)  # in the order of the records
    datasets = Counter(dataset for dataset, _ in images)
    entries = {record.entry for record in records if record.column != "control"}
    controls = {record.entry for record in records if record.column == "control"}
    times = sorted(record.provenance.time for record in records if record.provenance.time)
    encode = sum(record.encode_seconds or 0 for record in done if record.snapshot == "final")
    evaluate = sum(record.evaluate_seconds or 0 for record in done)
    return [
        ("Data", ", ".join(f"{name} ({n} image{'s' if n > 1 else ''})" for name, n in datasets.items())),
        ("Entries", f"{len(entries)}, and {len(controls)} controls"),
        ("Results", ", ".join(f"{n} {status}" for status, n in _statuses(records).items())),
        ("When", span(times)),
        ("Device", "; ".join(devices(records)) or "not recorded"),
        ("Commit", ", ".join(_commits(records)) or "not recorded"),
        ("Work", f"{significant(encode)} s of encoding, {significant(evaluate)} s of decoding and measuring"),
    ]


def span(times: list[str]) -> str:
    """First and last of sorted time stamps, in UTC."""
    if not times:
        return "not recorded"
    first, last = (text.replace("T", " ").replace("+00:00", "").replace("Z", "")[:16] for text in (times[0], times[-1]))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"


def devices(records: Sequence[Record]) -> list[str]:
    """What ran: each device with its processor and cores, in the order of the records."""
    found: dict[str, None] = {}
    for record in records:
        p = record.provenance
        if p.time or p.cpu or p.gpu:
            device = p.gpu or p.device
            found[f"{device}: {p.cpu or 'unknown CPU'}, {p.cores} cores" if p.cores else device] = None
    return list(found)


def _commits(records: Sequence[Record]) -> list[str]:
    found: dict[str, None] = {}
    for record in records:
        p = record.provenance
        if p.commit:
            found[p.commit[:12] + (" with uncommitted changes" if p.dirty else "")] = None
        elif p.version:
            found[f"splatbench {p.version}, outside a checkout"] = None
    return list(found)


def environments(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Each distinct environment, and how many results were made in it."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        p = record.provenance
        if not p.time:
            continue
        shown = p.model_dump(exclude={"time", "load_average"})
        entry = found.setdefault(repr(shown), {**shown, "results": 0, "load": 0.0, "shared": 0})
        entry["results"] += 1
        entry["load"] = max(entry["load"], p.load_average or 0.0)
        entry["shared"] += record.gpu_shared
    return list(found.values())

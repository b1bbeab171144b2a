"""From records to a report on disk: tables, figures, pictures, page. Only the pictures need more than the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from splatbench.files import write_atomic
from splatbench.record import Record, write_records
from splatbench.report.aggregate import Row, frame, summarise
from splatbench.report.content import dataset_ids, paper_table, result_tables, slug
from splatbench.report.csv_text import as_text
from splatbench.report.listings import failure_table, image_table, metrics_not_run_table
from splatbench.report.pictures import Gallery, ImageSource, make_galleries
from splatbench.report.reference import available_references, load_reference
from splatbench.report.settings import ReportSettings, TableSettings
from splatbench.report.tables import Table, escape_markdown, to_csv, to_latex, to_markdown
from splatbench.report.verdict import Comparison, compare

Format = Literal["md", "csv", "latex"]

#: Beside the page; there whatever is in them, since the workflow waits for them.
FOLDERS = ("tables", "figures", "pictures")


@dataclass
class Content:
    """The tables of a report, before any of them is written."""

    records: list[Record]
    rows: list[Row]
    results: list[Table]
    papers: list[Table]
    other_papers: dict[str, Table]  # id of a table in `papers` or its own -> values with nothing of ours beside them
    comparisons: list[Comparison]
    failures: Table | None
    metrics_not_run: Table | None

    @property
    def tables(self) -> list[Table]:
        """All tables of means, verdicts and failures, in the order of the report."""
        rest = [table for table in (self.failures, self.metrics_not_run) if table is not None]
        return [*self.papers, *self.results, *rest]


@dataclass
class Built:
    """What was written, and what a person should know about it."""

    page: Path
    files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def make_content(records: Sequence[Record], settings: ReportSettings) -> Content:
    """All tables of a report.

    Raises:
        ValueError: there are no records.
    """
    records = list(records)
    if not records:
        raise ValueError("there are no records to report on; run the experiment first")
    rows = summarise(records, settings.rank_by, settings.decimals)
    papers: list[Table] = []
    others: dict[str, Table] = {}
    comparisons: list[Comparison] = []
    for group in _paper_groups(rows, settings):
        comparisons += group
        identity = f"paper-{slug(group[0].reference.name)}-{slug(group[0].table.table)}"
        if ours := [comparison for comparison in group if comparison.basis]:
            papers.append(paper_table(identity, ours, settings))
        if rest := [comparison for comparison in group if not comparison.basis]:
            others[identity] = paper_table(f"{identity}-others", rest, settings)
    return Content(
        records,
        rows,
        result_tables(rows, settings),
        papers,
        others,
        comparisons,
        failure_table(rows),
        metrics_not_run_table(records),
    )


def _paper_groups(rows: Sequence[Row], settings: ReportSettings) -> list[list[Comparison]]:
    """Comparisons, one list per table of a paper. Unasked, only tables in which some value of ours has a place."""
    wanted = settings.tables
    asked = [TableSettings(reference=name) for name in available_references()] if wanted is None else wanted
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    for table in asked:
        for comparison in compare(load_reference(table.reference), rows, table):
            key = (table.reference, comparison.table.table, comparison.table.dataset)
            groups.setdefault(key, []).append(comparison)
    return [group for group in groups.values() if wanted is not None or any(c.basis for c in group)]


def tables_text(records: Sequence[Record], settings: ReportSettings, format: Format = "md") -> str:
    """All tables in one text."""
    tables = make_content(records, settings).tables
    if format == "csv":
        return "\n".join(f"# {' '.join(table.title.split())}\n{to_csv(table)}" for table in tables)
    return "\n".join((to_markdown if format == "md" else to_latex)(table) for table in tables)


def build(
    records: Sequence[Record],
    settings: ReportSettings,
    out: Path,
    title: str = "",
    results: Path | None = None,
    datasets: Mapping[str, ImageSource] | None = None,
) -> Built:
    """Writes the report of one experiment below `out`.

    Args:
        records: everything that was measured, failures included.
        out: the page's folder; made if need be.
        results: the experiment's results folder, for pictures; None where there are only records.
        datasets: `splatbench.datasets.Dataset` by name, for the originals.

    Raises:
        ValueError: no records.
        OSError: `out` cannot be written.
    """
    from splatbench.report.figures import figures
    from splatbench.report.page import Page, PaperSection, Section, render_page

    content = make_content(records, settings)
    built = Built(out / "index.html")
    for name in FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)
    downloads = _write_tables(content, out, built)
    sections = []
    for dataset, identity in dataset_ids(record.dataset for record in content.records).items():
        made = figures(dataset, identity, content.rows, content.records)
        for picture in made:
            _write(built, out / "figures" / f"{picture.id}.svg", picture.svg)
        tables = [t for t in content.results if t.dataset == dataset and t.track != "controls"]
        of_dataset = [record for record in content.records if record.dataset == dataset]
        sections.append(
            Section(identity, dataset, tables, made, image_table(f"{identity}-images", of_dataset, settings))
        )
    galleries, reason = _galleries(content.records, settings, datasets, results, out)
    for gallery in galleries:
        names = [gallery.original, *(name for shown in gallery.shown for name in (shown.reconstruction, shown.error))]
        built.files += [out / name for name in names if name]
    built.warnings += [problem for gallery in galleries for problem in gallery.problems]
    by_id = {table.id: table for table in content.papers}
    papers = [
        PaperSection(by_id.get(i), content.other_papers.get(i)) for i in dict.fromkeys([*by_id, *content.other_papers])
    ]
    page = Page(
        title=settings.title or title or content.records[0].experiment,
        introduction=settings.introduction,
        records=content.records,
        sections=sections,
        papers=papers,
        comparisons=content.comparisons,
        controls=[table for table in content.results if table.track == "controls"],
        galleries=galleries,
        pictures_reason=reason,
        failures=content.failures,
        metrics_not_run=content.metrics_not_run,
        downloads=downloads,
    )
    # Last, so that a page never points to what is not there yet.
    _write(built, built.page, render_page(page))
    return built


def _write_tables(content: Content, out: Path, built: Built) -> list[tuple[str, str]]:
    markdown = "\n".join(to_markdown(table) for table in content.tables)
    latex = "\n".join(to_latex(table) for table in content.tables)
    _write(built, out / "tables.md", f"## {escape_markdown(content.records[0].experiment)}\n\n{markdown}")
    _write(built, out / "tables.tex", latex)
    downloads = [("tables.md", "all tables, Markdown"), ("tables.tex", "all tables, LaTeX")]
    for table in [*content.tables, *content.other_papers.values()]:
        _write(built, out / "tables" / f"{table.id}.csv", to_csv(table))
        downloads.append((f"tables/{table.id}.csv", table.title))
    images = frame(content.records).map(as_text).rename(columns=as_text)
    _write(built, out / "images.csv", images.to_csv(index=False, lineterminator="\n"))
    downloads.append(("images.csv", "every result, nothing averaged, with provenance"))
    write_records(out / "records.jsonl", content.records)
    built.files.append(out / "records.jsonl")
    downloads.append(("records.jsonl", "the records themselves, with convergence curves"))
    return downloads


def _galleries(
    records: Sequence[Record],
    settings: ReportSettings,
    datasets: Mapping[str, ImageSource] | None,
    results: Path | None,
    out: Path,
) -> tuple[list[Gallery], str]:
    """Pictures, and why there are none where there are none."""
    if settings.pictures.count == 0:
        return [], "The experiment file asks for none (report: pictures: count: 0)."
    if results is None or datasets is None:
        return [], "This report was made from records alone; the encoded files are not here."
    if not (results / "encodings").is_dir():
        return [], f"There are no encoded files in {results}; run the experiment again to make them."
    galleries = make_galleries(records, settings.pictures, datasets, results, out)
    return galleries, "" if galleries else "None of the images that the experiment file names has a result."


def _write(built: Built, path: Path, text: str) -> None:
    write_atomic(path, text.encode())
    built.files.append(path)

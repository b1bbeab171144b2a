"""Cells of papers' tables beside rows of several experiments."""

from __future__ import annotations

import csv
import functools
import io
import itertools

import pytest

from splatbench.experiment import ExperimentError, load_experiment
from splatbench.record import Provenance, Record
from splatbench.report.reference import Reference
from splatbench.runner.plan import configured
from splatbench.site import verdicts
from splatbench.site.build import gather, make_environment, render
from splatbench.site.cells import KINDS, Papers, compare_papers, papers
from splatbench.site.experiments import read_experiments
from splatbench.site.needs import duration, needs
from splatbench.site.page import Data, Page, Site
from splatbench.site.rows import SiteRow, site_rows
from tests.site.conftest import PUBLISHED

IMAGES = ("kodim01", "kodim02", "kodim03")
ROW = {"family": "GaussianImage", "n": 100, "iterations": 800, "metrics": {"psnr": 30.0}, "confidence": "printed"}
TABLE = {"table": "Table 1", "dataset": "kodak", "images": 3, "decimals": {"psnr": 2}, "rows": [ROW]}


def paper(*rows: dict, **table) -> Reference:
    source = {"citation": "A. Author", "url": "https://example.org"}
    return Reference.model_validate(
        {"name": "demo_paper", "title": "Demo", "source": source, "tables": [TABLE | table | {"rows": rows or [ROW]}]}
    )


def run(psnr: float = 30.0, images=IMAGES, steps: int = 800, **changes) -> list[Record]:
    budget = {"gaussians": 100, "iterations": steps}
    values = {
        "experiment": "one",
        "dataset": "kodak",
        "entry": "cholesky",
        "method": "gaussianimage",
        "family": "GaussianImage (Cholesky)",
        "column": "published",
        "config_hash": "abc",
        "budget": budget,
        "budget_slug": f"n100-i{steps}",
        "n_target": 100,
        "n_actual": 100,
        "iterations": steps,
        "metrics": {"psnr": psnr},
        "encode_seconds": 2.0,
        "provenance": Provenance(time="2026-01-01T00:00:00+00:00", device="cpu"),
    }
    return [Record(**values | {"image": image} | changes) for image in images]


@functools.cache
def published() -> Site:
    """The published records as a site; read once for all tests of its pages."""
    records = gather([PUBLISHED])
    return Site(records, site_rows(records))


def compared(records: list[Record], reference: Reference | None = None) -> Papers:
    return compare_papers(site_rows(records), [reference or paper()])


def only(records: list[Record], reference: Reference | None = None):
    (cell,) = compared(records, reference).cells
    return cell


def test_an_exact_run_is_never_displaced_by_one_that_comes_nearer():
    exact = run(29.5)
    others = [
        *run(30.0, steps=1000, experiment="longer"),
        *run(30.0, images=IMAGES[:1], experiment="few", config_hash="b"),
        *run(30.0, experiment="switch", config_hash="c", config={"preset": "corrected", "gradient": "published"}),
    ]
    for records in ([*exact, *others], [*others, *exact]):
        cell = only(records)
        assert (cell.kind, cell.counted.deviation) == ("worse", pytest.approx(-0.5))


def test_a_corrected_run_with_the_paper_s_setting_comes_before_a_published_one_without():
    cell = only([*run(31.0, steps=2000), *run(30.02, column="corrected", config_hash="b")])
    assert (cell.counted.basis, cell.kind) == ("corrected", "reproduced")


def test_a_run_that_lacks_the_metric_hides_none_that_has_it():
    bare = run(experiment="bare", config_hash="b", metrics={"ms_ssim": 0.9})
    assert only([*bare, *run(30.05)]).kind == "reproduced"


def test_warm_starts_never_reproduce():
    budget = {"gaussians": 100, "iterations": 800, "warm": True}
    cell = only(run(30.0, budget=budget))
    assert cell.kind == "not comparable" and "begins from the Gaussians of another method" in cell.reason


def test_of_several_variants_the_first_by_name_counts_whatever_its_value():
    rs = run(30.0, family="GaussianImage (RS)", entry="rs", config_hash="b")
    cell = only([*rs, *run(28.0)])
    assert [c.family for c in cell.comparisons] == ["GaussianImage (Cholesky)", "GaussianImage (RS)"]
    assert cell.kind == "worse"
    assert compared([*rs, *run(28.0)]).summary.cells == 1


def variants(cholesky: float, rs: float, **changes) -> list[Record]:
    other = run(rs, family="GaussianImage (RS)", entry="rs", config_hash="b", **changes)
    return [*run(cholesky, **changes), *other]


@pytest.mark.parametrize(
    ("cholesky", "rs", "found", "text"),
    [
        (30.0, 28.0, (0, 1), "0 to 1"),
        (28.0, 30.0, (0, 1), "0 to 1"),
        (30.0, 30.0, (1, 1), "1"),
        (28.0, 28.0, (0, 0), "0"),
    ],
)
def test_reproduced_cells_are_a_range_where_the_paper_names_no_variant(cholesky, rs, found, text):
    summary = compared(variants(cholesky, rs)).summary
    assert (summary.reproduced_range, summary.reproduced_text) == (found, text)
    assert summary.open == (found[0] < found[1])


def test_one_variant_stands_for_all_rows_of_a_method_in_a_table():
    """Each variant reproduces one of two rows: never both, never none."""
    more = {"budget": {"gaussians": 200, "iterations": 800}, "budget_slug": "n200", "n_target": 200, "n_actual": 200}
    reference = paper(ROW, ROW | {"n": 200})
    records = [*variants(30.0, 28.0), *variants(28.0, 30.0, **more)]
    assert compared(records, reference).summary.reproduced_range == (1, 1)
    named = paper(ROW | {"family": "GaussianImage (RS)"}, ROW | {"n": 200, "family": "GaussianImage (Cholesky)"})
    assert compared(records, named).summary.reproduced_range == (0, 0)


def test_a_variant_without_a_verdict_changes_nothing():
    short = run(25.0, images=IMAGES[:1], family="GaussianImage (RS)", entry="rs", config_hash="b")
    assert compared([*run(30.0), *short]).summary.reproduced_range == (1, 1)
    assert compared(short).summary.reproduced_range == (0, 0)


def test_cells_with_caveats_are_counted_apart():
    reference = paper(ROW, ROW | {"n": 200, "caveats": {"unstated": ["learning rate"]}})
    more = {"budget": {"gaussians": 200, "iterations": 800}, "budget_slug": "n200", "n_target": 200, "n_actual": 200}
    summary = compared([*run(30.0), *run(30.0, **more)], reference).summary
    assert (summary.comparable, summary.reproduced) == (2, 2)
    assert (summary.with_caveats, summary.reproduced_with_caveats) == (1, 1)


def test_partial_images_are_compared_on_what_both_have():
    images = {name: {"psnr": value} for name, value in zip(IMAGES, (20.0, 30.0, 40.0), strict=True)}
    reference = paper(ROW | {"images": images})
    short = run(20.05, images=IMAGES[:1])
    cell = only(short, reference)
    assert (cell.kind, cell.counted.images, cell.counted.value) == ("reproduced", (IMAGES[0],), 20.0)
    assert only(short).kind == "not comparable"
    more = run(25.05, images=IMAGES[:2], experiment="more", config_hash="b")
    assert only([*short, *more], reference).counted.images == IMAGES[:2]


@pytest.mark.parametrize(
    ("row", "dataset", "cause", "words"),
    [
        (ROW, "div8k", "data set", "div8k"),
        (ROW | {"n": 999}, "kodak", "budget", "N = 999"),
        (ROW | {"family": "Image-GS"}, "kodak", "method", "Image-GS was not measured on kodak"),
        (ROW | {"family": "WIRE"}, "kodak", "no code", "WIRE is not a method of this project"),
        (ROW | {"family": "WIRE"}, "div8k", "no code", "WIRE is not a method of this project"),
        (ROW | {"family": "Instant-GI, branch dev"}, "kodak", "not repeated", "triangulation"),
        (ROW | {"metrics": {"flip": 0.1}}, "kodak", "metric", "does not ask for flip"),
    ],
)
def test_what_was_not_run_says_why(row, dataset, cause, words):
    found = compared(run(), paper(row, dataset=dataset))
    (cell,) = found.cells
    assert (cell.kind, cell.cause) == ("not run", cause) and words in cell.reason
    assert [len(need.cells) for need in needs(found)] == [1]


def test_failures_are_grouped_with_their_reason():
    found = compared(run(status="out_of_memory", reason="killed at 4 GiB", metrics={}))
    (need,) = needs(found)
    assert need.cause == "failure" and need.reasons == ("out_of_memory: killed at 4 GiB",) and not need.steps


def test_what_it_takes_sums_the_papers_times():
    reference = paper(ROW | {"seconds": 1200.0}, ROW | {"n": 200}, dataset="div8k")
    (need,) = needs(compared(run(), reference))
    assert (need.time, need.untimed, len(need.cells)) == ("1.00 hours", 1, 3)
    assert need.steps[0].command == "splatbench data fetch div8k"
    assert [duration(seconds) for seconds in (4.0, 90.0, 7200.0)] == ["4.00 seconds", "1.50 minutes", "2.00 hours"]


def test_every_printed_value_of_the_published_tables_is_one_cell():
    """Counted from the files themselves."""
    from splatbench.report.reference import available_references, load_reference

    references = [load_reference(name) for name in available_references()]
    printed = sum(
        len(row.metrics or table.metrics) + (row.seconds is not None) - (row.rate is not None)
        for reference in references
        for table in reference.tables
        for row in table.rows
    )
    found = compare_papers(list(published().rows), references)
    assert found.summary.cells == printed == sum(found.summary.kinds.values())
    assert list(found.summary.kinds) == list(KINDS)
    assert found.summary.comparable <= found.summary.cells - found.summary.kinds["not run"]
    missing = [cell for cell in found.cells if cell.kind == "not run"]
    assert sorted(map(id, missing)) == sorted(id(cell) for need in needs(found) for cell in need.cells)


def test_verdicts_of_the_published_records():
    """Known from the reports of single experiments: results/published/*.md."""
    found = compare_papers(list(published().rows), [load("air_table1")])
    by_place = {(cell.row, cell.metric): cell for cell in found.cells}
    assert by_place[0, "psnr"].kind == "reproduced" and by_place[3, "psnr"].kind == "reproduced"
    assert by_place[0, "seconds"].kind == "not comparable"
    assert by_place[0, "psnr"].counted.deviation == pytest.approx(26.954 - 26.98, abs=1e-3)


def test_no_published_verdict_is_without_caveat_while_air_s_counts_are_its_own():
    """AIR's GaussianImage: its variant is not named, which decides the number of reproduced cells."""
    found = compare_papers(list(published().rows), [load("air_table1")])
    summary = found.summary
    assert summary.with_caveats == summary.comparable > 0
    by_variant = {"GaussianImage (Cholesky)": 0, "GaussianImage (RS)": 0}
    others = 0
    for cell in found.cells:
        for comparison in cell.comparisons:
            if comparison.verdict.kind == "reproduced":
                if comparison.family in by_variant:
                    by_variant[comparison.family] += 1
                else:
                    others += 1
    low, high = sorted(by_variant.values())
    assert low < high and summary.reproduced_range == (low + others, high + others)


def load(name: str) -> Reference:
    from splatbench.report.reference import load_reference

    return load_reference(name)


def made(source: Site | list[Record]) -> tuple[Site, dict[str, str], dict[str, bytes]]:
    site = source if isinstance(source, Site) else Site(source, site_rows(source))
    items = list(verdicts.pages(site))
    environment = make_environment()
    pages = {item.path: render(environment, site, item) for item in items if isinstance(item, Page)}
    return site, pages, {item.path: item.content for item in items if isinstance(item, Data)}


def test_pages_and_csv_hold_every_cell():
    site, pages, data = made(published())
    cells = verdicts.cells(site)
    lines = list(csv.DictReader(io.StringIO(data["data/verdicts.csv"].decode())))
    assert sum(line["counts"] == "yes" for line in lines) == len(cells) == verdicts.summary(site).cells
    rows = {row.id for row in site.rows}
    assert {line[f"row_{column}"] for line in lines for column in verdicts.COLUMNS} - {""} <= rows
    for cell in cells:
        assert f'id="{cell.anchor}"' in pages[cell.table]
    first = next(line for line in lines if line["reference"] == "air_table1")
    assert float(first["paper"]) == 26.98 and float(first["difference"]) == pytest.approx(
        float(first["as_published"]) - 26.98
    )


def test_the_page_shows_the_printed_digits_our_value_and_its_row():
    site, pages, _ = made(published())
    page = pages["verdicts/air-table1.html"]
    cell = verdicts.cells(site)[0]
    row = next(row for row in site.rows if row.row is cell.counted.rows["published"])
    assert "26.98†" in page and f"leaderboard.html#{row.id}" in page and "reproduced" in page
    assert "Z. Zeng" in page and "not stated" in page


def test_pages_say_the_range_and_the_caveats():
    site, pages, data = made(published())
    summary = verdicts.summary(site)
    assert summary.open
    for path in ("verdicts.html", "verdicts/air-table1.html"):
        assert summary.reproduced_text in pages[path] and "the paper does not name" in pages[path]
    page = pages["verdicts/air-table1.html"]
    assert "(all with caveats)" in page and "the paper does not state: covariance variant, learning rate" in page
    assert "The paper does not name its variant of GaussianImage." in page
    lines = csv.DictReader(io.StringIO(data["data/verdicts.csv"].decode()))
    judged = [line for line in lines if line["verdict"] in ("reproduced", "better", "worse")]
    assert judged and all("image by image" in line["caveats"] for line in judged)


def test_hostile_names_are_text():
    bad = '<script>alert("1")</script>'
    _, pages, _ = made(run(dataset="kodak", family=f"GaussianImage ({bad})", entry=bad, title=bad))
    assert all("<script>alert" not in page for page in pages.values())


def test_equal_records_give_equal_bytes():
    records = run(30.0)
    assert made(records)[1:] == made(list(records))[1:]


def test_experiments_that_contradict_each_other(tmp_path):
    def write(name: str, tables: str, datasets: str = "[kodak]") -> None:
        entry = "{id: a, title: A, family: mine, method: air, config: {preset: small}, budgets: {native: true}}"
        text = (
            f"name: demo\ndatasets: {datasets}\ncontrols: false\nentries: [{entry}]\nreport: {{tables: [{tables}]}}\n"
        )
        (tmp_path / name).write_text(text)

    write("a.yaml", "{reference: air_table1, families: {mine: AIR}}")
    write("b.yaml", "{reference: air_table1, families: {mine: Image-GS}}")
    with pytest.raises(ExperimentError, match=r"b\.yaml.*'mine' stands for 'Image-GS' here and for 'AIR'"):
        read_experiments(sorted(tmp_path.glob("*.yaml")))
    write("b.yaml", "{reference: air_table9}")
    with pytest.raises(ExperimentError, match="unknown reference 'air_table9'"):
        read_experiments([tmp_path / "b.yaml"])
    write("b.yaml", "{reference: air_table1}", datasets="3")
    with pytest.raises(ExperimentError, match=r"b\.yaml: datasets"):
        read_experiments([tmp_path / "b.yaml"])


@functools.cache
def measured(file: str) -> tuple[SiteRow, ...]:
    """Rows as an experiment file would give them, were every metric 20: of all images that the papers' tables have."""
    experiment = load_experiment(PUBLISHED.parent.parent / file)
    tables = sorted((each.table for each in papers(published()).tables), key=lambda table: table.images)
    totals = {table.dataset: table.images for table in tables}
    records = []
    for choice in experiment.datasets:
        some = choice.images if isinstance(choice.images, list) else None
        images = some or [f"image {number}" for number in range(totals.get(choice.source, 1))]
        for entry in experiment.entries:
            config, config_hash = configured(entry.method, entry.config)
            for budget, snapshot, image in itertools.product(entry.budgets, ["final", *entry.snapshots], images):
                records += run(
                    images=[image], dataset=choice.source, entry=entry.id, method=entry.method, family=entry.family,
                    column=entry.column, config=config, config_hash=config_hash, budget=budget.as_dict(),
                    budget_slug=budget.slug, snapshot=str(snapshot), n_target=budget.gaussians,
                    n_actual=budget.gaussians, iterations=None, bpp=1.0, nominal_bpp=1.0,
                    metrics=dict.fromkeys(experiment.metrics, 0.5),
                )  # fmt: skip
    return tuple(site_rows(records))


def test_every_named_file_fills_every_cell_that_it_is_named_for():
    """Against `compare` on rows of that file alone. Counts that a method chooses are unknown before it ran."""
    checked = 0
    for need in needs(papers(published())):
        for step in need.steps:
            if "configfile" not in step.command:
                continue
            rows = measured(step.command.split()[-1])
            found = compare_papers(rows, map(load, dict.fromkeys(cell.counted.reference.name for cell in step.cells)))
            known = {(cell.table, cell.anchor): cell for cell in found.cells}
            for cell in step.cells:
                if not cell.paper.count_from:
                    checked += 1
                    mine = known[cell.table, cell.anchor]
                    assert mine.kind != "not run", (step.command, cell.table, cell.anchor, mine.reason)
                    if cell.metric != "seconds" and not cell.paper.incomparable and not cell.paper.images:
                        assert mine.kind != "not comparable", (step.command, cell.anchor, mine.reason)
    assert checked > 200


def test_cells_that_no_file_fills_say_so():
    """N = 30 000 and 50 000 on Kodak, other methods on its crops: files of the same method and data set have other
    budgets."""
    by_place = {(cell.table, cell.paper.family, cell.paper.n): cell for cell in papers(published()).cells}
    assert by_place["verdicts/image-gs-paper-4.html", "Image-GS", 50000].files == ()
    assert by_place["verdicts/gaussianimage-paper-3.html", "GaussianImage", 30000].files == ()
    assert by_place["verdicts/fast-2dgs-1.html", "Image-GS", 50000].files == ()
    assert by_place["verdicts/fast-2dgs-1.html", "Instant-GI", 50000].files == ()
    assert by_place["verdicts/fast-2dgs-1.html", "Fast-2DGS", 50000].files == ("config/fast_2dgs_512.yaml",)
    titles = [need.title for need in needs(papers(published()))]
    assert "2D Gaussians, accumulated summation was not measured on kodak yet" in titles


def test_chosen_counts_are_those_of_their_settings():
    """AIR's patch size decides its count: a file with another one does not fill the row."""
    cells = [c for c in papers(published()).cells if c.paper.family == "AIR" and c.table == "verdicts/air-table2.html"]
    files = {cell.paper.n: cell.files for cell in cells}
    assert "config/air_table4.yaml" in files[46000] and "config/air_table2.yaml" in files[46000]
    assert files[61000] == files[86000] == ("config/air_table2.yaml",)


def test_points_of_a_plot_are_not_to_be_run():
    cells = [cell for cell in papers(published()).cells if cell.table == "verdicts/fast-2dgs-2.html"]
    assert cells and {cell.cause for cell in cells} == {"not repeated"}
    assert all("a point of a plot" in cell.reason and not cell.files for cell in cells)


def test_stages_of_one_run_take_its_time_once():
    stages = [ROW | {"snapshot": f"stage{k}", "seconds": 10.0 * k} for k in (1, 2, 3)]
    (need,) = needs(compared(run(), paper(*stages, dataset="div8k")))
    assert (need.time, need.untimed) == ("1.50 minutes", 0)


@pytest.mark.parametrize(("rate", "kind"), [(0.122, "reproduced"), (0.1239, "reproduced"), (0.366, "not run")])
def test_a_nominal_rate_is_the_setting_and_no_cell(rate, kind):
    row = {name: value for name, value in ROW.items() if name != "n"} | {
        "metrics": {"psnr": 30.0, "nominal_bpp": 0.122}
    }
    cell = only(run(nominal_bpp=rate), paper(row))
    assert (cell.metric, cell.kind) == ("psnr", kind)


def test_every_published_value_stands_in_one_file():
    """Image-GS as run for Fast-2DGS: in that paper's file alone."""
    cells = [
        c for c in papers(published()).cells if c.counted.table.dataset == "kodak_512" and c.counted.value == 39.04
    ]
    assert [cell.table for cell in cells] == ["verdicts/fast-2dgs-1.html"]

"""Pages of images: every result is there once, whatever it is called, with pictures where there are some."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from splatbench.record import Record, read_records
from splatbench.site import build as builder
from splatbench.site import images
from splatbench.site.page import Data, Page, Site
from splatbench.site.rows import site_rows

PUBLISHED = Path(__file__).resolve().parent.parent.parent / "results" / "published"
HOSTILE = "<script>alert(1)</script>\"'--><img src=x onerror=alert(2)>../../" + "x" * 300
IMAGE = "rocket"


@pytest.fixture(scope="module")
def measured() -> list[Record]:
    """The published records of one photograph; files of five of them are published."""
    return [record for record in read_records(PUBLISHED / "sample.jsonl") if record.image == IMAGE]


@pytest.fixture(scope="module")
def pages_only(measured: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of nothing but this image's pages."""
    out = tmp_path_factory.mktemp("images") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "PARTS", (images.pages,))
        built = builder.build(measured, out, store=PUBLISHED / "files")
    assert built.problems == []
    return out


def made(records: list[Record]) -> tuple[Site, dict[str, str]]:
    """The site, and its image pages as text."""
    site = Site(records, site_rows(records))
    environment = builder.make_environment()
    found = {
        item.path: builder.render(environment, site, item) for item in images.pages(site) if isinstance(item, Page)
    }
    return site, found


class Cells(HTMLParser):
    """Text of every body cell of the table of results."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_every_result_is_one_line_with_its_numbers(measured: list[Record]) -> None:
    site, found = made(measured)
    rows = [row for row in Cells(found[site.image_page("sample", IMAGE)]).rows if row]
    assert len(rows) == len(measured)
    assert len({tuple(row[:4]) for row in rows}) == len(rows)  # method, column, budget, snapshot tell them apart
    for record in measured:
        mine = [row for row in rows if row[0] == record.family and f"{record.metrics['psnr']:.2f}" in row]
        assert mine and any(f"{record.bpp:.3f}" in row for row in mine), record.key


def test_a_failure_says_what_happened_and_has_no_numbers(measured: list[Record]) -> None:
    failed = measured[0].model_copy(update={"status": "out_of_memory", "reason": "killed at 4096 MiB", "metrics": {}})
    site, found = made([failed, *measured[1:]])
    row = next(row for row in Cells(found[site.image_page("sample", IMAGE)]).rows if row)
    assert row[-1] == "out of memory: killed at 4096 MiB" and set(row[4:-1]) == {"–"}


def test_names_are_escaped_and_stay_inside_the_folder(measured: list[Record]) -> None:
    names = ["dataset", "image", "family", "title", "entry", "method", "snapshot", "reason"]
    hostile = measured[0].model_copy(update=dict.fromkeys(names, HOSTILE) | {"status": "failed"})
    site, found = made([hostile, *measured])
    text = found[site.image_page(HOSTILE, HOSTILE)] + found["images.html"]
    assert "<script>alert" not in text and "<img src=x" not in text and "&lt;script&gt;alert(1)" in text
    assert all(".." not in path and len(path) < 200 for path in found)


def test_without_files_a_page_says_how_to_get_pictures(measured: list[Record]) -> None:
    site, found = made(measured)
    text = found[site.image_page("sample", IMAGE)]
    assert "No encoded file of a result on this image is published." in text
    assert "splatbench leaderboard build --results results" in text
    assert "data-compare" not in text and "compare.js" not in text
    assert "1 image, no pictures" in found["images.html"]


def test_what_cannot_be_shown_is_a_problem_and_the_page_stays(measured: list[Record], tmp_path: Path) -> None:
    record = next(record for record in measured if record.entry == "rs_quantised")
    (tmp_path / f"{record.file_sha256}.s2d").write_bytes(b"damaged")
    site = Site(measured, site_rows(measured), None, tmp_path)
    kinds = [item for item in images.pages(site) if not isinstance(item, Data)]
    assert [page.path for page in kinds] == [site.image_page("sample", IMAGE), "images.html"]
    assert len(site.problems) == 1 and "GaussianImage (RS, quantised)" in site.problems[0]


def test_seeds_are_told_apart(measured: list[Record]) -> None:
    record = measured[0]
    site, found = made([record, record.model_copy(update={"seed": 2})])
    budgets = [row[2] for row in Cells(found[site.image_page("sample", IMAGE)]).rows if row]
    assert budgets == ["CR 6, 800 iterations, seed 1", "CR 6, 800 iterations, seed 2"]


def test_the_table_is_sorted_in_the_browser(pages_only: Path, watched) -> None:
    page = watched.page
    page.goto((pages_only / "images" / "sample" / f"{IMAGE}.html").as_uri())
    heading = page.get_by_role("columnheader", name="PSNR [dB] ↑", exact=True)
    heading.get_by_role("button").click()
    index = heading.evaluate("(cell) => cell.cellIndex")
    values = page.locator(f".image-results tbody td:nth-child({index + 1})").all_inner_texts()
    numbers = [float(value) for value in values]
    assert numbers == sorted(numbers) and len(set(numbers)) > 10
    assert watched.problems == []


def test_an_image_page_compares_published_files(pages_only: Path, watched) -> None:
    page = watched.page
    page.goto((pages_only / "images.html").as_uri())
    page.get_by_role("link", name=IMAGE, exact=True).click()
    page.locator(".compare-stage[aria-busy=false]").wait_for()
    right = page.get_by_role("group", name="Right", exact=True)
    labels = right.get_by_label("Picture").locator("option").all_inner_texts()
    assert len(labels) == 6 and labels[0] == "Original"  # and the five that are published
    right.get_by_label("Picture").select_option(label=next(x for x in labels if x.startswith("SmartSplat")))
    right.get_by_label("Shown as").select_option("gaussians")
    page.locator(".compare-stage[aria-busy=false]").wait_for()
    page.get_by_label("Ellipses of Gaussians").select_option("2")
    drawn = page.get_by_text("Gaussians in view drawn as ellipses at 2 σ").inner_text()
    assert re.fullmatch(r"Right: 6\u202f000 of 1\d\u202f\d{3} Gaussians in view .*", drawn)
    assert page.locator(".compare-message:visible").count() == 0
    assert watched.problems == []
    assert all(address.startswith(("file:", "data:")) for address in watched.requests)

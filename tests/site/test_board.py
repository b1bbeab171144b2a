"""The leaderboard: who is ranked on what, pairs, the CSV, and the page in a browser."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from splatbench.record import Provenance, Record
from splatbench.site import board
from splatbench.site.build import make_environment, render
from splatbench.site.page import Page, Site, script
from splatbench.site.pairs import pairs
from splatbench.site.ranking import boards
from splatbench.site.rows import site_rows
from splatbench.site.variants import differences, variants

IMAGES = [f"image{i:02d}" for i in range(12)]


def record(entry: str, image: str, psnr: float | None = 30.0, **changes) -> Record:
    values = {
        "experiment": "made_up", "dataset": "photos", "image": image, "height": 100, "width": 200, "entry": entry,
        "method": "image_gs", "family": entry, "config": {"which": entry}, "config_hash": entry,
        "budget": {"gaussians": 1000}, "budget_slug": "n1000", "n_target": 1000, "n_actual": 1000,
        "metrics": {"psnr": psnr}, "bytes": 4000, "bpp": 1.6, "encode_seconds": 2.0, "decode_seconds": 0.1,
        "iterations": 10, "provenance": Provenance(device="cpu"),
    }  # fmt: skip
    return Record(**values | changes)


def entry(name: str, gain: float, images=IMAGES, **changes) -> list[Record]:
    return [record(name, image, 30 + gain + 0.01 * i * (1 + gain), **changes) for i, image in enumerate(images)]


def make_site(records) -> Site:
    return Site(list(records), site_rows(records))


def data_of(site: Site) -> dict:
    return board.board_data(site, boards(site.rows, site.metrics), board.numbers(site))


def test_a_partial_row_neither_ranks_nor_shrinks_the_others():
    site = make_site([*entry("good", 2.0), *entry("poor", 0.0), *entry("few", 5.0, IMAGES[:4])])
    (found,) = boards(site.rows, ["psnr"])
    assert found.images == tuple(IMAGES)
    ranks = {row.family: found.ranks.get(row.id) for row in site.rows}
    assert (ranks["good"].low, ranks["good"].high, ranks["poor"].low, ranks["few"]) == (1, 1, 2, None)
    few = next(row for row in site.rows if row.family == "few")
    assert found.excluded == {few.id: "ran on 4 of 12 images, not on all 12 that rows of this board are compared on"}
    assert found.best == {"psnr": next(row.id for row in site.rows if row.family == "good")}


def test_variants_of_one_method_on_more_images_do_not_keep_the_others_out():
    some = IMAGES[:8]
    site = make_site(
        [*entry("a1", 1.0, method="air"), *entry("a2", 0.5, method="air"), *entry("b", 2.0, some, method="image_gs")]
    )
    (found,) = boards(site.rows, ["psnr"])
    assert found.images == tuple(some)
    assert {row.family for row in found.ranked} == {"a1", "a2", "b"}


def test_single_errors_of_published_code_are_no_contenders():
    site = make_site([*entry("exact", 1.0), *entry("one", 3.0, column="published", config={"preset": "corrected"}),
                      *entry("all", 0.0, column="published", config={"preset": "published"})])  # fmt: skip
    (found,) = boards(site.rows, ["psnr"])
    assert {row.family for row in found.ranked} == {"exact", "all"}
    assert "single errors" in next(iter(found.excluded.values()))


def test_the_matrix_says_who_is_better():
    site = make_site([*entry("good", 2.0), *entry("poor", 0.0)])
    (found,) = boards(site.rows, ["psnr"])
    good = [row.family for row in found.ranked].index("good")
    assert found.better[good, 1 - good] and found.better.sum() == 1


def test_without_significance_there_is_a_reason_and_no_best():
    site = make_site([*entry("a", 2.0, IMAGES[:4]), *entry("b", 0.0, IMAGES[:4])])
    (found,) = boards(site.rows, ["psnr"])
    assert "4 images are too few" in found.reason
    assert found.ranks == {} and found.best == {}


def test_kinds_of_budget_are_boards_of_their_own_and_controls_unranked():
    rate = {"budget": {"bpp": 1.6}, "budget_slug": "r1.6"}
    control = {"column": "control"}
    site = make_site([*entry("count", 1.0), *entry("rate", 2.0, **rate), *entry("jpeg", 9.0, **control)])
    found = {b.track: b for b in boards(site.rows, ["psnr"])}
    assert set(found) == {"gaussians", "bytes", "controls"}
    assert [len(b.ranked) for b in found.values()] == [1, 1, 0]
    assert list(found["controls"].excluded.values()) == ["control"]


def test_rows_that_share_no_image():
    site = make_site([*entry("a", 2.0, IMAGES[:6]), *entry("b", 0.0, IMAGES[6:])])
    (found,) = boards(site.rows, ["psnr"])
    assert found.reason.startswith("no two rows of this board share")
    assert set(found.excluded.values()) == {found.reason}
    assert not found.ranked and not found.images
    assert pairs([found])["boards"] == [None]


def test_shared_means_are_over_the_board_s_images():
    site = make_site([*entry("a", 1.0), *entry("b", 0.0), *entry("few", 5.0, IMAGES[:4])])
    rows = {row["family"]: row for row in data_of(site)["rows"]}
    assert rows["a"]["shared"] is True and "shared" not in rows["few"]
    # Another ranked row lacks one image and has another: the board shares eleven.
    site = make_site([*entry("a", 1.0), *entry("b", 0.0, [*IMAGES[1:], "extra"])])
    rows = {row["family"]: row for row in data_of(site)["rows"]}
    psnr = board.numbers(site).index("psnr")
    assert rows["a"]["means"][psnr] == pytest.approx(np.mean([31 + 0.02 * i for i in range(12)]), abs=1e-4)
    assert rows["a"]["shared"][psnr] == pytest.approx(np.mean([31 + 0.02 * i for i in range(1, 12)]), abs=1e-4)
    low, high = rows["a"]["sharedInterval"]
    assert low < rows["a"]["shared"][psnr] < high


def test_pairs_are_antisymmetric_in_their_order_and_count_ties():
    tied = [record("tied", image, 30.0 + (0.004 if i < 5 else 1.0)) for i, image in enumerate(IMAGES)]
    base = [record("base", image, 30.0) for image in IMAGES]
    site = make_site([*tied, *base])
    found = pairs(boards(site.rows, ["psnr"]))
    difference, low, high, wins, ties, losses, p = found["boards"][0]["pairs"][0]
    assert difference == pytest.approx((5 * 0.004 + 7) / 12, abs=1e-4)
    assert low < difference < high and (wins, ties, losses) == (7, 5, 0)
    assert p < 0.01
    assert found["values"][found["boards"][0]["rows"][1]] == [30.0] * 12


def test_settings_tell_rows_of_one_name_apart():
    records = [
        record("x", image, config={"a": value, "b": 1}, config_hash=str(value)) for value in (1, 2) for image in IMAGES
    ]
    texts = set(variants(site_rows(records)).values())
    assert texts == {"a 1", "a 2"}
    assert differences([{"a_b": True}, {"a_b": False}, {}]) == ["a b", "default settings", "default settings"]
    assert differences([{"iterations": 2000, "seconds": 0.5}, {"seconds": 20}]) == [
        "2\u202f000 iterations, at most 0.5 s", "at most 20 s"
    ]  # fmt: skip
    assert variants(site_rows(entry("alone", 0))) == {}


def test_a_mean_over_fewer_images_says_over_how_many(tmp_path, watched):
    part = [record("a", image, 30.0, metrics={"psnr": 30.0} | ({"ms_ssim": 0.9} if i < 3 else {}))
            for i, image in enumerate(IMAGES)]  # fmt: skip
    site = make_site(part)
    assert data_of(site)["rows"][0]["counts"] == {"ms_ssim": 3}
    (line,) = csv.DictReader(io.StringIO(dict_of(site)["data/leaderboard.csv"]))
    assert (line["ms_ssim_images"], line["psnr_images"]) == ("3", "12")
    write(site, tmp_path, board.pages)
    watched.page.goto((tmp_path / "leaderboard.html").as_uri())
    assert "3 of 12 images" in watched.page.locator("#board td.col-ms-ssim").inner_text()
    assert "of" not in watched.page.locator("#board td.col-psnr").inner_text()


def test_threads_belong_to_the_device():
    one, two = (Provenance(device="cpu", threads=n) for n in (1, 2))
    site = make_site([*entry("a", 1.0, provenance=one), *entry("b", 0.0, provenance=two)])
    assert [row["devices"] for row in data_of(site)["rows"]] == [["cpu, 1 thread"], ["cpu, 2 threads"]]


def test_what_the_board_s_name_says_is_not_repeated(hostile, watched):
    folder, _ = hostile
    page = watched.page
    page.goto((folder / "leaderboard.html").as_uri())
    assert set(page.locator("#board td.col-budget").all_inner_texts()) == {"–"}
    assert page.locator("#board th.col-decode-seconds").count() == 0
    page.get_by_label("more columns").check()
    assert page.locator("#board th.col-decode-seconds").count() == 1
    page.reload()
    assert page.locator("#board th.col-decode-seconds").count() == 1
    page.get_by_label("Target (board)").select_option("")
    assert "N = 1\u202f000" in page.locator("#board td.col-budget").all_inner_texts()
    assert watched.problems == []


def test_on_a_phone_rows_are_told_apart_without_scrolling(hostile, watched):
    folder, _ = hostile
    watched.page.set_viewport_size({"width": 390, "height": 800})
    watched.page.goto((folder / "leaderboard.html").as_uri())
    facts = watched.page.locator("#board td.col-label .phone").first
    assert facts.inner_text() == "ours · 32.16 dB"
    box = facts.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_csv_has_every_row_unrounded_and_quotes_hostile_names():
    name = 'a "quoted", <script>alert(1)</script>'
    site = make_site([*entry(name, 1 / 3), *entry("failed", 0, status="failed", reason="a\nline")])
    lines = list(csv.DictReader(io.StringIO(dict_of(site)["data/leaderboard.csv"])))
    assert [line["family"] for line in lines] == [name, "failed"]
    assert float(lines[0]["psnr"]) == site.rows[0].row.means["psnr"]
    assert lines[1]["psnr"] == "" and lines[1]["unranked"] == "no image succeeded"


def dict_of(site: Site) -> dict[str, str]:
    return {item.path: item.content.decode() for item in board.pages(site) if not isinstance(item, Page)}


def test_equal_records_give_equal_bytes():
    records = [*entry("a", 1.0), *entry("b", 0.0)]
    assert dict_of(make_site(records)) == dict_of(make_site(records))


def write(site: Site, folder, pages) -> None:
    """The parts of a site that a page of it needs."""
    from splatbench.site.build import _assets

    for path, content in _assets():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    environment = make_environment()
    for item in pages(site):
        content = render(environment, site, item).encode() if isinstance(item, Page) else item.content
        (folder / item.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / item.path).write_bytes(content)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A site of two boards with names that try to get out of their cells."""
    folder = tmp_path_factory.mktemp("hostile")
    evil = "<img src=x onerror=alert(1)>"
    site = make_site([
        *entry(evil, 2.0), *entry("plain", 0.0, encode_seconds=90.0), *entry("few", 1.0, IMAGES[:3]),
        *entry("other", 1.0, budget={"gaussians": 2000}, budget_slug="n2000", n_target=2000, n_actual=2000),
        *entry("jpeg", 5.0, column="control"), *entry("early", 0.5, snapshot="100"),
    ])  # fmt: skip
    write(site, folder, board.pages)
    return folder, site


def labels(page) -> list[str]:
    return page.locator("#board tbody td.col-label a").all_inner_texts()


def test_filters_sorting_and_address(hostile, watched):
    folder, _ = hostile
    page = watched.page
    page.goto((folder / "leaderboard.html").as_uri())
    evil = "<img src=x onerror=alert(1)>"
    assert labels(page) == [evil, "plain", "few", "jpeg"]  # ranked rows, others, controls
    assert page.locator("#board tbody img").count() == 0
    assert page.locator("#board td.col-psnr .best").all_inner_texts() == ["32.16"]

    page.get_by_role("button", name="Encode [s]").click()
    page.get_by_role("button", name="Encode [s]").click()
    assert labels(page)[0] == "plain"
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert "sort=encode_seconds" in page.url and "order=descending" in page.url

    page.get_by_label("Target (board)").select_option("")
    page.get_by_role("button", name="Rank").click()
    assert labels(page) == [evil, "plain", "few", "other", "jpeg"]  # one board after the other
    page.get_by_label("Target (board)").select_option("N = 1\u202f000")

    page.get_by_label("Encode time at most").fill("10")
    page.get_by_label("with controls").uncheck()
    assert set(labels(page)) == {evil, "few"}
    page.reload()
    assert set(labels(page)) == {evil, "few"}  # the address holds the state
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("final results only").uncheck()
    assert "early, after 100 iterations" in labels(page)
    page.get_by_label("Search").fill("PLAIN 9")
    assert labels(page) == []
    page.get_by_label("Search").fill("PLAIN 1000")
    assert labels(page) == ["plain"]
    page.get_by_label("Search").fill("pla")
    assert labels(page) == ["plain"]
    assert watched.problems == []


def test_a_row_s_address_opens_its_board_and_marks_it(hostile, watched):
    folder, site = hostile
    row = next(row for row in site.rows if row.family == "other")
    watched.page.goto((folder / "leaderboard.html").as_uri() + "#" + row.id)
    assert labels(watched.page) == ["other"]
    assert watched.page.locator("tr.marked").get_attribute("id") == row.id
    assert watched.problems == []


def test_two_rows_are_compared_image_by_image(hostile, watched):
    folder, _ = hostile
    page = watched.page
    page.goto((folder / "leaderboard.html").as_uri())
    boxes = page.locator("#board .pick input")
    boxes.nth(1).check()
    boxes.nth(0).check()
    page.locator("#pair-plot svg").first.wait_for()
    facts = dict(
        zip(
            page.locator(".pairfacts dt").all_inner_texts(),
            page.locator(".pairfacts dd").all_inner_texts(),
            strict=True,
        )
    )
    assert facts["Mean difference, 12 shared images"].startswith("−2.1")  # plain minus the other: turned
    assert facts["First better / tie / second better"] == "0 / 0 / 12"
    assert page.locator(".imagelinks a").count() == 12
    page.locator("#pair-plot summary").click()
    page.locator("#pair-plot tbody tr").first.wait_for()
    assert page.locator("#pair-plot tbody tr").count() == 12
    boxes.nth(2).check()  # a third one replaces the first
    assert [box.is_checked() for box in boxes.all()] == [True, False, True, False]
    # One that is not ranked has an interval over the shared images, and no test.
    facts = dict(
        zip(
            page.locator(".pairfacts dt").all_inner_texts(),
            page.locator(".pairfacts dd").all_inner_texts(),
            strict=True,
        )
    )
    assert "…" in facts["95 % interval (BCa bootstrap)"] and "Mean difference, 3 shared images" in facts
    assert facts["p value (Wilcoxon signed-rank, two-sided)"].startswith(
        "none: few takes no part in the ranks (ran on 3"
    )
    page.get_by_text("somewhat too narrow").wait_for()
    assert watched.problems == []


def test_choosing_a_method_for_a_time(hostile, watched):
    folder, _ = hostile
    watched.page.goto((folder / "leaderboard.html").as_uri())
    choose = "s => splatbench.board.choose(s).map(row => row.label)"
    board_ = {"dataset": "photos", "track": "gaussians", "target": "N = 1\u202f000"}
    evil = "<img src=x onerror=alert(1)>"
    assert watched.page.evaluate(choose, {**board_, "seconds": 100}) == [evil, "plain", "few"]
    assert watched.page.evaluate(choose, {**board_, "seconds": 10}) == [evil, "few"]
    assert watched.page.evaluate(choose, {**board_, "seconds": 1}) == []


def test_sortable_tables_put_missing_values_last(hostile, watched):
    folder, _ = hostile
    page = watched.page
    page.goto((folder / "leaderboard.html").as_uri())
    order = page.evaluate("""() => {
      const el = splatbench.element;
      const rows = ["10", "–", "−2", "1\\u202f000"].map((t) => el("tr", {}, el("td", {}, t)));
      const table = el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "n"))), el("tbody", {}, rows));
      document.body.append(table);
      splatbench.sortable(table);
      const read = () => [...table.tBodies[0].rows].map((row) => row.textContent);
      const button = table.querySelector("button.sort");
      button.click(); const up = read(); button.click();
      return [up, read()];
    }""")
    assert order == [["−2", "10", "1\u202f000", "–"], ["1\u202f000", "10", "−2", "–"]]


def test_two_thousand_rows_stay_usable(tmp_path, watched):
    site = make_site(entry("one", 0.0))
    write(site, tmp_path, board.pages)
    data = data_of(site)
    (row,) = data["rows"]
    psnr = data["numbers"].index("psnr")
    data["rows"] = [
        row
        | {
            "id": f"r{i}",
            "label": f"method {i:04d}",
            "means": [*row["means"][:psnr], i / 100, *row["means"][psnr + 1 :]],
        }
        for i in range(2000)
    ]
    (tmp_path / "data/board.js").write_bytes(script("board", data))
    page = watched.page
    page.goto((tmp_path / "leaderboard.html").as_uri() + "#dataset=photos&sort=psnr&order=descending")
    assert page.locator("#board tbody tr").count() == 200
    assert labels(page)[0] == "method 1999"
    filtering = """() => { const b = splatbench.board; const s = b.readState(location.hash); s.q = "method 1 n";
      const t = performance.now(); const n = b.sorted(b.filter(s), s).length; return [n, performance.now() - t]; }"""
    found, milliseconds = page.evaluate(filtering)
    assert found == 2000 and milliseconds < 100
    page.get_by_role("button", name="Show all 2\u202f000 rows").click()
    assert page.locator("#board tbody tr").count() == 2000
    assert watched.problems == []

"""The first page and the page that explains the numbers, from made-up records."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatbench.record import Provenance, Record
from splatbench.site.about import machines
from splatbench.site.build import build
from splatbench.site.overview import facts
from splatbench.site.page import Site

IMAGES = [f"picture{i:02}" for i in range(12)]


def records(name: str, gain: float, seconds: float = 1.0, **changes) -> list[Record]:
    values = {
        "experiment": "made_up",
        "dataset": "photos",
        "height": 16,
        "width": 16,
        "entry": name,
        "method": name,
        "family": name,
        "config_hash": name,
        "budget": {"gaussians": 1000},
        "budget_slug": "n1000",
        "n_target": 1000,
        "n_actual": 1000,
        "bytes": 64,
        "bpp": 2.0,
        "encode_seconds": seconds,
        "provenance": Provenance(time="2026-01-02T03:04:05+00:00", cpu="Example CPU", cores=2, threads=1),
    }
    return [
        Record(**(values | {"image": image, "metrics": {"psnr": 30 + gain + 0.1 * i * (1 + gain)}} | changes))
        for i, image in enumerate(IMAGES)
    ]


@pytest.fixture
def open_index(tmp_path, watched):
    def open_(made: list[Record]):
        build(made, tmp_path / "site")
        watched.page.goto((tmp_path / "site" / "index.html").as_uri())
        return watched.page

    return open_


def said(page) -> str:
    return page.locator("#choose-said").inner_text()


def test_the_best_is_named_with_those_that_it_is_not_told_apart_from(open_index, watched):
    even = [r.model_copy(update={"metrics": {"psnr": (r.metrics["psnr"] or 0) + (-1) ** i * 0.5}})
            for i, r in enumerate(records("even", 2.0))]  # fmt: skip
    page = open_index([*records("good", 2.0), *even, *records("poor", 0.0)])
    assert "First of 3 ranked rows" in said(page)
    assert "1 other is not told apart from it" in said(page)
    assert not watched.problems


def test_a_clear_winner_is_ahead(open_index):
    assert "Ahead of the 1 other ranked row: good" in said(open_index([*records("good", 2.0), *records("poor", 0.0)]))


def test_a_time_limit_leaves_out_what_takes_longer(open_index):
    page = open_index([*records("good", 2.0, 100.0), *records("poor", 0.0), *records("worse", -1.0)])
    assert "good" in said(page)
    page.get_by_label("Encode time per image").select_option("10")
    assert "Ahead of the 1 other ranked row within that time: poor" in said(page)
    page.get_by_label("Encode time per image").select_option("1")
    assert page.locator("#choose-result tbody tr").count() == 2


def test_kinds_of_budget_without_results_cannot_be_chosen(open_index):
    page = open_index([*records("good", 2.0), *records("poor", 0.0)])
    option = page.locator("#choose-track option[value=bytes]")
    assert option.is_disabled()
    assert "nothing measured yet" in option.inner_text()


def test_equal_bytes_can_be_chosen_where_they_were_measured(open_index):
    rate = {"budget": {"bpp": 2.0}, "budget_slug": "r2", "n_target": None}
    page = open_index([*records("good", 2.0, **rate), *records("poor", 0.0, **rate)])
    assert page.locator("#choose-track").input_value() == "bytes"
    assert "good" in said(page)


def test_busy_machines_are_mentioned(open_index):
    busy = Provenance(time="2026-01-02T03:04:05+00:00", cpu="Example CPU", cores=2, load_average=5.0)
    page = open_index([*records("good", 2.0, provenance=busy), *records("poor", 0.0)])
    assert "Times of 1 of these 2 rows were taken on a busy machine" in said(page)


def test_the_rank_of_the_whole_board_is_said_beside_a_time_limit(open_index):
    page = open_index([*records("good", 2.0, 100.0), *records("poor", 0.0), *records("worse", -1.0)])
    page.get_by_label("Encode time per image").select_option("10")
    assert "poor, ours (rank 2 of the whole board)" in said(page)


def test_rows_on_other_images_stand_apart(open_index):
    few = [r for r in records("few", 9.0) if r.image in IMAGES[:4]]
    page = open_index([*records("good", 2.0), *records("poor", 0.0), *few])
    assert "Ahead of the 1 other ranked row: good" in said(page)
    apart = page.locator("#choose-result details")
    assert "1 row on other images" in apart.locator("summary").inner_text()
    assert apart.locator("tbody tr").count() == 1
    assert page.locator("#choose-result > .table tbody tr").count() == 2


def test_rows_that_share_no_images_have_no_order(open_index):
    page = open_index([r for r in records("a", 2.0) if r.image in IMAGES[:6]] +
                      [r for r in records("b", 0.0) if r.image in IMAGES[6:]])  # fmt: skip
    assert "No order can be given: no two rows of this board share" in said(page)
    assert page.locator("#choose-result details tbody tr").count() == 2
    assert page.locator("#choose-result details").get_attribute("open") is not None


def test_who_is_not_ranked_is_named_with_the_reason(open_index):
    far = records("far", 9.0, n_actual=1100)
    page = open_index([*records("good", 2.0), *records("poor", 0.0), *far])
    assert "far (" in said(page)
    assert "is not ranked: N is up to 10.0 % off its target" in said(page)


def test_controls_of_the_same_target_are_beside_the_methods(open_index):
    rate = {"budget": {"bpp": 2.0}, "budget_slug": "r2", "n_target": None}
    control = {**rate, "column": "control", "n_actual": None, "family": "JPEG"}
    page = open_index([*records("good", 2.0, **rate), *records("poor", 0.0, **rate), *records("jpeg", 5.0, **control)])
    assert "Beside them, controls: JPEG 38.30 dB." in said(page)
    last = page.locator("#choose-result > .table tbody tr").last
    assert last.locator("td").first.inner_text() == "–"
    assert "JPEG" in last.inner_text()


def test_few_images_give_no_order(open_index):
    page = open_index([r for r in [*records("good", 2.0), *records("poor", 0.0)] if r.image in IMAGES[:4]])
    assert "too few" in said(page)
    assert page.locator("#choose-result tbody tr td").first.inner_text() == "–"


def test_controls_alone_leave_nothing_to_choose(open_index, watched):
    page = open_index(records("jpeg", 0.0, column="control"))
    assert said(page) == "Only controls were measured so far."
    assert page.locator("#choose-form").is_hidden()
    assert not watched.problems


def test_facts_count_results_methods_and_images():
    failed = records("poor", 0.0, status="failed", reason="x", metrics={})[:2]
    site = Site([*records("good", 1.0), *failed, *records("jpeg", 0.0, column="control")], [])
    found = dict(facts(site))
    assert found["Results"] == "24 ok, 2 failed"
    assert found["Methods"] == "2, and 1 controls"
    assert found["Images"] == "12 of photos"
    assert found["Measured"] == "2026-01-02 03:04 UTC"
    assert found["Devices"] == "cpu: Example CPU, 2 cores"


def test_environments_of_one_machine_are_one():
    same = {"gpu": None, "driver": None, "cpu": "A", "cores": 2, "versions": {"torch": "2"}, "dirty": False}
    found = machines(
        [
            {**same, "commit": "a" * 40, "threads": 1, "results": 3, "load": 0.5},
            {**same, "commit": "b" * 40, "threads": 2, "results": 4, "load": 2.5},
            {**same, "commit": "a" * 40, "threads": 2, "results": 1, "load": 0.1},
            {**same, "cpu": "B", "commit": None, "threads": 1, "results": 9, "load": 0.0},
        ]
    )
    assert [(m["cpu"], m["results"], m["load"], m["threads"]) for m in found] == [
        ("A", 8, 2.5, [1, 2]),
        ("B", 9, 0, [1]),
    ]
    assert found[0]["commits"] == {("a" * 12, False): 4, ("b" * 12, False): 4}
    assert found[1]["commits"] == {("no commit recorded", False): 9}


def test_the_page_that_explains_names_every_machine(tmp_path: Path):
    build(records("good", 1.0), tmp_path / "site")
    text = (tmp_path / "site" / "about.html").read_text()
    assert "Example CPU" in text
    assert "no commit recorded" in text

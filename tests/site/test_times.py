"""Time: mean curves, stages, decoding speed, and the page in a browser."""

from __future__ import annotations

import pytest

from splatbench.record import Provenance, WarmStart
from splatbench.site import board, times
from splatbench.site.curves import MOST_POINTS, mean_curve
from tests.site.test_board import IMAGES, entry, make_site, record, write


def timed(site) -> dict:
    return times.times_data(site)["rows"]


def test_a_mean_curve_begins_where_all_have_begun_and_holds_finished_images():
    a = record("a", "x", curve=[(1, 1.0, {"psnr": 10.0}), (100, 10.0, {"psnr": 20.0})])
    b = record("a", "y", curve=[(2, 2.0, {"psnr": 20.0}), (50, 40.0, {"psnr": 30.0})])
    found = mean_curve([a, b])
    assert found["images"] == 2
    (steps, psnr), (seconds, _) = found["steps"], found["seconds"]
    assert steps == [2, 100] and seconds == [2, 40]
    # At step 2, a has 10 + 10 / 99; at the end b keeps what it had at step 50.
    assert psnr == [pytest.approx((10 + 10 / 99 + 20) / 2, abs=1e-3), 25]


def test_a_curve_of_squared_errors_is_psnr_and_of_quantised_pictures_too():
    curve = [(1, 1.0, {"mse": 0.01}), (2, 2.0, {"qat_psnr": 30.0})]
    assert mean_curve([record("a", "x", curve=curve)])["steps"] == [[1, 2], [20, 30]]


@pytest.mark.parametrize("curve", [[], [(1, 1.0, {"psnr": 9.0})], [(1, 1.0, {"loss": 9.0}), (2, 2.0, {"loss": 8.0})]])
def test_too_short_or_other_curves_are_none(curve):
    assert mean_curve([record("a", "x", curve=curve)]) is None


def test_a_curve_is_compact():
    long = [(i, i / 10, {"psnr": 10 + i / 100}) for i in range(1, 2000)]
    found = mean_curve([record("a", "x", curve=long)])
    assert len(found["steps"][0]) == MOST_POINTS
    assert found["steps"][0][-1] == 1999 and found["steps"][1][-1] == pytest.approx(29.99, abs=0.01)


def test_stages_are_means_and_small_ones_are_together():
    stages = [{"fit": 9.0, "start": 1.0, "tiny": 0.001, "tinier": 0.001}, {"fit": 11.0, "start": 1.0}]
    site = make_site([record("a", image, stage_seconds=s) for image, s in zip("xy", stages, strict=True)])
    (found,) = timed(site).values()
    assert found["at"][0]["stages"] == {"fit": 10, "start": 1, "other": 0.001}


def test_times_of_a_row():
    busy = Provenance(device="cpu", cores=2, threads=1, load_average=3.0)
    quiet = busy.model_copy(update={"load_average": 0.5})
    start = WarmStart(entry="b", file_sha256="0" * 64, seconds=0.25)
    site = make_site([
        record("a", "x", encode_seconds=1.0, decode_seconds=0.1, provenance=busy, start=start),
        record("a", "y", encode_seconds=3.0, decode_seconds=0.3, provenance=quiet, start=start),
        record("a", "z", status="failed", reason="no", encode_seconds=None, decode_seconds=None),
    ])  # fmt: skip
    (found,) = timed(site).values()
    assert found["device"] == "cpu, 1 thread"
    assert found["at"] == {
        0: {"psnr": 30, "encode_seconds": 2, "decode_seconds": 0.2, "range": [1, 3], "decode": 0.1,
            "load": [0.25, 1.5], "busy": True, "warm": 0.25}
    }  # fmt: skip


def test_times_are_over_the_images_on_which_most_methods_can_be_compared():
    site = make_site([
        *entry("all", 0.0, method="air"), *entry("some", 1.0, IMAGES[:4]),
        *entry("other", 1.0, IMAGES[:4], method="lig"),
        *entry("threads", 1.0, IMAGES[:2], method="air", provenance=Provenance(device="cpu", threads=2)),
    ])  # fmt: skip
    data = times.times_data(site)
    found = data["datasets"]["photos"]
    scope = found["scopes"]["N = 1\u202f000"]
    assert [(len(found["subsets"][place]), rows, methods) for place, rows, methods in scope["cpu"]] == [
        (4, 3, 3),
        (12, 1, 1),
    ]
    assert [(len(found["subsets"][place]), rows) for place, rows, _ in scope["cpu, 2 threads"]] == [(2, 1)]
    row = next(row for row in site.rows if row.family == "all")
    at = data["rows"][row.id]["at"]
    assert {len(found["subsets"][place]): numbers["psnr"] for place, numbers in at.items()} == {
        4: pytest.approx(30.015, abs=1e-4), 12: pytest.approx(30.055, abs=1e-4)
    }  # fmt: skip
    assert all(numbers["interval"][0] < numbers["psnr"] < numbers["interval"][1] for numbers in at.values())


def test_rows_without_a_time_and_snapshots_are_left_out():
    assert timed(make_site([record("a", "x", encode_seconds=None), record("b", "x", snapshot="5")])) == {}


def pages(site):
    yield from board.pages(site)
    yield from times.pages(site)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("times")
    curve = [(1, 0.5, {"psnr": 10.0}), (10, 2.0, {"psnr": 30.0})]
    gpu = Provenance(device="Some GPU")
    site = make_site([
        *entry("<i>fast</i>", 0.0, curve=curve, stage_seconds={"fit": 1.5, "start": 0.5}),
        *entry("slow", 3.0, encode_seconds=20.0),
        *entry("beaten", -1.0, encode_seconds=30.0),
        *entry("elsewhere", 5.0, encode_seconds=0.1, provenance=gpu),
        *entry("jpeg", 1.0, encode_seconds=0.01, column="control"),
        *entry("other data", 1.0, dataset="drawings", images=IMAGES[:2]),
    ])  # fmt: skip
    write(site, path, pages)
    return path


def test_one_device_at_a_time_front_and_tables(folder, watched):
    page = watched.page
    page.goto((folder / "time.html").as_uri())
    page.locator("#quality svg[role=img]").wait_for()
    legend = page.locator("#quality .legend button")
    names = ["1 <i>fast</i>, ours", "2 slow, ours", "3 beaten, ours"]
    assert legend.all_inner_texts() == names
    page.locator("#quality summary").click()
    page.locator("#quality tbody tr").first.wait_for()
    rows = page.locator("#quality tbody tr")
    assert [row.locator("td").nth(7).inner_text() for row in rows.all()] == ["yes", "yes", ""]

    page.get_by_label("Device").select_option("Some GPU")
    assert legend.all_inner_texts() == ["1 elsewhere, ours"]
    page.get_by_label("Device").select_option("cpu")
    page.get_by_label("with classical codecs").check()
    assert legend.all_inner_texts()[0].startswith("1 jpeg")

    page.locator("#convergence svg[role=img]").wait_for()
    assert page.locator("#convergence .legend button").count() == 1
    page.get_by_label("Convergence against").select_option("steps")
    page.locator("#convergence summary").click()
    page.locator("#convergence tbody tr").first.wait_for()
    assert page.locator("#convergence tbody tr td:nth-child(4)").all_inner_texts() == ["1.00", "10.0"]

    page.locator("#stages summary").click()
    page.locator("#stages tbody tr").first.wait_for()
    assert page.locator("#stages tbody td:nth-child(5)").all_inner_texts() == ["75.0", "25.0"]

    page.get_by_label("Data set").select_option("drawings")
    assert legend.all_inner_texts() == ["1 other data, ours"]
    assert watched.problems == []


def test_the_front_keeps_rows_that_nothing_beats(folder, watched):
    watched.page.goto((folder / "time.html").as_uri())
    rows = [{"seconds": s, "psnr": p} for s, p in [(5, 30), (1, 20), (2, 19), (1, 18), (9, 30), (10, 31)]]
    front = watched.page.evaluate("rows => splatbench.times.front(rows).map(r => [r.seconds, r.psnr])", rows)
    assert front == [[1, 20], [5, 30], [10, 31]]

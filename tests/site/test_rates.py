"""Rate-distortion: series, the images that they are compared on, Bjøntegaard deltas, and the page in a browser."""

from __future__ import annotations

import math

import numpy as np
import pytest

from splatbench.analysis.bd import Curve, bd_quality, bd_rate
from splatbench.site import rates
from splatbench.site.bjontegaard import INTERPOLATION, deltas
from splatbench.site.rows import site_rows
from splatbench.site.series import series_of, subsets
from tests.site.test_board import IMAGES, make_site, record, write

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


def curve(name: str, gain: float, images=IMAGES[:6], rates=RATES, **changes) -> list:
    """6 dB per doubling of the rate, a little more on later images; `gain` dB above that."""
    return [
        record(
            name, image, 30 + gain + 6 * math.log2(rate) + 0.1 * i * math.sqrt(rate),
            budget={"quality": int(100 * rate)}, budget_slug=f"q{rate}", n_target=None,
            bpp=rate * (1 + 0.01 * i), bytes=int(2500 * rate), **changes,
        )
        for rate in rates
        for i, image in enumerate(images)
    ]  # fmt: skip


def test_a_series_has_one_point_per_budget_and_another_one_per_settings():
    records = [*curve("a", 0), *curve("a", 1, config={"which": "b"}, config_hash="b")]
    found = series_of(site_rows(records))
    assert [(s.label, len(s.rows)) for s in found] == [("a, ours (which a)", 5), ("a, ours (which b)", 5)]
    assert len({s.key for s in found}) == 2
    assert [row.row.means["bpp"] for row in found[0].rows] == sorted(row.row.means["bpp"] for row in found[0].rows)


def test_quality_zero_is_a_budget_like_any_other():
    """0 is false: it must not make a series of its own."""
    zero = [record("a", image, 20.0, budget={"quality": 0}, budget_slug="q0", bpp=0.1) for image in IMAGES[:6]]
    assert [len(s.rows) for s in series_of(site_rows([*zero, *curve("a", 0)]))] == [6]


@pytest.mark.parametrize(("size", "kind"), [(1000 * 24, "float"), (1000 * 6, "quantised")])
def test_float32_files_are_told_by_their_bits_per_gaussian(size, kind):
    assert [s.kind for s in series_of(site_rows([record("a", "x", bytes=size)]))] == [kind]
    assert [s.kind for s in series_of(site_rows([record("a", "x", bytes=size, column="control")]))] == ["control"]


def test_snapshots_and_failures_are_no_points():
    records = [record("a", "x", snapshot="100"), record("b", "x", None, status="failed", reason="no", bpp=None)]
    assert series_of(site_rows(records)) == []
    assert rates.rates_data(make_site(records), ["psnr"])["datasets"] == {}


def test_the_default_images_are_those_on_which_most_curves_can_be_compared():
    records = [*curve("a", 0), *curve("b", 1), *curve("few", 2, IMAGES[:2])]
    records += [record("single", image, budget={"quality": 7}, budget_slug="q7", bpp=1.0) for image in IMAGES]
    found = subsets(series_of(site_rows(records)))
    assert [(s.images, s.series, s.curves) for s in found] == [
        (tuple(IMAGES[:2]), 4, 3),
        (tuple(IMAGES[:6]), 3, 2),
        (tuple(IMAGES), 1, 0),
    ]


def test_points_are_means_over_exactly_the_chosen_images():
    site = make_site([*curve("a", 0), *curve("few", 2, IMAGES[:2])])
    data = rates.rates_data(site, ["psnr"])
    (a, few) = data["datasets"]["photos"]["series"]
    two, six = (
        ["2 images" in s["label"] for s in data["datasets"]["photos"]["subsets"]].index(x) for x in (True, False)
    )
    assert data["numbers"] == ["bpp", "n_actual", "bytes", "psnr"]
    first = a["points"][0]["means"]
    assert first[six] == [pytest.approx(0.25 * 1.025, rel=1e-5), 1000, 625, pytest.approx(18 + 0.25 * 0.5, rel=1e-5)]
    assert first[two] == [pytest.approx(0.25 * 1.005, rel=1e-5), 1000, 625, pytest.approx(18 + 0.05 * 0.5, rel=1e-5)]
    assert few["points"][0]["means"][six] is None


def test_deltas_of_both_directions_are_what_the_package_says_of_each_image():
    series = series_of(site_rows([*curve("a", 0), *curve("b", 1.5)]))
    images = IMAGES[:6]
    found = {(p[0], p[1]): p[2:] for p in deltas(series, images)["pairs"]}
    assert set(found) == {(0, 1), (1, 0)}
    for (anchor, test), (rate, quality) in found.items():
        curves = []
        for s in (series[anchor], series[test]):
            values = [row.row.values for row in s.rows]
            curves.append({i: Curve([v["bpp"][i] for v in values], [v["psnr"][i] for v in values]) for i in images})
        each = [bd_rate(curves[0][i], curves[1][i], interpolation=INTERPOLATION).value for i in images]
        assert rate[0] == pytest.approx(np.mean(each), abs=2e-3)
        assert rate[1] <= rate[0] <= rate[2] and rate[3] == 6
        each = [bd_quality(curves[0][i], curves[1][i], interpolation=INTERPOLATION).value for i in images]
        assert quality[0] == pytest.approx(np.mean(each), abs=2e-3)
    assert found[0, 1][1][0] == pytest.approx(1.5, abs=0.01)  # b is 1.5 dB above a everywhere


def test_without_overlap_there_is_a_reason_and_short_series_are_named():
    short = curve("short", 0, rates=RATES[:3])
    series = series_of(site_rows([*curve("a", 0), *curve("far", 60), *short]))
    found = deltas(series, IMAGES[:6])
    rate, quality = found["pairs"][0][2:]
    assert rate[:4] == [None, None, None, 0] and rate[5] == [["the curves have no quality in common", 0, 1, 2, 3, 4, 5]]
    assert quality[0] == pytest.approx(60, abs=0.01)
    assert list(found["left_out"].values()) == ["3 points on these images; 4 are needed"]


def test_a_reason_names_the_curve_that_it_is_about_in_both_directions():
    wrong = curve("wrong", 0)
    falling = [r.model_copy(update={"metrics": {"psnr": 60 - r.metrics["psnr"]}}) for r in wrong]
    found = deltas(series_of(site_rows([*curve("a", 0), *falling])), IMAGES[:6])["pairs"]
    said = "quality does not improve everywhere as the rate rises"
    # One line for all images, without the numbers of one of them.
    assert [pair[2][5] for pair in found] == [[[f"{side}: {said}", *range(6)]] for side in ("test", "anchor")]


def test_methods_that_are_gone_are_no_second_contenders():
    site = make_site([*curve("JPEG", 0, column="control"), *curve("JPEG", 0.1, column="control", method="no_longer")])
    data = rates.rates_data(site, ["psnr"])["datasets"]["photos"]
    assert [s["label"] for s in data["series"]] == ["JPEG"]
    assert data["retired"] == ["JPEG (method no_longer), 5 rows"]


def test_float32_curves_do_not_choose_the_images():
    wide = {"n_actual": 10}
    records = [*curve("a", 0), *curve("b", 1), *[r for n in "cde" for r in curve(n, 2, IMAGES[:2], **wide)]]
    found = subsets(series_of(site_rows(records)))
    assert [(len(s.images), s.curves, s.float_curves) for s in found] == [(6, 2, 0), (2, 2, 3)]


def test_float32_files_are_off_until_they_are_asked_for(tmp_path, watched):
    write(make_site([*curve("JPEG", 0, column="control"), *curve("fit", 2, n_actual=10)]), tmp_path, rates.pages)
    page = watched.page
    page.goto((tmp_path / "rates.html").as_uri())
    legend = page.locator("#rate .legend button")
    assert legend.all_inner_texts() == ["JPEG"]
    assert page.locator("#deltas table").count() == 0
    assert page.locator("#count .legend button").all_inner_texts() == ["fit, ours · float32"]
    page.get_by_role("button", name="Show them").click()
    assert legend.all_inner_texts() == ["JPEG", "fit, ours · float32"]
    assert page.locator("#deltas tbody td").nth(1).inner_text() == "500–8\u202f000"
    page.get_by_text("somewhat too narrow").wait_for()
    assert watched.problems == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("rates")
    records = [
        *curve("JPEG", 0, column="control"),
        *curve("<b>fit</b>", 2),
        *curve("few", 2, IMAGES[:2], column="published"),
    ]
    counted = [
        record("counted", image, 20 + n / 1000, budget={"gaussians": n}, budget_slug=f"n{n}", n_actual=n, bpp=n / 900)
        for n in (1000, 2000, 4000, 8000) for image in IMAGES[:6]
    ]  # fmt: skip
    write(make_site([*records, *counted]), path, rates.pages)
    return path


def test_plots_legend_table_and_anchor(folder, watched):
    page = watched.page
    page.goto((folder / "rates.html").as_uri())
    page.locator("#rate svg[role=img]").wait_for()
    shown = page.locator("#rate .legend button")
    assert shown.all_inner_texts() == ["JPEG", "<b>fit</b>, ours", "few, as published", "counted, ours"]
    dots = page.locator("#rate [data-mark=dot] > *")
    before = dots.count()
    assert before == 19
    shown.nth(1).click()
    assert shown.nth(1).get_attribute("aria-pressed") == "false"
    assert dots.count() == before - 5
    assert page.evaluate("document.activeElement.textContent") == "<b>fit</b>, ours"
    shown.nth(1).click()

    page.locator("#rate summary").click()
    page.locator("#rate tbody tr").first.wait_for()
    assert page.locator("#rate tbody tr").count() == 19
    page.locator("#count svg[role=img]").wait_for()
    assert page.locator("#count .legend button").all_inner_texts()[-1] == "counted, ours"

    assert page.get_by_label("Anchor").input_value() == page.evaluate(
        "splatbench.data('rates').datasets.photos.series.find(s => s.label === 'JPEG').key"
    )
    row = page.locator("#deltas tbody tr", has_text="<b>fit</b>")
    assert row.locator("td").nth(6).inner_text() == "+2.00"
    page.get_by_label("Anchor").select_option(label="<b>fit</b>, ours")
    row = page.locator("#deltas tbody tr", has_text="JPEG")
    assert row.locator("td").nth(6).inner_text() == "−2.00"

    page.get_by_label("Images").select_option(index=1)
    page.locator("#rate svg[role=img]").wait_for()
    assert "same 6 images" in page.locator("#summary").inner_text()
    assert "few" not in " ".join(shown.all_inner_texts())
    assert watched.problems == []


def test_no_rates_at_all(tmp_path, watched):
    write(make_site([record("a", "x", None, status="failed", reason="no", bpp=None)]), tmp_path, rates.pages)
    watched.page.goto((tmp_path / "rates.html").as_uri())
    assert "no rate to draw" in watched.page.locator("#summary").inner_text()
    assert watched.problems == []

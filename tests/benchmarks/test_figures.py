"""Figures in documents: means and paired differences of records, and refusals where there are none."""

from __future__ import annotations

import pytest

from benchmarks import figures
from splatbench.record import Record, write_records


@pytest.fixture
def records(tmp_path, monkeypatch):
    rows = [
        Record(experiment="e", dataset="d", image=image, entry=entry, method="m", budget_slug="n9", bpp=2.0, n_actual=9,
               metrics={"psnr": psnr})
        for entry, values in (("a", (30.0, 31.0, 35.0)), ("b", (29.0, 31.5, 33.0)))
        for image, psnr in zip(("x", "y", "z"), values, strict=True)
    ]  # fmt: skip
    rows.append(
        Record(experiment="e", dataset="d", image="x", entry="c", method="m", budget_slug="n9", status="failed")
    )
    rows.append(
        Record(experiment="e", dataset="d", image="x", entry="d", method="m", budget_slug="n9", metrics={"psnr": 1})
    )
    rows.append(Record(experiment="e", dataset="d", image="x", entry="a", method="m", budget_slug="n9", snapshot="7",
                       metrics={"psnr": 9}))  # fmt: skip
    write_records(tmp_path / "some.jsonl", rows)
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    figures._records.cache_clear()
    yield
    figures._records.cache_clear()


def test_means_and_differences(records):
    text = (
        "a <!--psnr some a@n9-->?<!--/-->, a - b <!--psnr some a@n9 - b@n9--><!--/--> | <!--bpp some b@n9-->0<!--/-->"
    )
    filled = figures.fill(text)
    assert filled == (
        "a <!--psnr some a@n9-->32.00<!--/-->, a - b <!--psnr some a@n9 - b@n9-->+0.83 (-0.50 … +2.00)<!--/--> | "
        "<!--bpp some b@n9-->2.000<!--/-->"
    )
    assert figures.fill(filled) == filled
    assert figures.fill("<!--n_actual some b@n9--><!--/-->") == "<!--n_actual some b@n9-->9<!--/-->"
    assert figures.fill("<!--psnr some a:7@n9--><!--/-->") == "<!--psnr some a:7@n9-->9.00<!--/-->"


@pytest.mark.parametrize("run", ["a@n8", "q@n9"])
def test_what_is_not_there(records, run):
    with pytest.raises(figures.FigureError, match=f"no psnr of {run}"):
        figures.fill(f"<!--psnr some {run}--><!--/-->")


def test_a_failed_image_is_not_left_out_silently(records):
    with pytest.raises(figures.FigureError, match=r"a mean of c@n9 would leave out x \(failed\)"):
        figures.fill("<!--psnr some c@n9--><!--/-->")


def test_a_mean_over_the_images_of_another(records):
    assert figures.fill("<!--psnr some a@n9 over d@n9--><!--/-->").endswith("-->30.00<!--/-->")
    with pytest.raises(figures.FigureError, match="lacks images"):
        figures.fill("<!--psnr some d@n9 over a@n9--><!--/-->")


def test_different_images_are_not_compared(records):
    with pytest.raises(figures.FigureError, match="different images"):
        figures.fill("<!--psnr some a@n9 - d@n9--><!--/-->")


def test_check_names_what_is_stale_and_writes_nothing(records, tmp_path, capsys):
    fresh, stale = tmp_path / "fresh.md", tmp_path / "stale.md"
    fresh.write_text("<!--bpp some b@n9-->2.000<!--/-->")
    stale.write_text("<!--bpp some b@n9-->1.999<!--/-->")
    assert figures.main(["--check", str(fresh)]) == 0
    assert figures.main(["--check", str(fresh), str(stale)]) == 1
    assert f"stale: {stale};" in capsys.readouterr().err
    assert "1.999" in stale.read_text()
    assert figures.main([str(fresh), str(stale)]) == 0
    assert stale.read_text() == fresh.read_text()
    assert figures.main(["--check"]) == 2

"""Means, common subsets, tracks and ranks, against arithmetic done by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splatbench.record import Record
from splatbench.report.aggregate import Row, frame, summarise, track_of

Make = Callable[..., Record]


def entry(record: Make, name: str, values: dict[str, float], **changes: object) -> list[Record]:
    """Records of one entry: image -> PSNR."""
    return [record(entry=name, image=image, metrics={"psnr": value}, **changes) for image, value in values.items()]


def failed(record: Make, name: str, image: str, status: str = "diverged", reason: str = "NaN") -> Record:
    return record(entry=name, image=image, status=status, reason=reason, metrics={}, bytes=None, encode_seconds=None)


def only(rows: list[Row], name: str) -> Row:
    (row,) = [row for row in rows if row.record.entry == name]
    return row


def test_means_are_of_per_image_values(record: Make) -> None:
    rows = summarise(entry(record, "a", {"x": 20.0, "y": 30.0, "z": 31.0}))
    row = only(rows, "a")
    assert row.means["psnr"] == pytest.approx(27.0)
    assert row.spreads["psnr"] == pytest.approx(statistics.stdev([20.0, 30.0, 31.0]))
    assert (row.images, row.total, row.counts["psnr"]) == (("x", "y", "z"), 3, 3)


@given(st.lists(st.floats(5, 60), min_size=1, max_size=30))
def test_mean_lies_between_the_extremes_and_counts_match(values: list[float]) -> None:
    records = [
        Record(experiment="e", dataset="d", image=str(i), entry="a", method="m", metrics={"psnr": value})
        for i, value in enumerate(values)
    ]
    row = summarise(records)[0]
    assert min(values) - 1e-9 <= row.means["psnr"] <= max(values) + 1e-9
    assert row.means["psnr"] == pytest.approx(statistics.fmean(values))
    assert row.counts["psnr"] == len(values) == row.total


def test_failures_are_counted_with_their_reasons_and_never_averaged(record: Make) -> None:
    records = [
        *entry(record, "a", {"x": 30.0, "y": 32.0}),
        failed(record, "a", "z"),
        failed(record, "a", "w", "failed", "?"),
    ]
    row = only(summarise(records), "a")
    assert row.means["psnr"] == pytest.approx(31.0)
    assert (len(row.images), row.total) == (2, 4)
    assert row.statuses == {"diverged": 1, "failed": 1}
    assert row.reasons == {("diverged", "NaN"): ("z",), ("failed", "?"): ("w",)}


def test_ranks_are_on_the_images_that_all_have(record: Make) -> None:
    """`a` is better on each image; its mean looks worse only because `b` failed on the hard one."""
    records = [
        *entry(record, "a", {"easy": 40.0, "hard": 20.0}),
        *entry(record, "b", {"easy": 39.0}),
        failed(record, "b", "hard"),
    ]
    rows = summarise(records)
    a, b = only(rows, "a"), only(rows, "b")
    assert a.means["psnr"] < b.means["psnr"]
    assert (a.rank, b.rank, a.common, b.common) == (1, 2, 1, 1)
    assert a.common_mean == pytest.approx(40.0)


def test_a_row_without_any_result_does_not_empty_the_common_subset(record: Make) -> None:
    records = [
        *entry(record, "a", {"x": 30.0}),
        *entry(record, "b", {"x": 31.0}),
        failed(record, "c", "x", "not_run", "no GPU"),
    ]
    rows = summarise(records)
    assert [only(rows, name).rank for name in "abc"] == [2, 1, None]
    assert only(rows, "c").unranked == "no image succeeded"


def test_disjoint_images_are_not_ranked(record: Make) -> None:
    rows = summarise([*entry(record, "a", {"x": 30.0}), *entry(record, "b", {"y": 31.0})])
    assert [row.rank for row in rows] == [None, None]
    assert all("no image has results of all rows" in (row.unranked or "") for row in rows)


def test_equal_as_printed_is_a_tie(record: Make) -> None:
    rows = summarise(
        [*entry(record, "a", {"x": 30.001}), *entry(record, "b", {"x": 30.004}), *entry(record, "c", {"x": 29.0})]
    )
    assert [row.rank for row in rows] == [1, 1, 3]


def test_lower_is_better_where_the_registry_says_so(record: Make) -> None:
    records = [record(entry=n, metrics={"lpips_alex": v}) for n, v in (("a", 0.2), ("b", 0.1))]
    assert [row.rank for row in summarise(records, rank_by="lpips_alex")] == [2, 1]


@pytest.mark.parametrize(
    ("n_actual", "ranked"), [(28000, True), (28280, True), (27720, True), (28281, False), (27700, False)]
)
def test_a_row_more_than_one_percent_off_its_target_is_not_ranked(record: Make, n_actual: int, ranked: bool) -> None:
    rows = summarise([record(entry="a"), record(entry="b", n_actual=n_actual)])
    row = only(rows, "b")
    assert (row.rank is not None) == ranked
    if not ranked:
        assert "off its target (kodim01.png); 1 % is allowed" in (row.unranked or "")


def test_one_image_off_target_is_enough(record: Make) -> None:
    records = [record(entry="a", image=f"{i}", n_actual=28000 if i else 30000) for i in range(10)]
    assert "7.14 %" in (only(summarise(records), "a").unranked or "")


def test_tracks_targets_snapshots_seeds_and_settings_are_not_mixed(record: Make) -> None:
    records = [
        record(entry="a"),
        record(entry="b", budget={"gaussians": 37000}),
        record(entry="c", budget={"bpp": 1.0}, n_target=None),
        record(entry="d", column="control"),
        record(entry="e", snapshot="400"),
        record(entry="a", seed=2),
        record(entry="a", config_hash="bbbbbbbb"),
    ]
    rows = summarise(records)
    assert len(rows) == 7
    assert [row.track for row in rows] == [
        "gaussians",
        "gaussians",
        "bytes",
        "controls",
        "gaussians",
        "gaussians",
        "gaussians",
    ]
    assert only(rows, "d").unranked == "control" and only(rows, "d").rank is None
    assert "snapshot" in (only(rows, "e").unranked or "") and only(rows, "e").iterations == 400
    assert [row.rank_of for row in rows if row.record.entry == "a"] == [3, 3, 3]
    assert only(rows, "b").unranked == "the only row of this budget"


def test_an_entry_that_counts_itself_competes_with_those_matched_to_it(record: Make) -> None:
    native = record(entry="air", budget={"native": True}, n_target=None, n_actual=21000, metrics={"psnr": 31.0})
    matched = record(entry="a", budget={"matched_to": "air"}, n_target=21000, n_actual=21000, metrics={"psnr": 30.0})
    rows = summarise([native, matched])
    assert [(row.rank, row.rank_of) for row in rows] == [(1, 2), (2, 2)]


def test_a_rate_is_checked_like_a_count(record: Make) -> None:
    rows = summarise(
        [
            record(entry="a", budget={"bpp": 1.0}, n_target=None, bytes=49152),
            record(entry="b", budget={"bpp": 1.0}, n_target=None, bytes=49152 * 98 // 100 + 1),
            record(entry="d", budget={"bpp": 1.0}, n_target=None, bytes=49152 * 97 // 100),
            record(entry="c", budget={"quality": 50}, n_target=None, bytes=49152),
        ]
    )
    assert [row.track for row in rows] == ["bytes"] * 4
    assert [only(rows, name).rank for name in "ab"] == [1, 1]
    assert "rate is up to 3.00 % off its target (kodim01.png); 2 % is allowed" in (only(rows, "d").unranked or "")
    assert "rate–distortion curve" in (only(rows, "c").unranked or "")


def test_metrics_that_were_not_run_keep_their_reason(record: Make) -> None:
    reason = "weights missing; run splatbench weights fetch lpips_vgg"
    records = [record(metrics={"psnr": 30.0, "lpips_vgg": None}, metrics_not_run={"lpips_vgg": reason})]
    row = summarise(records)[0]
    assert "lpips_vgg" not in row.means and row.not_run == {"lpips_vgg": (reason,)}
    assert "lpips_vgg was not run: weights missing" in (summarise(records, rank_by="lpips_vgg")[0].unranked or "")


def test_the_frame_holds_every_record_and_every_raw_value(experiment_records: list[Record]) -> None:
    table = frame(experiment_records)
    assert len(table) == len(experiment_records)
    assert table["psnr"].dropna().tolist() == [r.metrics["psnr"] for r in experiment_records if r.metrics.get("psnr")]
    assert {"provenance_commit", "file_sha256", "config_hash", "reason"} <= set(table.columns)


def test_controls_are_apart_by_their_column_alone(record: Make) -> None:
    assert track_of(record(column="control", budget={"gaussians": 28000})) == "controls"
    assert track_of(record(column="ours", budget={"native": True})) == "gaussians"


def test_the_table_shows_all_steps_that_were_done(record: Make) -> None:
    """A quantised fit of 800 steps does 300 more; the setting that is compared with papers stays 800."""
    row = only(summarise([record(entry="a", image=name, iterations=1100) for name in "xy"]), "a")
    assert (row.iterations, row.steps) == (800, 1100)
    uneven = [record(entry="b", image="x", iterations=700), record(entry="b", image="y", iterations=640)]
    assert only(summarise(uneven), "b").steps == 800


def test_the_snapshot_of_a_start_has_no_steps_behind_it(record: Make) -> None:
    rows = {
        snapshot: summarise([record(snapshot=snapshot, budget={"gaussians": 9, "iterations": 500}, iterations=steps)])[
            0
        ]
        for snapshot, steps in (("init", None), ("100", 100), ("final", 500))
    }
    assert {snapshot: row.iterations for snapshot, row in rows.items()} == {"init": 0, "100": 100, "final": 500}
    assert rows["init"].label == rows["final"].label + ", its start alone"

"""Records of several experiments as rows of one site."""

from __future__ import annotations

import pytest

from splatbench.record import ContainerImage, Provenance, Record
from splatbench.site.rows import site_rows


def record(image: str = "a", psnr: float = 30.0, time: str = "2026-01-01T00:00:00+00:00", **changes) -> Record:
    values = {
        "experiment": "one",
        "dataset": "kodak",
        "image": image,
        "entry": "rs",
        "method": "gaussianimage",
        "family": "GaussianImage (RS)",
        "column": "corrected",
        "config_hash": "abc",
        "budget": {"gaussians": 100},
        "budget_slug": "n100",
        "n_target": 100,
        "n_actual": 100,
        "bytes": 1000,
        "bpp": 1.0,
        "metrics": {"psnr": psnr},
        "encode_seconds": 2.0,
        "provenance": Provenance(time=time, device="cpu"),
    }
    return Record(**values | changes)


def test_the_same_measurement_of_two_experiments_is_one_row_of_the_more_complete_one():
    rows = site_rows(
        [
            record("a", 31.0, experiment="two", entry="other", time="2026-02-01T00:00:00+00:00"),
            record("a", 30.0),
            record("b", 32.0),
        ]
    )
    assert len(rows) == 1
    assert rows[0].row.values["psnr"] == {"a": 30.0, "b": 32.0}
    assert rows[0].experiments == ("two", "one")
    assert rows[0].record.entry == "rs"


def test_runs_are_never_pieced_together():
    """Neither metrics nor times of a row are of several runs."""
    first = [record(image, 30.0, metrics={"psnr": 30.0, "lpips_alex": 0.5}, encode_seconds=8.0) for image in "abc"]
    second = [record(image, 30.0, experiment="two", encode_seconds=16.0, time="2027-01-01") for image in "ab"]
    (row,) = site_rows([*first, *second])
    assert row.row.means["encode_seconds"] == 8.0
    assert row.row.counts["lpips_alex"] == len(row.row.images) == 3


def test_of_equally_many_images_the_run_with_more_metrics_counts_then_the_newest():
    more = record(metrics={"psnr": 30.0, "ssim": 0.9})
    newer = record(psnr=31.0, experiment="two", time="2027-01-01")
    assert site_rows([more, newer])[0].row.means["psnr"] == 30.0
    assert site_rows([record(), newer])[0].row.means["psnr"] == 31.0


def test_a_success_is_not_replaced_by_a_newer_failure():
    failure = record("a", status="failed", reason="x", experiment="two", time="2027-01-01T00:00:00+00:00", metrics={})
    (row,) = site_rows([record("a", 30.0), failure])
    assert row.row.means["psnr"] == 30.0
    assert not row.row.statuses


@pytest.mark.parametrize(
    ("load", "cores", "busy"), [(2.1, 2, True), (1.9, 2, False), (None, 2, False), (3.0, 0, False)]
)
def test_times_of_a_busy_machine_are_known(load, cores, busy):
    (row,) = site_rows([record(provenance=Provenance(load_average=load, cores=cores))])
    assert row.busy is busy


@pytest.mark.parametrize(
    "change",
    [
        {"config_hash": "def"},
        {"column": "published"},
        {"snapshot": "100"},
        {"budget": {"gaussians": 200}, "budget_slug": "n200"},
        {"dataset": "sample"},
        {"implementation": "official"},
        {"method": "air"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_differs_is_another_row(change):
    rows = site_rows([record(), record(**change)])
    assert len(rows) == 2
    assert len({row.id for row in rows}) == 2


def test_matched_rows_share_a_board_with_what_they_are_matched_to_whatever_its_entry_is_called():
    native = record(entry="air_small", method="air", family="AIR-small", budget={"native": True}, budget_slug="native")
    matched = {"budget": {"matched_to": "air_small"}, "budget_slug": "match-air_small"}
    other = record(experiment="two", entry="air", method="air", family="AIR-small", budget={"native": True},
                   budget_slug="native")  # fmt: skip
    elsewhere = {"budget": {"matched_to": "air"}, "budget_slug": "match-air", "experiment": "two"}
    rows = site_rows([native, record(**matched), other, record("b", **elsewhere)])
    assert len(rows) == 2
    assert {row.board for row in rows} == {("kodak", "gaussians", "counts of AIR-small")}
    assert [row.experiments for row in rows] == [("one", "two"), ("one", "two")]


def test_matched_to_entries_of_the_same_name_but_other_settings_are_not_mixed():
    rows = []
    for experiment, config in (("one", "h1"), ("two", "h2")):
        rows.append(record(entry="network", method="air", config_hash=config, experiment=experiment,
                           budget={"native": True}, budget_slug="native"))  # fmt: skip
        rows.append(record(budget={"matched_to": "network"}, budget_slug="match-network", experiment=experiment))
    assert len(site_rows(rows)) == 4


def test_seeds_are_pooled_image_by_image():
    rows = site_rows(
        [record("a", 30.0, seed=1), record("b", 40.0, seed=1), record("a", 31.0, seed=2), record("b", 42.0, seed=2)]
    )
    (row,) = rows
    assert row.seeds == (1, 2)
    assert row.row.values["psnr"] == {"a": 30.5, "b": 41.0}
    assert row.row.means["psnr"] == pytest.approx(35.75)
    assert row.spread["psnr"].spread == pytest.approx(((35 - 36.5) ** 2 / 2) ** 0.5)


def test_a_seed_that_failed_is_left_out_and_seen():
    failed = record("a", status="diverged", reason="NaN", seed=2, metrics={})
    (row,) = site_rows([record("a", 30.0), record("b", 32.0), failed, record("b", 34.0, seed=2)])
    assert row.row.values["psnr"] == {"a": 30.0, "b": 33.0}
    assert [r.status for r in row.records if r.seed == 2] == ["diverged", "ok"]


def test_ids_do_not_depend_on_what_else_is_there():
    alone = site_rows([record()])[0].id
    assert site_rows([record(method="air"), record()])[1].id == alone


def test_images_are_counted_over_the_whole_data_set():
    rows = site_rows([record("a"), record("b", method="air"), record("c", dataset="sample")])
    assert [row.row.total for row in rows] == [2, 2, 1]


def test_unranked_rows_say_why():
    rows = site_rows(
        [record(), record(column="control"), record(snapshot="100"), record("a", status="failed", reason="x")]
    )
    assert [row.unranked is None for row in rows][:1] == [True]
    assert rows[1].unranked == "control"
    assert "snapshot" in (rows[2].unranked or "")


def test_settings_of_one_family_that_choose_other_counts_are_other_boards():
    native = {"method": "air", "family": "AIR", "budget": {"native": True}, "budget_slug": "native"}
    rows = site_rows(
        [
            record(entry="strict", config_hash="h1", **native),
            record(entry="loose", config_hash="h2", **native),
            record(entry="loose", config_hash="h2", experiment="two", **native),
            record(budget={"matched_to": "loose"}, budget_slug="match-loose"),
        ]
    )
    assert [row.target for row in rows] == ["counts of AIR, strict", "counts of AIR, loose", "counts of AIR, loose"]


def test_counts_that_reach_a_quality_are_told_apart():
    reach = {"method": "air", "family": "AIR", "entry": "air"}
    rows = site_rows([record(budget={"psnr": p}, budget_slug=f"p{p}", **reach) for p in (32.0, 35.0)])
    assert [row.target for row in rows] == ["counts of AIR, air, 32 dB", "counts of AIR, air, 35 dB"]


def test_what_any_of_a_rows_records_is_stale_for_is_said_once():
    old = Provenance(device="cpu", image=ContainerImage(name="splatbench-cpu", recipe="ab" * 32))
    (row,) = site_rows([record("a"), record("b", provenance=old), record("c", provenance=old)])
    assert len(row.stale) == len(set(row.stale))
    assert any("an image of another recipe (splatbench-cpu ababababab" in reason for reason in row.stale)

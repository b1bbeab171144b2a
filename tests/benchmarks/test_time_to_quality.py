"""Quality against time: reached levels, overtaking, and the table and figure of made-up records with known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import time_to_quality
from benchmarks.time_to_quality import NEVER, Curve, fill, mean_curve, overtaken, read_series, setting, table
from splatbench.experiment import load_experiment
from splatbench.record import Record, WarmStart, write_records


def curve(*points: tuple[float, float]) -> Curve:
    return Curve(*np.array(points, float).T)


def test_a_level_is_reached_between_two_points():
    rising = curve((1, 20), (2, 30), (6, 34))
    assert rising.reach(20) == rising.reach(15) == 1
    assert rising.reach(25) == pytest.approx(1.5) and rising.reach(31) == pytest.approx(3)
    assert rising.reach(34) == 6 and rising.reach(34.001) == NEVER
    assert curve((1, 20), (2, 30), (3, 25), (4, 32)).reach(31) == pytest.approx(3 + 6 / 7)
    assert curve((1, 20), (2, 30), (3, 25), (4, 32)).reach(29) == pytest.approx(1.9)


def test_overtaking_is_where_the_curves_cross():
    learned, own = curve((1, 25), (11, 30)), curve((1, 10), (11, 35))  # 25 + t/2, 10 + 2.5 t: equal at t = 7.5
    assert overtaken(learned, own) == pytest.approx(8.5)
    assert overtaken(own, learned) == NEVER  # ahead at first, not at the end


def test_overtaken_for_a_while_is_not_overtaken():
    learned = curve((0, 20), (4, 20), (5, 30), (10, 30))
    own = curve((0, 10), (2, 25), (10, 25))
    assert overtaken(learned, own) == NEVER
    assert overtaken(curve((0, 20), (10, 20)), own) == pytest.approx(2 * 10 / 15)


@pytest.mark.parametrize(
    ("learned", "own", "expected"),
    [
        (curve((3, 20), (10, 21)), curve((1, 22), (10, 30)), 3.0),  # behind from its first picture on
        (curve((1, 20), (10, 30)), curve((1, 20), (10, 30)), NEVER),  # equal
        (curve((5, 20), (6, 30)), curve((1, 22), (4, 40)), NEVER),  # never at the same time
        # 20 + 10/9 (t - 1) and 10 + 3 (t - 1) meet at 1 + 90/17; after 8 s nobody knows
        (curve((1, 20), (10, 30)), curve((1, 10), (8, 31)), 1 + 90 / 17),
    ],
)
def test_overtaking_at_the_ends(learned, own, expected):
    assert overtaken(learned, own) == pytest.approx(expected)


def made(entry: str, image: str = "x", start: str | None = None, points=((1, 20), (3, 30)), end=None, **fields):
    """A fit whose last point is its decoded file; the others are those of the curve."""
    *points, (seconds, psnr) = [*points, end] if end else points
    record = {
        "experiment": "e", "dataset": "d", "image": image, "entry": entry, "method": "m", "family": "Fit",
        "budget_slug": f"from-{start}", "n_actual": 100, "encode_seconds": seconds, "metrics": {"psnr": psnr},
        "curve": [(i, at, {"psnr": value, "loss": 1.0}) for i, (at, value) in enumerate(points, 1)],
        "start": WarmStart(entry=start, file_sha256="0", seconds=0.5) if start else None,
    }  # fmt: skip
    return Record(**(record | fields))


@pytest.fixture
def records() -> list[Record]:
    """Images x and y. Own: 10 + 2 t, and 2 dB less on y. From the network: 27 dB at 1 s, 31 at 11 s, on both."""
    net = [made("net", image, family="Network", points=[(0.5, 27)], curve=[(1, 0.2, {"mse": 0.01})]) for image in "xy"]
    own = [
        made("fit", image, points=[(t, 10 + 2 * t - less) for t in (1, 2, 5, 11)])
        for image, less in (("x", 0), ("y", 2))
    ]
    warm = [made("fit", image, "net", points=[(1, 27), (6, 29), (11, 31)], n_actual=99) for image in "xy"]
    snapshot = own[0].model_copy(update={"snapshot": "100"})
    return [*net, *own, *warm, snapshot]


def test_series_are_optimisers_and_their_starts(records):
    own, warm = read_series(records)
    assert (own.family, own.start, own.learned) == ("Fit", "own start", False)
    assert (warm.family, warm.start, warm.learned) == ("Fit", "Network", True)
    assert set(own.curves) == set(warm.curves) == {"x", "y"}
    np.testing.assert_allclose(own.curves["y"].psnr, [10, 12, 18, 30])
    np.testing.assert_allclose(warm.curves["x"].seconds, [1, 6, 11])


def test_the_table_of_known_answers(records):
    # own reaches 28 dB at 9 s on x, and at 10 s on y; 30 at 10 and at the end, 11; 32 on x alone, at its end.
    # The network's start has 28 dB at 3.5 s, 30 at 8.5. Own 10 + 2 t and start 26.6 + 0.4 t meet at 10.375 on x only.
    lines = table(read_series(records)).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["optimiser", "start", "N", "first picture", "28 dB [s]", "30 dB [s]", "32 dB [s]", "35 dB [s]",
                        "40 dB [s]", "at the end [dB]", "overtaken [s]"]  # fmt: skip
    assert cells[2] == ["Fit", "own start", "100", "11.00 dB at 1.00 s", "9.50", "10.50", "– (1 of 2)", "–", "–",
                        "31.00", ""]  # fmt: skip
    assert cells[3] == ["Fit", "Network", "99", "27.00 dB at 1.00 s", "3.50", "8.50", "–", "–", "–", "31.00",
                        "– (1 of 2)"]  # fmt: skip


@pytest.mark.parametrize(
    ("times", "level", "overtaken_at"),
    [
        ([1, 2, 3, 5], "2.50", "2.50"),
        ([1, 2, 3, NEVER], "2.50 (3 of 4)", "2.50 (3 of 4)"),
        ([1, 2, NEVER, NEVER], "– (2 of 4)", "– (2 of 4)"),
        ([1, 2, NEVER], "2.00 (2 of 3)", "2.00 (2 of 3)"),
        ([NEVER, NEVER], "–", "never"),
    ],
)
def test_a_median_is_of_all_images_and_never_is_said_of_all_alone(times, level, overtaken_at):
    fits = [
        made("fit", str(i), points=[(0.5, 20), (t, 28)] if t < NEVER else [(1, 20), (9, 21)])
        for i, t in enumerate(times)
    ]
    row = table(read_series(fits)).splitlines()[2].split("|")
    assert row[5].strip() == level
    # The network's start stays at 20 dB; its own one is at 20 at these times, and above it later, or never.
    warm = [made("fit", str(i), "net", points=[(0.1, 20), (9, 20)]) for i in range(len(times))]
    own = [
        made("fit", str(i), points=[(0.1, 10), (t, 20), (9, 21)] if t < NEVER else [(0.1, 10), (9, 19)])
        for i, t in enumerate(times)
    ]
    row = table(read_series([*warm, *own])).splitlines()[2].split("|")
    assert row[-2].strip() == overtaken_at


def test_refinements_of_a_network_and_several_own_starts():
    fits = [
        made("a", config={"start": "network"}, points=[(1, 30), (9, 31)]),
        made("b", config={"start": "random"}, points=[(1, 10), (9, 32)]),
        made("c", config={"start": "gradient"}, points=[(1, 20), (9, 33)]),
    ]
    series = read_series(fits)
    assert [(one.start, one.learned) for one in series] == [
        ("its network", True), ("own start (random)", False), ("own start (gradient)", False),
    ]  # fmt: skip
    # gradient is ahead from 1 + 10 / (13/8 - 1/8) = 7.67 s on, random from 1 + 20 / (22/8 - 1/8) = 8.62 s
    assert table(series).splitlines()[2].strip("| ").endswith("7.67")


def test_nothing_is_left_out_silently(records):
    failed = made("fit", "z", "net").model_copy(update={"status": "failed", "reason": "NaN"})
    with pytest.raises(ValueError, match=r"would leave out z, fit from-net: failed, NaN"):
        read_series([*records, failed])
    with pytest.raises(ValueError, match="Fit from Network lacks z"):
        read_series([*records, made("fit", "z")])
    with pytest.raises(ValueError, match="Fit from own start is there twice"):
        read_series([*records, made("other", "x")])
    with pytest.raises(ValueError, match="no record has a convergence curve"):
        read_series(records[:2])
    with pytest.raises(ValueError, match="needs a convergence curve, an encode time and a PSNR"):
        read_series([made("fit", metrics={})])


def test_the_mean_over_images_is_where_all_have_a_picture():
    one, two = made("fit", "x", points=[(1, 20), (5, 24)]), made("fit", "y", points=[(2, 30), (9, 44)])
    (series,) = read_series([one, two])
    times, mean = mean_curve(series, 7)
    assert times[0] == pytest.approx(2) and times[-1] == pytest.approx(5) and len(times) == 7
    np.testing.assert_allclose(mean, (19 + times + 26 + 2 * times) / 2)


def test_documents_and_figures(records, tmp_path, capsys):
    write_records(tmp_path / "r.jsonl", records)
    document = tmp_path / "d.md"
    empty = "# A\n<!--time_to_quality table--><!--/time_to_quality-->\nb\n<!--time_to_quality setting-->\nold\n"
    document.write_text(empty + "<!--/time_to_quality-->\n")
    command = [str(tmp_path / "r.jsonl"), "--fill", str(document), "--figure", str(tmp_path / "f.svg")]
    assert time_to_quality.main(command) == 0
    text = document.read_text()
    series = read_series(records)
    assert table(series) in text and setting(series, records) in text and "old" not in text
    assert fill(text, series, records) == text
    assert (tmp_path / "f.svg").read_text().count("<path") > 10
    (panel,) = [axes for axes in time_to_quality.figure(series).axes if axes.lines]
    assert panel.get_title() == "Fit" and {line.get_label() for line in panel.lines} == {"own start", "Network"}
    assert "| – (1 of 2)" in capsys.readouterr().out
    with pytest.raises(ValueError, match="known are table, setting"):
        fill("<!--time_to_quality rows--><!--/time_to_quality-->", series, records)
    assert time_to_quality.main([str(tmp_path / "missing.jsonl")]) == 1


def test_the_experiment_compares_equal_counts_and_times():
    """Every fit of config/time_to_quality.yaml is stopped after the same time and has, directly or not, AIR-small's
    count; beside every learned start there is another of the same optimiser."""
    experiment = load_experiment(Path(__file__).resolve().parents[2] / "config" / "time_to_quality.yaml")
    fits = [(entry, budget) for entry in experiment.entries for budget in entry.budgets if budget.seconds]
    assert len({budget.seconds for _, budget in fits}) == 1
    for _, budget in fits:
        target = experiment.entry(budget.matched_to)
        while target.budgets[0].matched_to:
            target = experiment.entry(target.budgets[0].matched_to)
        assert target.id == "air_small" and target.budgets[0].native
    for entry, budget in fits:
        learned = budget.warm or (entry.method in ("instant_gi", "fast_2dgs") and "start" not in entry.config)
        rivals = [e.id for e, b in fits if e.family == entry.family and (e.id, b) != (entry.id, budget) and not b.warm]
        assert rivals or not learned, entry.id

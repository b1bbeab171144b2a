"""Verdicts: what counts as reproduced, and everything that makes two numbers not comparable."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from splatbench.record import Provenance, Record
from splatbench.report.aggregate import summarise
from splatbench.report.reference import Reference
from splatbench.report.settings import TableSettings
from splatbench.report.verdict import TOLERANCES, Comparison, compare, is_variant, judge, setting

Make = Callable[..., Record]

PAPER = {
    "name": "demo",
    "title": "Demo",
    "source": {"citation": "A. Author: A paper", "url": "https://example.org"},
    "tables": [
        {
            "table": "Table I",
            "dataset": "kodak",
            "images": 2,
            "hardware": "NVIDIA V100",
            "rows": [
                {
                    "family": "GaussianImage",
                    "n": 28000,
                    "iterations": 800,
                    "variant": {"quantise": False},
                    "protocol": {"learning_rate": 0.001},
                    "metrics": {"psnr": 26.98, "lpips_vgg": 0.401},
                    "seconds": 1.471,
                    "confidence": "printed",
                },
                {"family": "AIR", "n": 28000, "metrics": {"psnr": 30.93}, "confidence": "printed"},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def paper() -> Reference:
    return Reference.model_validate(PAPER)


def ours(record: Make, psnr: float = 26.96, images: int = 2, **changes: object) -> list[Record]:
    metrics = {"psnr": psnr, "lpips_vgg": 0.405}
    return [record(image=f"{i}", **{"metrics": metrics, **changes}) for i in range(images)]


def find(comparisons: list[Comparison], metric: str = "psnr", family: str = "GaussianImage (Cholesky)") -> Comparison:
    (found,) = [c for c in comparisons if c.metric == metric and c.family == family]
    return found


@pytest.mark.parametrize(
    ("metric", "paper", "ours", "kind"),
    [
        ("psnr", 26.98, 26.96, "reproduced"),
        ("psnr", 26.98, 26.88, "reproduced"),  # 0.1000000000000014 in floating point
        ("psnr", 26.98, 27.08, "reproduced"),
        ("psnr", 26.98, 27.0801, "better"),
        ("psnr", 26.98, 26.87, "worse"),
        ("ms_ssim", 0.914, 0.919, "reproduced"),
        ("ms_ssim", 0.914, 0.9195, "better"),
        ("lpips_vgg", 0.401, 0.411, "reproduced"),
        ("lpips_vgg", 0.401, 0.385, "better"),
        ("lpips_vgg", 0.401, 0.420, "worse"),
        ("nominal_bpp", 3.51, 3.40, "better"),
        ("nominal_bpp", 3.51, 3.60, "worse"),
    ],
)
def test_verdicts_follow_tolerance_and_direction(metric: str, paper: float, ours: float, kind: str) -> None:
    assert judge(metric, paper, ours).kind == kind


def test_any_obstacle_overrides_a_perfect_match() -> None:
    verdict = judge("psnr", 26.98, 26.98, ["8 of the paper's 24 images"])
    assert str(verdict) == "not comparable: 8 of the paper's 24 images"


def test_same_setting_gives_a_verdict_and_the_deviation(record: Make, paper: Reference) -> None:
    comparison = find(compare(paper, summarise(ours(record))))
    assert comparison.verdict.kind == "reproduced"
    assert comparison.deviation == pytest.approx(-0.02)
    assert comparison.basis == "published" and comparison.ours("corrected") is None


def test_the_published_column_is_judged_and_the_corrected_one_shown(record: Make, paper: Reference) -> None:
    records = [*ours(record, 26.96), *ours(record, 27.3, entry="fixed", column="corrected")]
    comparison = find(compare(paper, summarise(records)))
    assert (comparison.ours("published"), comparison.ours("corrected")) == (pytest.approx(26.96), pytest.approx(27.3))
    assert (comparison.basis, comparison.verdict.kind) == ("published", "reproduced")
    only_corrected = find(compare(paper, summarise(ours(record, 27.3, entry="fixed", column="corrected"))))
    assert (only_corrected.basis, only_corrected.verdict.kind) == ("corrected", "better")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": 1}, "1 of the paper's 2 images"),
        ({"budget": {"gaussians": 28000, "iterations": 50000}}, "50\u202f000 iterations here, 800 in the paper"),
        ({"config": {"quantise": False, "learning_rate": 0.01}}, "learning_rate 0.01 here, 0.001 in the paper"),
    ],
)
def test_other_settings_are_not_comparable_and_say_why(
    record: Make, paper: Reference, changes: dict[str, object], reason: str
) -> None:
    comparison = find(compare(paper, summarise(ours(record, 26.98, **changes))))  # type: ignore[arg-type]
    assert comparison.verdict.kind == "not comparable" and reason in comparison.verdict.reason
    assert comparison.deviation == pytest.approx(0.0)


def test_a_stage_s_snapshot_never_stands_for_the_end(record: Make, paper: Reference) -> None:
    """A quantised fit kept before its quantisation has the settings of the end."""
    stage = [r.model_copy(update={"snapshot": "fit", "metrics": {"psnr": 27.9}}) for r in ours(record)]
    assert find(compare(paper, summarise([*stage, *ours(record, 26.96)]))).deviation == pytest.approx(-0.02)


def test_snapshots_stand_in_the_rows_of_their_iterations(record: Make, paper: Reference) -> None:
    budget = {"gaussians": 28000, "iterations": 10000}
    at_800 = [r.model_copy(update={"snapshot": "800"}) for r in ours(record, 26.96, budget=budget)]
    comparison = find(compare(paper, summarise([*ours(record, 31.0, budget=budget), *at_800])))
    assert (comparison.verdict.kind, comparison.deviation) == ("reproduced", pytest.approx(-0.02))


def test_times_of_other_hardware_are_never_judged(record: Make, paper: Reference) -> None:
    device = Provenance(device="NVIDIA H100", gpu="NVIDIA H100")
    comparison = find(compare(paper, summarise(ours(record, encode_seconds=1.471, provenance=device))), "seconds")
    assert str(comparison.verdict) == "not comparable: other hardware: NVIDIA H100 here, NVIDIA V100 in the paper"


def test_a_count_that_was_not_run_has_no_value_beside_it(record: Make, paper: Reference) -> None:
    comparison = find(compare(paper, summarise(ours(record, budget={"gaussians": 20000, "iterations": 800}))))
    assert comparison.basis is None and comparison.deviation is None
    assert str(comparison.verdict) == "not run: this experiment has no budget of N = 28\u202f000 for this method"


def test_a_printed_count_in_thousands_stands_for_a_mean(record: Make, paper: Reference) -> None:
    """28k of the paper is the mean of AIR's counts; counts image by image have that mean, too."""
    budget = {"matched_to": "air", "iterations": 800}
    records = [
        record(image=f"{i}", budget=budget, n_target=n, n_actual=n, metrics={"psnr": 26.98})
        for i, n in enumerate((26100, 29700))
    ]
    assert find(compare(paper, summarise(records))).verdict.kind == "reproduced"


def test_metrics_that_were_not_run_say_so(record: Make, paper: Reference) -> None:
    records = ours(
        record, metrics={"psnr": 27.0, "lpips_vgg": None}, metrics_not_run={"lpips_vgg": "weights are missing"}
    )
    comparison = find(compare(paper, summarise(records)), "lpips_vgg")
    assert str(comparison.verdict) == "not run: weights are missing"
    partly = [*ours(record, images=1), *ours(record, metrics={"psnr": 27.0})[1:]]
    assert "measured on 1 of 2 images" in find(compare(paper, summarise(partly)), "lpips_vgg").verdict.reason


def test_failures_say_why_there_is_no_value(record: Make, paper: Reference) -> None:
    records = ours(record, status="out_of_memory", reason="killed at 4 GiB", metrics={}, bytes=None, n_actual=None)
    comparison = find(compare(paper, summarise(records)))
    assert str(comparison.verdict) == "not run: out_of_memory: killed at 4 GiB"


def test_another_variant_never_stands_in_the_row(record: Make, paper: Reference) -> None:
    records = ours(record, config={"quantise": True}, family="GaussianImage (Cholesky, quantised)")
    (comparison,) = [
        c for c in compare(paper, summarise(records)) if c.metric == "psnr" and c.paper.family == "GaussianImage"
    ]
    assert comparison.family == "" and comparison.verdict.reason == "this experiment has no such method"


def test_methods_and_data_sets_that_are_not_here(record: Make, paper: Reference) -> None:
    comparisons = compare(paper, summarise(ours(record)))
    (air,) = [c for c in comparisons if c.paper.family == "AIR"]
    assert str(air.verdict) == "not run: this experiment has no such method"
    elsewhere = compare(paper, summarise(ours(record, dataset="sample")))
    assert {c.verdict.reason for c in elsewhere} == {"this experiment does not use the data set kodak"}


def test_controls_are_never_taken_for_the_paper_s_method(record: Make, paper: Reference) -> None:
    comparisons = compare(paper, summarise(ours(record, column="control")))
    assert all(c.basis is None for c in comparisons)


# -- words in place of numbers, and values image by image --------------------------------------------------------------

RATIOS = {
    "name": "ratios",
    "title": "Ratios",
    "source": PAPER["source"],
    "tables": [
        {
            "table": "Table 1",
            "dataset": "kodak",
            "images": 3,
            "decimals": {"psnr": 2},
            "rows": [
                {
                    "family": "GaussianImage",
                    "compression_ratio": 50,
                    "iterations": 50000,
                    "metrics": {"psnr": 30.0},
                    "seconds": 12.0,
                    "images": {"0": {"psnr": 25.0}, "1": {"psnr": 30.0}, "2": {"psnr": 35.0}},
                    "confidence": "logs",
                },
                {
                    "family": "GaussianImage",
                    "compression_ratio": 500,
                    "iterations": 50000,
                    "outcome": "fail",
                    "note": "its table was too small",
                    "confidence": "printed",
                },
                {
                    "family": "GaussianImage",
                    "compression_ratio": 1000,
                    "metrics": {"psnr": 20.0},
                    "incomparable": "the mean mixes two losses",
                    "confidence": "printed",
                },
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def ratios() -> Reference:
    return Reference.model_validate(RATIOS)


def at_ratio(
    record: Make, ratio: float, psnr: tuple[float, ...] = (24.9, 30.1, 35.3), **changes: object
) -> list[Record]:
    budget = {"compression_ratio": ratio, "iterations": 50000}
    values = {"budget": budget, "n_actual": 3370, **changes}
    return [record(image=f"{i}", **{"metrics": {"psnr": value}, **values}) for i, value in enumerate(psnr)]


def at(comparisons: list[Comparison], ratio: float, metric: str = "psnr") -> Comparison:
    (found,) = [c for c in comparisons if c.paper.compression_ratio == ratio and c.metric == metric]
    return found


def test_rows_are_matched_by_compression_ratio(record: Make, ratios: Reference) -> None:
    comparisons = compare(ratios, summarise(at_ratio(record, 50)))
    found = at(comparisons, 50)
    assert (found.verdict.kind, found.deviation) == ("reproduced", pytest.approx(0.1))
    assert str(at(comparisons, 500).verdict) == "not run: this experiment has no budget of CR 500 for this method"


def test_a_word_stands_beside_our_value_and_never_in_our_columns(record: Make, ratios: Reference) -> None:
    found = at(compare(ratios, summarise(at_ratio(record, 500))), 500)
    assert (found.value, found.deviation, found.ours("published")) == (None, None, pytest.approx(30.1))
    assert str(found.verdict) == "only here: the paper: Fail (its table was too small)"


def test_a_word_does_not_hide_other_settings(record: Make, ratios: Reference) -> None:
    short = at_ratio(record, 500, budget={"compression_ratio": 500, "iterations": 2000})
    found = at(compare(ratios, summarise(short)), 500)
    assert found.verdict.kind == "only here"
    assert found.verdict.reason.endswith("; 2\u202f000 iterations here, 50\u202f000 in the paper")


def test_our_own_failures_are_ours_whatever_the_paper_prints(record: Make, ratios: Reference) -> None:
    failed = at_ratio(record, 500, status="out_of_memory", reason="killed at 4 GiB", metrics={}, n_actual=None)
    found = at(compare(ratios, summarise(failed)), 500)
    assert (found.ours("published"), str(found.verdict)) == (None, "not run: out_of_memory: killed at 4 GiB")
    nothing = compare(ratios, summarise(ours(record)))
    assert at(nothing, 500).ours("published") is None and at(nothing, 500).verdict.kind == "not run"


def test_some_images_are_compared_with_the_paper_s_values_of_these(record: Make, ratios: Reference) -> None:
    found = at(compare(ratios, summarise(at_ratio(record, 50, (24.9, 30.1)))), 50)
    assert (found.images, found.value) == (("0", "1"), pytest.approx(27.5))
    assert (found.verdict.kind, found.deviation) == ("reproduced", pytest.approx(0.0, abs=1e-9))
    assert setting(found) == "CR 50, 50\u202f000 iterations, 2 of 3 images"
    seconds = at(compare(ratios, summarise(at_ratio(record, 50, (24.9, 30.1)))), 50, "seconds")
    assert seconds.images == () and "2 of the paper's 3 images" in seconds.verdict.reason


def test_images_that_the_paper_lacks_are_left_out(record: Make, ratios: Reference) -> None:
    found = at(compare(ratios, summarise(at_ratio(record, 50, (24.9, 30.1, 35.3, 99.0)))), 50)
    assert (found.images, found.ours("published")) == (("0", "1", "2"), pytest.approx(30.1))
    assert (found.value, found.verdict.kind) == (30.0, "reproduced")
    more = at(compare(ratios, summarise(at_ratio(record, 1000, (20.0,) * 4))), 1000)
    assert more.verdict.reason == "the mean mixes two losses; 4 images here, 3 in the paper"


def test_our_other_column_is_shown_only_where_it_has_the_same_images(record: Make, ratios: Reference) -> None:
    records = [*at_ratio(record, 50), *at_ratio(record, 50, (25.9, 31.1), entry="fixed", column="corrected")]
    found = at(compare(ratios, summarise(records)), 50)
    assert (found.basis, found.ours("published"), found.ours("corrected")) == ("published", pytest.approx(30.1), None)


def test_what_compares_with_nothing_has_no_verdict(record: Make, ratios: Reference) -> None:
    found = at(compare(ratios, summarise(at_ratio(record, 1000, (20.0, 20.0, 20.0)))), 1000)
    assert str(found.verdict) == "not comparable: the mean mixes two losses"
    assert found.deviation == pytest.approx(0.0)


def test_families() -> None:
    assert is_variant("GaussianImage (RS)", "GaussianImage", {})
    assert is_variant("GaussianImage", "GaussianImage", {})
    assert not is_variant("GaussianImage++", "GaussianImage", {})
    assert is_variant("my fork", "GaussianImage", {"my fork": "GaussianImage"})
    assert not is_variant("GaussianImage (RS)", "GaussianImage", {"GaussianImage (RS)": "AIR"})


def test_settings_map_families(record: Make, paper: Reference) -> None:
    settings = TableSettings(reference="air_table1", families={"my fork": "GaussianImage"})
    comparison = find(compare(paper, summarise(ours(record, family="my fork")), settings), family="my fork")
    assert comparison.verdict.kind == "reproduced"


def test_tolerances_are_the_stated_ones() -> None:
    assert (TOLERANCES["psnr"], TOLERANCES["ms_ssim"], TOLERANCES["lpips_vgg"]) == (0.10, 0.005, 0.01)


def test_a_method_that_fits_nothing_has_zero_iterations(record: Make) -> None:
    rows = [{"family": "AIR", "n": 28000, "iterations": 0, "metrics": {"psnr": 30.93}, "confidence": "printed"}]
    table = PAPER["tables"][0] | {"rows": rows}
    reference = Reference.model_validate(PAPER | {"tables": [table]})
    air = {"family": "AIR", "method": "air", "config": {}, "budget": {"native": True}, "n_actual": 28000}
    same, counted = (
        find(compare(reference, summarise(ours(record, 30.95, iterations=steps, **air))), family="AIR")
        for steps in (None, 4)
    )
    assert same.verdict.kind == "reproduced"
    assert counted.verdict.kind == "not comparable" and "4 iterations here, 0 in the paper" in counted.verdict.reason


def test_missing_weights_are_named_where_the_method_chooses_its_count(paper: Reference, record: Make) -> None:
    missing = {"status": "not_run", "reason": "weights ps_7.pt not found", "metrics": {}, "bytes": None, "bpp": None}
    air = {"family": "AIR", "method": "air", "config": {}, "budget": {"native": True}, "n_actual": None}
    found = find(compare(paper, summarise(ours(record, **air | missing))), family="AIR")
    assert (found.verdict.kind, found.verdict.reason) == ("not run", "not_run: weights ps_7.pt not found")


def test_single_errors_are_not_the_released_code(record: Make, paper: Reference) -> None:
    """Rows that switch on one known error are in the column "as published", too."""
    config = {"quantise": False, "learning_rate": 0.001, "preset": "corrected", "gradient": "published"}
    single = ours(record, 26.98, config=config, entry="single", config_hash="cccccccc")
    comparison = find(compare(paper, summarise(single)))
    assert comparison.verdict.kind == "not comparable" and "single errors" in comparison.verdict.reason
    whole = ours(record, 26.80, images=1)
    assert find(compare(paper, summarise([*single, *whole]))).ours("published") == pytest.approx(26.80)


def test_where_the_paper_says_no_steps_the_longest_run_stands(record: Make) -> None:
    row = {"family": "GaussianImage", "n": 28000, "metrics": {"psnr": 30.0}, "confidence": "printed"}
    reference = Reference.model_validate(PAPER | {"tables": [PAPER["tables"][0] | {"rows": [row]}]})
    records = [
        *ours(record, 29.0, budget={"gaussians": 28000, "iterations": 800}),
        *ours(record, 31.0, budget={"gaussians": 28000, "iterations": 5000}),
    ]
    for rows in (records, records[::-1]):
        assert find(compare(reference, summarise(rows))).ours("published") == pytest.approx(31.0)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"dataset": "sample"}, "data set"),
        ({"family": "LIG"}, "method"),
        ({"budget": {"gaussians": 5}}, "budget"),
        ({"metrics": {"ms_ssim": 0.9}}, "metric"),
        ({"status": "failed", "reason": "broken", "metrics": {}}, "failure"),
    ],
)
def test_what_was_not_run_has_a_cause(record: Make, paper: Reference, change: dict[str, object], cause: str) -> None:
    found = compare(paper, summarise(ours(record, **change)))  # type: ignore[arg-type]
    (comparison,) = [c for c in found if c.metric == "psnr" and c.paper.family == "GaussianImage"]
    assert (comparison.verdict.kind, comparison.verdict.cause) == ("not run", cause)


# -- caveats -----------------------------------------------------------------------------------------------------------


def with_row(**changes: object) -> Reference:
    table = PAPER["tables"][0]
    return Reference.model_validate(PAPER | {"tables": [table | {"rows": [table["rows"][0] | changes]}]})


def with_table(**changes: object) -> Reference:
    return Reference.model_validate(PAPER | {"tables": [PAPER["tables"][0] | changes]})


def test_everything_stated_and_equal_has_no_caveat(record: Make, paper: Reference) -> None:
    found = find(compare(paper, summarise(ours(record))))
    assert (found.verdict.kind, found.caveats, found.why) == ("reproduced", (), "")


def test_counts_of_a_network_are_a_caveat_unless_ours_are_its_own(record: Make) -> None:
    reference = with_table(caveats={"counts": "per_image"})
    found = find(compare(reference, summarise(ours(record))))
    assert found.verdict.kind == "reproduced"
    assert found.caveats == (
        "the paper's N = 28\u202f000 is the mean of its network's counts, image by image, "
        "but every image here has 28\u202f000",
    )
    matched = {"matched_to": "air", "iterations": 800}
    counts = enumerate((26100, 29900))
    records = [record(image=f"{i}", budget=matched, n_actual=n, metrics={"psnr": 26.98}) for i, n in counts]
    assert "but the counts here are others" in find(compare(reference, summarise(records))).why
    air = {"family": "AIR", "method": "air", "config": {}, "budget": {"native": True}, "n_actual": 28000}
    assert find(compare(reference, summarise(ours(record, **air))), family="AIR").caveats == ()


def test_what_the_paper_does_not_state_is_named(record: Make) -> None:
    table = with_table(caveats={"unstated": ["seed"]}).tables[0].model_dump()
    row = table["rows"][0] | {"caveats": {"unstated": ["learning rate", "seed"]}, "n": None, "iterations": None}
    reference = Reference.model_validate(PAPER | {"tables": [table | {"rows": [row]}]})
    assert find(compare(reference, summarise(ours(record)))).caveats == (
        "the paper does not state: number of Gaussians, iterations, seed, learning rate",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"caveats": {"differs": ["another loss"]}}, "another loss"),
        ({"confidence": "figure"}, "transcription of the paper's value is unconfirmed"),
        ({"unconfirmed": ["psnr"]}, "transcription of the paper's value is unconfirmed"),
    ],
)
def test_other_caveats_of_a_row(record: Make, change: dict[str, object], words: str) -> None:
    found = compare(with_row(**change), summarise(ours(record)))
    assert [words in text for text in find(found).caveats] == [True]


def test_caveats_of_a_metric_are_of_this_one_alone(record: Make) -> None:
    found = compare(with_table(caveats={"metrics": {"lpips_vgg": "another range"}}), summarise(ours(record)))
    assert (find(found, "lpips_vgg").caveats, find(found).caveats) == (("another range",), ())


def test_a_column_that_is_not_as_published_is_a_caveat(record: Make, paper: Reference) -> None:
    found = find(compare(paper, summarise(ours(record, column="corrected"))))
    assert found.verdict.kind == "reproduced" and "nothing as published has the paper's setting" in found.why


def test_some_of_the_paper_s_images_are_a_caveat(record: Make, ratios: Reference) -> None:
    few, all_images = (
        at(compare(ratios, summarise(at_ratio(record, 50, psnr))), 50) for psnr in ((24.9, 30.1), (24.9, 30.1, 35.3))
    )
    assert few.caveats == ("over 2 of the paper's 3 images, with the paper's values of these",)
    assert all_images.caveats == ()


def test_what_has_no_verdict_has_no_caveats(record: Make) -> None:
    reference = with_row(caveats={"differs": ["another loss"]})
    assert find(compare(reference, summarise(ours(record, images=1)))).caveats == ()
    assert find(compare(reference, summarise(ours(record))), "seconds").caveats == ()

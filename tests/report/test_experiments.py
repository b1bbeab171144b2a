"""The shipped experiments that repeat a paper's table have its settings: each of their rows would get a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from splatbench.experiment import load_experiment
from splatbench.record import Record
from splatbench.report.aggregate import summarise
from splatbench.report.reference import load_reference
from splatbench.report.settings import ReportSettings
from splatbench.report.verdict import Comparison, compare
from splatbench.runner.plan import Plan, Run

CONFIG = Path(__file__).resolve().parents[2] / "config"

FITTED = {"SmartSplat", "GaussianImage (RS)", "GaussianImage (Cholesky)", "LIG", "3DGS", "ImageGS"}

#: Experiment -> the papers' names of methods that it repeats; rows of others have nothing beside them.
REPEATED = {
    "air_table1": {"GaussianImage", "Image-GS", "Instant-GI", "AIR"},
    "air_table2": {"GaussianImage", "Image-GS", "Instant-GI", "AIR"},
    "air_table3": {"AIR, one-shot", "AIR, stage-wise"},
    "air_table4": {"AIR", "AIR, no criterion", "AIR, PSNR alone", "AIR, SSIM alone", "AIR, both, strict"},
    "air_table6": {"AIR, POD only", "AIR, POD and finetuning"},
    "air_table7": {"GaussianImage", "Image-GS", "AIR", "AIR, per-image range", "AIR, unquantised"},
    "fast_2dgs_512": {"Fast-2DGS"},
    "instant_gi": {"Instant-GI"},
    "smartsplat_table1_div8k": FITTED,
    "smartsplat_table1_div16k": FITTED,
    "smartsplat_table2": {"SmartSplat", "GaussianImage", "3DGS"},
}

#: What methods that choose their number of Gaussians would choose: experiment -> entry, or entry:snapshot -> N.
CHOSEN = {
    "air_table1": {"air_p7": 28000, "air_p6": 37000, "air_p5": 52000, "air_small": 27000,
                   "instant_gi_ks4": 25000, "instant_gi_ks3": 42858, "instant_gi_small": 43000},
    "air_table2": {"air_p7": 46000, "air_p6": 61000, "air_p5": 86000, "air_small": 46000,
                   "instant_gi_ks4": 45000, "instant_gi_ks3": 76985, "instant_gi_small": 77000},
    "instant_gi": {"network": 43000, "quad": 43000, "official": 42858},
    "air_table3": {"one_shot": 14528, "stage_wise:stage1": 3658, "stage_wise:stage2": 6808,
                   "stage_wise:stage3": 9819, "stage_wise:final": 12690},
    "air_table4": {"air_none": 58114, "air_psnr": 40163, "air_ssim": 43750, "air_both": 46001, "air_strict": 52318},
    "air_table7": {"air_adaptive": 46001, "air_per_image": 46001, "air_unquantised": 46001},
}  # fmt: skip


def _records(record: Callable[..., Record], plan: Plan) -> Iterator[Record]:
    """What a complete run would write, with one made-up value of everything."""
    for run in plan.runs:
        for image in plan.images[run.dataset]:
            for snapshot in (*run.entry.snapshots, "final"):
                yield record(
                    image=image,
                    snapshot=str(snapshot),
                    metrics=dict.fromkeys(plan.experiment.metrics, 0.5),
                    nominal_bpp=1.0,
                    **_what(run, plan) | _count(run, plan, str(snapshot)),
                )


def _what(run: Run, plan: Plan) -> dict[str, object]:
    entry = run.entry
    same = {"title": entry.title, "family": entry.family, "column": entry.column, "method": entry.method}
    made = {"config": run.config, "config_hash": run.config_hash, "budget": run.budget.as_dict()}
    return {"experiment": plan.experiment.name, "dataset": run.dataset, "entry": entry.id, **same, **made}


def _count(run: Run, plan: Plan, snapshot: str) -> dict[str, object]:
    chosen = CHOSEN.get(plan.experiment.name, {})
    count = chosen.get(f"{run.entry.id}:{snapshot}", chosen.get(run.entry.id))
    return {"n_actual": count} if run.budget.native and count else {}


def _comparisons(record: Callable[..., Record], name: str) -> list[Comparison]:
    experiment = load_experiment(CONFIG / f"{name}.yaml")
    rows = summarise(_records(record, Plan(experiment)))
    tables = ReportSettings.model_validate(experiment.report).tables
    assert tables, "which paper it repeats must be said"
    return [c for table in tables for c in compare(load_reference(table.reference), rows, table)]


@pytest.mark.parametrize("name", sorted(REPEATED))
def test_every_row_that_an_experiment_repeats_has_its_settings(record: Callable[..., Record], name: str) -> None:
    comparisons = _comparisons(record, name)
    experiment = load_experiment(CONFIG / f"{name}.yaml")
    budgets = {b.compression_ratio for entry in experiment.entries for b in entry.budgets}
    data = {choice.name for choice in experiment.datasets}
    found = set()
    for comparison in comparisons:
        paper = comparison.paper
        in_logs_alone = paper.compression_ratio is not None and paper.compression_ratio not in budgets
        elsewhere = comparison.table.dataset not in data
        if paper.family not in REPEATED[name] or comparison.metric == "seconds" or in_logs_alone or elsewhere:
            continue
        longer = comparison.table.table == "Run logs of 0873"  # 50 000 iterations, here 10 000
        assert comparison.basis is not None, (comparison.verdict, paper)
        if paper.outcome:
            assert comparison.verdict.kind == "only here"
        elif paper.incomparable or longer:
            assert comparison.verdict.kind == "not comparable", comparison.verdict
        else:
            assert comparison.verdict.kind in ("reproduced", "better", "worse"), (comparison.verdict, paper)
        found.add(paper.family)
    assert found == REPEATED[name]


def test_image_gs_is_never_judged_by_numbers_of_another_method(record: Callable[..., Record]) -> None:
    """SmartSplat's "ImageGS" stands beside Image-GS, with the reason why it says nothing about it."""
    found = [c for c in _comparisons(record, "smartsplat_table1_div8k") if c.paper.family == "ImageGS"]
    assert found and all(c.family == "Image-GS" and "not Image-GS" in c.verdict.reason for c in found)


def test_lig_with_a_start_of_ours_never_stands_for_the_paper_s(record: Callable[..., Record]) -> None:
    found = [c for c in _comparisons(record, "smartsplat_table1_div16k") if c.paper.family == "LIG"]
    assert {c.family for c in found if c.basis} == {"LIG"}


def test_small_networks_never_stand_for_the_published_ones(record: Callable[..., Record]) -> None:
    for name in ("air_table1", "air_table2", "instant_gi", "fast_2dgs_512"):
        for comparison in _comparisons(record, name):
            if comparison.paper.family in ("Instant-GI", "Fast-2DGS"):
                assert all(row.record.config["preset"] != "small" for row in comparison.rows.values()), comparison


def test_air_small_never_stands_for_air(record: Callable[..., Record]) -> None:
    """Neither in AIR's rows nor in those of its variants, whatever its number of Gaussians is."""
    for name in ("air_table1", "air_table2", "air_table3", "air_table4", "air_table6", "air_table7"):
        for comparison in _comparisons(record, name):
            assert not comparison.family.startswith("AIR-small"), comparison
            assert all(row.record.config.get("preset") != "small" for row in comparison.rows.values())


def test_rows_of_a_stage_stand_beside_that_stage(record: Callable[..., Record]) -> None:
    for name in ("air_table3", "air_table6"):
        staged = [c for c in _comparisons(record, name) if c.paper.snapshot]
        assert {c.paper.snapshot for c in staged} == {"stage1", "stage2", "stage3", "final"}
        for comparison in staged:
            assert comparison.basis is not None
            assert comparison.rows[comparison.basis].record.snapshot == comparison.paper.snapshot
    labels = {c.paper.label for c in _comparisons(record, "air_table6")}
    assert labels == {"N not stated", *(f"N not stated, after stage{stage}" for stage in (1, 2, 3))}

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
    "air_table1": {"GaussianImage", "Image-GS"},
    "air_table2": {"GaussianImage", "Image-GS"},
    "air_table7": {"GaussianImage", "Image-GS"},
    "smartsplat_table1_div8k": FITTED,
    "smartsplat_table1_div16k": FITTED,
    "smartsplat_table2": {"SmartSplat", "GaussianImage", "3DGS"},
}


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
                    **_what(run, plan),
                )


def _what(run: Run, plan: Plan) -> dict[str, object]:
    entry = run.entry
    same = {"title": entry.title, "family": entry.family, "column": entry.column, "method": entry.method}
    made = {"config": run.config, "config_hash": run.config_hash, "budget": run.budget.as_dict()}
    return {"experiment": plan.experiment.name, "dataset": run.dataset, "entry": entry.id, **same, **made}


def _comparisons(record: Callable[..., Record], name: str) -> list[Comparison]:
    experiment = load_experiment(CONFIG / f"{name}.yaml")
    rows = summarise(_records(record, Plan(experiment)))
    tables = ReportSettings.model_validate(experiment.report).tables
    assert tables, "which paper it repeats must be said"
    return [c for table in tables for c in compare(load_reference(table.reference), rows, table)]


@pytest.mark.parametrize("name", sorted(REPEATED))
def test_every_row_that_an_experiment_repeats_has_its_settings(record: Callable[..., Record], name: str) -> None:
    comparisons = _comparisons(record, name)
    budgets = {b.compression_ratio for entry in load_experiment(CONFIG / f"{name}.yaml").entries for b in entry.budgets}
    found = set()
    for comparison in comparisons:
        paper = comparison.paper
        in_logs_alone = paper.compression_ratio is not None and paper.compression_ratio not in budgets
        if paper.family not in REPEATED[name] or comparison.metric == "seconds" or in_logs_alone:
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

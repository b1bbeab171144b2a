"""An experiment on pictures that cannot be had: rows that say how to get them, and a report, no crash."""

from __future__ import annotations

from pathlib import Path

from splatbench.datasets.unpack import ArchiveUnreachable
from splatbench.experiment import Experiment, read_yaml
from splatbench.report.build import build
from splatbench.report.settings import ReportSettings
from splatbench.runner.collect import collect
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.fetch import fetch_dataset
from splatbench.runner.plan import Plan

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_div8k_that_cannot_be_fetched_becomes_rows(tmp_path, monkeypatch, reporter):
    def unreachable(url, *_):
        raise ArchiveUnreachable(f"{url}: no route to the server")

    monkeypatch.setenv("SPLATBENCH_DATA", "")
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("splatbench.datasets.fetch.extract_remote", unreachable)
    content = read_yaml(CONFIG / "smartsplat_table1_div8k.yaml")
    content["datasets"] = [{"name": "div8k", "images": ["0138", "1404"]}]
    plan = Plan(Experiment.model_validate(content), tmp_path / "results")

    summary = fetch_dataset(plan, "div8k", reporter)
    assert (summary.done, summary.open) == (0, 2)
    assert "DIV8K.zip: no route to the server" in reporter.text  # where it would have come from
    assert "huggingface.co/datasets/3David14/SmartSplat-DIV8K" in reporter.text  # where else it is

    for shard in plan.ordered_shards():
        encode_shard(plan, shard, reporter, 1)
        evaluate_shard(plan, shard, reporter)
    records = collect(plan)
    assert len(records) == 2 * len(plan.runs)
    assert {record.status for record in records} == {"not_run"}
    assert all("splatbench data fetch div8k" in (record.reason or "") for record in records)

    made = build(records, ReportSettings.model_validate(plan.experiment.report), tmp_path / "report")
    page = made.page.read_text()
    assert "splatbench data fetch div8k" in page and "Fail" in page
    rows = (made.page.parent / "tables" / "paper-smartsplat-table1-div8k-table-1.csv").read_text().splitlines()
    assert not any("only here" in row or "reproduced" in row for row in rows)

"""The evaluate and collect stages: values, caching, failures as rows, records."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from splatbench.datasets import load_image
from splatbench.metrics import evaluate
from splatbench.record import read_records
from splatbench.runner import scoring
from splatbench.runner.collect import collect
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.results import EvaluateResult, Summary, read_result


@pytest.fixture
def stages(make_plan, reporter):
    """Encodes, evaluates and collects; returns the plan and the records by (entry, image, snapshot)."""

    def run(values, **options):
        plan = make_plan(values)
        for shard in plan.ordered_shards():
            encode_shard(plan, shard, reporter)
            evaluate_shard(plan, shard, reporter, **options)
        return plan, {(r.entry, r.image, r.snapshot): r for r in collect(plan)}

    return run


@pytest.fixture
def measured(monkeypatch):
    """Metric names in the order in which they were computed for pictures of the experiment (not the warm-up)."""
    names = []
    original = scoring.evaluate

    def note(metrics, picture, reference, *rest, **more):
        if reference.shape != (176, 176, 3):
            names.extend(metrics)
        return original(metrics, picture, reference, *rest, **more)

    monkeypatch.setattr(scoring, "evaluate", note)
    return names


def test_values_are_those_of_the_decoded_file(settings, stages, project):
    settings["entries"][0]["snapshots"] = [2]
    _, records = stages(settings | {"metrics": ["psnr", "psnr_u8", "ssim"]})
    original = load_image(project / "pictures" / "w40.png").pixels
    half = (original // 3).astype(np.float32) / np.float32(255)
    expected, _ = evaluate(["psnr", "psnr_u8", "ssim"], half, original)
    assert records["slow", "w40", "2"].metrics == pytest.approx(expected, abs=1e-9)
    assert records["slow", "w40", "final"].metrics == {"psnr": 100.0, "psnr_u8": 100.0, "ssim": pytest.approx(1)}


def test_records_say_everything(settings, stages):
    plan, records = stages(settings)
    record = records["slow", "w48", "final"]
    path = plan.root / record.file
    assert record.bytes == path.stat().st_size
    assert record.bpp == pytest.approx(8 * record.bytes / (24 * 48))
    assert (record.experiment, record.dataset, record.method, record.n_target) == ("tiny", "pictures", "slow", 100)
    assert record.config == {"seconds": 0.0, "fail": "", "fail_width": 0}
    assert record.decode_seconds > 0 and record.evaluate_seconds >= record.decode_seconds
    assert record.provenance.versions["torch"] and record.provenance.time
    assert list(read_records(plan.records)) == list(records.values())


def test_only_missing_metrics_are_measured(settings, stages, measured):
    stages(settings)
    assert [n for n in measured if n] == ["psnr"] * 3
    stages(settings | {"metrics": ["ssim", "psnr"]})
    assert measured == ["psnr"] * 3 + ["ssim"] * 3
    _, records = stages(settings | {"metrics": ["psnr"]})
    assert len(measured) == 6
    assert records["slow", "w32", "final"].metrics == {"psnr": 100.0}


def test_another_file_or_version_of_a_metric_is_measured_again(settings, stages, measured, monkeypatch):
    plan, _ = stages(settings)
    plan.encoding(plan.runs[0], "w40").unlink()
    stages(settings)
    assert len(measured) == 3, "the same bytes came out again: the values still hold"
    monkeypatch.setattr("splatbench.runner.evaluate.metric_version", lambda name: "other")
    stages(settings)
    assert len(measured) == 6


def test_gaussians_are_rendered_and_counted(settings, stages, project):
    entry = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    _, records = stages(settings | {"entries": [entry]})
    record = records["own", "w40", "final"]
    original = load_image(project / "pictures" / "w40.png").pixels / 255.0
    assert record.n_actual == 9
    assert record.metrics["psnr"] == pytest.approx(-10 * np.log10(np.mean(original**2)), abs=1e-4)  # all black


def test_strips_give_the_same_values(photograph):
    from splatbench.budget import Budget
    from splatbench.method import get_method
    from splatbench.trace import Trace

    kind = get_method("random_gaussians")
    method = kind(kind.make_config({}))
    data = method.to_bytes(method.encode(photograph, Budget(gaussians=500), Trace()))
    names = ["psnr", "psnr_u8", "ssim", "ms_ssim"]
    whole = scoring.score(data, photograph, names)
    strips = scoring.score(data, photograph, names, strip_pixels=1000)
    assert strips.values == pytest.approx(whole.values, abs=1e-6)
    assert strips.n_actual == whole.n_actual == 500
    assert strips.decode_seconds > 0


def test_missing_weights_are_not_run_with_the_command(settings, stages, project, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_WEIGHTS", str(project))
    monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
    _, records = stages(settings | {"metrics": ["psnr", "lpips_vgg"]})
    record = records["slow", "w48", "final"]
    assert record.status == "ok" and record.metrics == {"psnr": 100.0, "lpips_vgg": None}
    assert "splatbench weights fetch lpips_vgg" in record.metrics_not_run["lpips_vgg"]


def test_a_damaged_file_is_a_row_until_the_next_run(settings, stages, make_plan, reporter):
    plan, _ = stages(settings)
    path = plan.encoding(plan.runs[0], "w40").parent / "w40.png"
    plan.evaluation(plan.runs[0], "w40").unlink()
    path.write_bytes(path.read_bytes()[:60])
    evaluate_shard(plan, plan.shard("slow/pictures-000"), reporter)
    records = {r.image: r for r in collect(plan)}
    assert records["w40"].status == "not_run" and "w40.png is not what was encoded" in records["w40"].reason
    assert records["w48"].status == "ok"
    _, again = stages(settings)
    assert again["slow", "w40", "final"].metrics == {"psnr": 100.0}


def test_an_original_that_changed_since_is_a_row(settings, stages, reporter, project):
    plan, _ = stages(settings)
    plan.evaluation(plan.runs[0], "w40").unlink()
    (project / "pictures" / "w40.png").write_bytes((project / "pictures" / "w48.png").read_bytes())
    evaluate_shard(plan, plan.shard("slow/pictures-000"), reporter)
    assert "has changed since it was encoded" in {r.image: r for r in collect(plan)}["w40"].reason


def test_failed_evaluations_are_tried_again_only_when_asked(settings, stages, reporter, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no luck")

    plan, _ = stages(settings)
    plan.evaluation(plan.runs[0], "w40").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("splatbench.runner.evaluate.score", refuse)
        _, records = stages(settings)
    assert "no luck" in records["slow", "w40", "final"].reason
    _, records = stages(settings)
    assert records["slow", "w40", "final"].status == "failed"
    _, records = stages(settings, retry_before=time.time() + 1)
    assert records["slow", "w40", "final"].status == "ok"


def test_failures_of_the_encoder_are_records(settings, stages):
    settings["entries"][0]["config"] = {"fail": "nan", "fail_width": 40}
    _, records = stages(settings)
    record = records["slow", "w40", "final"]
    assert record.status == "diverged" and "nan" in record.reason
    assert record.pixel_sha256 and (record.height, record.width) == (24, 40)
    assert len(records) == 3


def test_rows_that_nobody_made_yet_are_not_run(settings, make_plan):
    records = collect(make_plan(settings))
    assert [(r.image, r.status) for r in records] == [(name, "not_run") for name in ("w32", "w40", "w48")]
    assert all("run the experiment again" in r.reason for r in records)


def test_summary_and_result_files(settings, stages):
    plan, _ = stages(settings)
    shard = plan.shard("slow/pictures-000")
    summary = read_result(Summary, plan.evaluate_marker(shard))
    assert (summary.done, summary.kept, summary.failed) == (3, 0, 0)
    result = read_result(EvaluateResult, plan.evaluation(plan.runs[0], "w32"))
    assert result.snapshots["final"].metrics["psnr"].value == 100.0


def test_collecting_twice_gives_the_same_bytes(settings, stages, make_plan):
    plan, _ = stages(settings)
    before = plan.records.read_bytes()
    collect(make_plan(settings))
    assert plan.records.read_bytes() == before


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), r"metrics\.psnr\.value is nan"),
        (float("inf"), r"metrics\.psnr\.value is inf"),
        ("high", r"metrics\.psnr\.value: Input should be a valid number"),
    ],
)
def test_a_value_that_is_no_number_is_a_row(settings, stages, monkeypatch, value, words):
    """Of one picture; the others are measured."""
    original = scoring.evaluate

    def broken(metrics, picture, reference, *rest, **more):
        values, not_run = original(metrics, picture, reference, *rest, **more)
        return (dict.fromkeys(values, value) if reference.shape[1] == 40 else values), not_run

    monkeypatch.setattr(scoring, "evaluate", broken)
    plan, records = stages(settings)
    row = records["slow", "w40", "final"]
    assert row.status == "failed" and re.search(f"while evaluating: .*{words}", row.reason)
    assert records["slow", "w32", "final"].metrics == records["slow", "w48", "final"].metrics == {"psnr": 100.0}
    summary = read_result(Summary, plan.evaluate_marker(plan.shard("slow/pictures-000")))
    assert (summary.done, summary.failed) == (3, 1)

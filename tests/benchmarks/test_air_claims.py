"""AIR's claims: recipes, one real training, verdicts by their rules, and the document."""

from __future__ import annotations

import json
import re
import zlib

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks import air_claims
from benchmarks.air_claims_report import fill, findings, setting, trainings
from benchmarks.air_claims_rules import CLAIMS, Difference, Material, Missing, collapsed, paired
from benchmarks.air_claims_training import (
    LEAST_STEPS,
    MILESTONES,
    RECIPES,
    TRAININGS,
    TrainingRecord,
    changes_of,
    read_trainings,
    stages_of,
    write_trainings,
)
from splatbench.experiment import load_experiment
from splatbench.method import get_method
from splatbench.record import Record
from splatbench.training.config import load_config

IMAGES = [f"kodim{i:02d}" for i in range(1, 13)]
RUNS = ("pod", "direct", "direct_clipped", "pod_hot", "direct_hot", "direct_hot_clipped")


# -- trainings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, LEAST_STEPS, 100])
@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_is_valid_and_its_task_can_be_made(tmp_path, name, steps):
    training = TRAININGS[name]
    config = load_config(RECIPES / training.recipe, changes_of(name, tmp_path, steps))
    task = get_method(config.method).training_task(config.settings, config.phase)
    groups = {group["name"] for group in task.parameter_groups()}
    assert config.optimiser.group_lr.keys() <= groups
    assert config.iterations == (steps or config.iterations)
    if config.phase == "pod":
        shares = [milestone / config.iterations for milestone in config.settings["milestones"]]
        np.testing.assert_allclose(shares, MILESTONES, atol=1 / config.iterations)
    assert (config.init is None) == (training.after is None)
    assert training.after is None or list(TRAININGS).index(training.after) < list(TRAININGS).index(name)


def test_direct_supervision_differs_from_pod_in_the_supervision_alone():
    pod, direct = (load_config(RECIPES / f"{name}.yaml").plain() for name in ("pod", "direct"))
    assert {key for key in pod if pod[key] != direct[key]} == {"phase", "settings"}
    assert {key: pod["settings"][key] for key in direct["settings"]} == direct["settings"]


def test_the_inner_optimisation_keeps_the_papers_product_of_steps_and_rate():
    settings = load_config(RECIPES / "pod.yaml").settings
    products = [steps * settings["pod_lr"] for steps in settings["pod_steps"]]
    np.testing.assert_allclose(products, [0.02, 0.04, 0.06, 0.08])


def test_the_experiment_has_an_entry_for_every_training_that_a_claim_is_measured_by():
    entries = load_experiment(air_claims.EXPERIMENT).entries
    for entry in entries:
        assert entry.config["weights"] == f"claims/{entry.id}.safetensors"
        ranges = [change.rpartition("=")[2] for change in TRAININGS[entry.id].changes if "ranges" in change]
        assert ranges == ([entry.config["ranges"]] if entry.config.get("quantise") else [])


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f"{i}.png")
    monkeypatch.setenv("SPLATBENCH_DATA", str(tmp_path / "data"))
    for name in ("SPLATBENCH_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # put back afterwards: the script sets them for its own process


TINY = [
    *("size.side=[28,28]", "batch=1", "settings.width=4", "settings.blocks=1", "log_every=2", "validate_every=4"),
    *("data.validation.count=1", "data.validation.crop=28", "checkpoint_every=4"),
]


def _train(out, *names, steps="10"):
    changes = [part for change in TINY for part in ("--set", change)]
    return air_claims.main(["train", *names, "--out", str(out), "--steps", steps, *changes])


@pytest.mark.slow
def test_a_training_leaves_a_record_and_is_not_done_again(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    assert _train(out, "pod", "finetune") == 0
    pod, finetune = air_claims.trained(out)
    assert (pod.name, pod.status, pod.steps, finetune.after) == ("pod", "ok", 10, "pod")
    assert [step for step, _ in pod.curve] == [4, 8, 10]
    assert [len(stages) for _, stages in pod.curve] == [3, 4, 4]  # milestones at 0, 2, 3 and 5
    assert [step for step, _ in pod.losses] == [2, 4, 6, 8, 10]
    assert pod.parameters == 4 * (4 * 147 + 4 + 2 * (4 * 9 * 4 + 4) + 4 * 8 + 8)
    assert pod.provenance.threads == 1 and pod.seconds > 0
    logs = {name: (out / name / "log.jsonl").read_bytes() for name in ("pod", "finetune")}
    capsys.readouterr()
    assert _train(out, "pod", "finetune") == 0
    assert "step" not in capsys.readouterr().out.replace("10 steps", "")
    assert {name: (out / name / "log.jsonl").read_bytes() for name in logs} == logs
    path = tmp_path / "trainings.jsonl"
    write_trainings(path, [pod, finetune])
    assert list(read_trainings(path)) == [pod, finetune]
    first = air_claims.link_weights(out)
    copy = out / "weights" / "claims" / "pod.safetensors"
    assert copy.read_bytes() == (out / "pod" / "export" / "air-small.safetensors").read_bytes()
    assert _train(tmp_path / "other", "pod", steps="11") == 0
    assert air_claims.link_weights(tmp_path / "other") != first


def test_a_training_without_what_it_starts_from_says_so(photographs, tmp_path, capsys):
    assert _train(tmp_path / "out", "finetune") == 1
    assert "finetune starts from the weights of pod: train that first" in capsys.readouterr().err


def test_settings_at_fault_are_no_collapse(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    assert air_claims.main(["train", "direct", "--out", str(out), "--set", "data.train=nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (out / "direct" / "record.json").exists()


def test_a_training_that_breaks_off_is_a_record(photographs, tmp_path):
    changes = [
        part for change in [*TINY, "optimiser.lr=1e38", "max_skipped=1", "log_every=1"] for part in ("--set", change)
    ]
    assert air_claims.main(["train", "direct", "--out", str(tmp_path), "--steps", "30", *changes]) == 1
    (record,) = air_claims.trained(tmp_path)
    assert record.status == "failed" and "not finite" in record.reason and record.weights_sha256 is None
    assert collapsed(record)


def test_stages_are_read_in_their_order():
    assert stages_of({"psnr_2": 21.0, "per_patch": 1.5, "psnr_1": 20.0, "psnr_quantised": 19.0}) == [20.0, 21.0]


@pytest.mark.parametrize(
    ("wrong", "message"), [(["train", "pdo"], "unknown pdo; known: pod"), (["train", "--steps", "9"], "at least 10")]
)
def test_wrong_commands_are_refused(wrong, message, capsys):
    with pytest.raises(SystemExit):
        air_claims.main(wrong)
    assert message in capsys.readouterr().err


# -- verdicts ----------------------------------------------------------------------------------------------------------


def _records(entry, mean, snapshot="final", n=8000, spread=0.02, experiment="air_claims", **changes):
    """Twelve images around a mean, with a little scatter that differs between entries."""
    rng = np.random.default_rng(zlib.crc32(f"{entry} {snapshot}".encode()))
    scatter = rng.normal(0, spread, len(IMAGES))
    return [
        Record(experiment=experiment, dataset="kodak", image=image, entry=entry, method="air", snapshot=snapshot,
               height=512, width=768, n_actual=n, nominal_bpp=1.0, budget_slug="native",
               metrics={"psnr": mean + 3 * np.sin(np.pi * i / 6) + scatter[i] - scatter.mean()}, **changes)
        for i, image in enumerate(IMAGES)
    ]  # fmt: skip


def _training(name, *curve, status="ok", steps=400):
    points = [(20 * (i + 1), [value - 1, value]) for i, value in enumerate(curve)]
    return TrainingRecord(name=name, recipe=TRAININGS[name].recipe, curve=points, status=status, steps=steps)


def _finding(statement, material):
    (claim,) = [claim for claim in CLAIMS if statement in claim.statement]
    return claim.finding(material)


def test_paired_differences_against_a_t_interval():
    from scipy import stats

    rng = np.random.default_rng(5)
    noise, common = rng.normal(0.3, 0.2, 200), rng.normal(30, 4, 200)
    first = {f"{i}": common[i] + noise[i] for i in range(200)}
    found = paired(first, {f"{i}": common[i] for i in reversed(range(200))})
    low, high = stats.t.interval(0.95, 199, noise.mean(), stats.sem(noise))
    assert found.mean == pytest.approx(noise.mean()) and found.sign == 1
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.005)
    assert paired(first, first) == Difference(0, 0, 0) and paired(first, first).sign == 0
    with pytest.raises(Missing):
        paired(first, {**first, "another": 1.0})
    assert str(Difference(-0.5, -0.75, 0.25)) == "−0.50 dB (−0.75 … +0.25)"


@pytest.mark.parametrize(
    ("curves", "verdict"),
    [
        ({}, "undecided"),
        ({"direct_hot": (25.0, 21.0)}, "holds"),
        ({"direct": (25.0, 22.5)}, "undecided"),
        ({"direct": (25.0, 21.0), "pod": (25.0, 21.0)}, "does not hold"),
        ({"pod_hot": (26.0, 20.0)}, "does not hold"),
    ],
)
def test_stability(curves, verdict):
    runs = {name: _training(name, *curves.get(name, (20.0, 25.0))) for name in RUNS}
    shown, found = _finding("trains stably", Material(runs))
    assert found == verdict
    assert shown.count(", collapsed") == sum(values[0] - values[1] > 3 for values in curves.values())


def test_a_run_that_broke_off_has_collapsed():
    runs = {name: _training(name, 20.0, 25.0) for name in RUNS} | {"direct": _training("direct", status="failed")}
    assert _finding("trains stably", Material(runs)) == (
        "pod: best 25.00 dB, end 25.00; direct: nothing validated, collapsed; "
        + "; ".join(f"{name}: best 25.00 dB, end 25.00" for name in RUNS[2:]),
        "holds",
    )
    assert _finding("trains stably", Material({"pod": runs["pod"]}))[1] == "not run"


@pytest.mark.parametrize(("gap", "verdict"), [(0.5, "holds"), (-0.5, "does not hold"), (0.0, "undecided")])
def test_level(gap, verdict):
    records = _records("pod", 25 + gap, spread=0.2) + _records("direct", 25.0, spread=0.2)
    assert _finding("reaches more than direct", Material(evaluation=records))[1] == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ((-1.0, -0.4, 0.4, 1.3), "holds"),
        ((1.0, 1.0, 1.0, 1.3), "does not hold"),
        ((-1.0, -0.4, -0.5, -1.0), "does not hold"),
        ((0.0, 0.0, 0.0, 1.0), "undecided"),
    ],
)
def test_finetuning(changes, verdict):
    records = []
    for snapshot, change in zip(("stage1", "stage2", "stage3", "final"), changes, strict=True):
        records += _records("pod", 25.0, snapshot) + _records("finetune", 25.0 + change, snapshot)
    shown, found = _finding("costs the first stage", Material(evaluation=records))
    assert found == verdict
    means = [float(x.replace("−", "-")) for x in re.findall(r"stage \d ([+−][\d.]+) dB", shown)]
    np.testing.assert_allclose(means, changes, atol=0.005)


@pytest.mark.parametrize(
    ("gap", "n", "verdict"),
    [(0.0, 7000, "holds"), (0.5, 8000, "holds"), (0.0, 8001, "does not hold"), (-0.5, 7000, "does not hold"),
     (-0.1, 7000, "undecided")],
)  # fmt: skip
def test_stage_wise(gap, n, verdict):
    records = _records("pod", 25.0, "stage1", 8000) + _records("coarse_pod", 25.0 + gap, n=n)
    records += _records("coarse_finetune", 26.0, n=n)
    shown, found = _finding("Four stages of large patches", Material(evaluation=records))
    assert found == verdict
    assert f"with {n} against 25.00 with 8000" in shown and "finetuned, as in the paper, +1.00" in shown


@pytest.mark.parametrize(("both", "verdict"), [(30.0, "holds"), (28.0, "does not hold"), (29.0, "undecided")])
def test_criteria_at_equal_counts(both, verdict):
    """One criterion lies on the line from 26 dB at 10000 to 30 dB at 26000: 29 dB at 22000."""
    records = _records("air_small", both, n=22000, experiment="air_small")
    for entry, n in (("psnr32", 10000), ("psnr35", 18000), ("psnr38", 20000), ("psnr41", 24000), ("none", 26000),
                     ("ssim90", 10000), ("ssim95", 14000), ("ssim98", 19000), ("ssim99", 25000)):  # fmt: skip
        records += _records(entry, 26 + (n - 10000) / 4000, n=n, experiment="air_small")
    assert _finding("both criteria", Material(small=records))[1] == verdict
    few = [r.model_copy(update={"n_actual": 9000}) if r.entry == "air_small" else r for r in records]
    shown, found = _finding("both criteria", Material(small=few))
    assert found == "not run" and "outside the curve" in shown


@pytest.mark.parametrize(
    ("other", "verdict"), [((24.0, 24.5), "holds"), ((24.0, 25.5), "does not hold"), ((24.0, 25.0), "undecided")]
)
def test_ranges(other, verdict):
    records = _records("quantise_adaptive", 25.0, spread=0.2)
    records += _records("quantise_global", other[0]) + _records("quantise_per_image", other[1])
    assert _finding("Adaptive quantiser ranges", Material(evaluation=records))[1] == verdict


@pytest.mark.parametrize(
    ("small", "bpp", "verdict"),
    [(None, 1.0, "holds"), (0.6, 1.0, "holds"), (1.0, 1.0, "does not hold"), (0.5, 1.4, "does not hold"),
     (0.75, 1.0, "undecided")],
)  # fmt: skip
def test_drop(small, bpp, verdict):
    """8000 Gaussians on 768x512 pixels: 1 bit/pixel is 49 bits per Gaussian, 1.4 are 69."""
    tiny = _records("quantise_adaptive", 25.0) + _records("quantise_adaptive", 25.5, "unquantised")
    records = []
    if small is not None:
        records = _records("air_small_quantised", 30.0, experiment="air_small")
        records = [r.model_copy(update={"nominal_bpp": bpp}) for r in records]
        records += _records("air_small_quantised", 30.0 + small, "unquantised", experiment="air_small")
    shown, found = _finding("half a decibel", Material(evaluation=tiny, small=records))
    assert found == verdict and "the tiny network +0.50 dB" in shown
    assert ("AIR-small" in shown) == (small is not None)


def test_a_failed_image_is_not_left_out_silently():
    records = _records("pod", 25.0) + _records("direct", 24.0)
    records[3] = records[3].model_copy(update={"status": "not_run", "reason": "weights not found", "metrics": {}})
    shown, found = _finding("reaches more than direct", Material(evaluation=records))
    assert found == "not run" and "11 of 12 images: weights not found" in shown


# -- text --------------------------------------------------------------------------------------------------------------


def test_the_document_is_filled_and_filling_again_changes_nothing():
    runs = {name: _training(name, 20.0, 25.0) for name in RUNS}
    material = Material(runs, _records("pod", 25.0) + _records("direct", 24.0))
    text = "A <!--claims table-->stale<!--/claims--> B <!--claims trainings-->\n<!--/claims--> C"
    filled = fill(text, material)
    assert fill(filled, material) == filled and "stale" not in filled
    assert "| +1.00 dB" not in filled and "25.00 against 24.00 dB: +1.00 dB" in filled
    rows = [
        line.split("|")[-2].strip() for line in filled.split("<!--/claims-->")[0].splitlines() if line.startswith("| ")
    ]
    assert rows == ["holds or not", "undecided", "holds", *["not run"] * 5]
    assert trainings(material).count("not run") == len(TRAININGS) - len(RUNS)
    with pytest.raises(ValueError, match="known are table"):
        fill("<!--claims tabel--><!--/claims-->", material)


def test_what_was_tested_is_said_with_its_numbers():
    runs = {name: _training(name, 20.0, steps=steps) for name, steps in (("pod", 400), ("quantise_global", 300))}
    runs["pod"].parameters, runs["quantise_global"].parameters = 362528, 447200
    said = setting(Material(runs, _records("pod", 25.0)))
    for part in ("0.36 to 0.45 million", "300 to 400 steps", "12 images of Kodak"):
        assert part in said
    assert "Nothing" in setting(Material())


def test_the_report_takes_over_what_was_measured(tmp_path, capsys):
    out, document = tmp_path / "out", tmp_path / "page.md"
    document.write_text("<!--claims table--><!--/claims-->")
    common = ["report", "--published", str(tmp_path / "published"), "--small", str(tmp_path / "none.jsonl")]
    assert air_claims.main([*common, "--out", str(out), "--document", str(document)]) == 1
    assert "holds records of trainings" in capsys.readouterr().err
    (out / "pod").mkdir(parents=True)
    (out / "pod" / "record.json").write_text(_training("pod", 20.0, 21.0).model_dump_json())
    assert air_claims.main([*common, "--out", str(out), "--document", str(document)]) == 0
    rows = json.loads((tmp_path / "published" / "claims.json").read_text())
    assert rows == findings(air_claims.load(tmp_path / "published", tmp_path / "none.jsonl"))
    assert [row["verdict"] for row in rows] == ["not run"] * len(CLAIMS)
    assert "training direct is not recorded" in document.read_text()


def test_the_page_in_the_repository_is_that_of_the_published_records():
    text = air_claims.DOCUMENT.read_text()
    material = air_claims.load(air_claims.PUBLISHED, air_claims.SMALL)
    assert fill(text, material) == text, "stale: python -m benchmarks.air_claims report"


@pytest.mark.skipif(not air_claims.PUBLISHED.is_dir(), reason="no claims have been measured yet")
def test_published_records_are_clean_and_whole():
    material = air_claims.load(air_claims.PUBLISHED, air_claims.SMALL)
    assert list(material.trainings) == list(TRAININGS)
    for record in [*material.trainings.values(), *material.evaluation]:
        assert re.fullmatch("[0-9a-f]{40}", record.provenance.commit or "") and record.provenance.dirty is False
    for path in air_claims.PUBLISHED.iterdir():
        assert not re.search(r"/(tmp|root|home|work|Users)/", path.read_text())
    assert json.loads((air_claims.PUBLISHED / "claims.json").read_text()) == findings(material)


def test_the_page_says_how_to_repeat_it():
    text = air_claims.DOCUMENT.read_text()
    assert {"table", "rules", "trainings", "setting"} == set(re.findall(r"<!--claims (\w+)-->", text))
    for command in ("train", "evaluate", "report"):
        assert f"python -m benchmarks.air_claims {command}" in text
    assert yaml.safe_load(air_claims.EXPERIMENT.read_text())["name"] == "air_claims"

"""What Snakemake plans: which experiment, how many jobs, and what a change makes it do again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from splatbench.experiment import load_experiment
from splatbench.runner.locks import lock_run


@pytest.fixture(scope="module")
def finished(new_project):
    """A project that has run once."""
    project = new_project()
    project.write(project.settings())
    done = project.snakemake()
    assert done.returncode == 0, done.stdout
    project.output = done.stdout
    return project


@pytest.fixture(scope="module")
def fresh(new_project):
    """A project in which nothing ever runs."""
    return new_project()


def test_plain_run_ends_with_a_report_and_its_overhead(finished):
    assert (finished.folder / "reports" / "tiny" / "index.html").is_file()
    assert "overhead" in finished.output and "Report: " in finished.output
    records = [json.loads(line) for line in finished.records.read_text().splitlines()]
    assert [(r["image"], r["status"], r["metrics"]["psnr"]) for r in records] == [
        (f"w{width}", "ok", 100.0) for width in (32, 40, 48)
    ]
    log = "".join(p.read_text() for p in (finished.folder / "results" / "tiny" / "logs").rglob("*.log"))
    assert "w40 slow n100" in log


def test_the_same_command_again_does_nothing(finished):
    assert finished.jobs() == {}


def test_another_metric_encodes_nothing(finished):
    finished.write(finished.settings(metrics=["psnr", "ssim"]))
    assert finished.jobs() == {"evaluate": 1, "collect": 1, "report": 1}
    finished.write(finished.settings())


def test_report_options_and_titles_encode_and_evaluate_nothing(finished):
    finished.write(finished.settings(title="Another", report={"title": "Another"}))
    assert finished.jobs() == {"collect": 1, "report": 1}
    finished.write(finished.settings())


def test_the_default_experiment_is_the_sample(fresh):
    sample = load_experiment(Path(__file__).resolve().parents[2] / "config" / "sample.yaml")
    shards = len(sample.entries) + 1  # and the controls together
    assert fresh.jobs(configfile=False) == {"fetch": 1, "encode": shards, "evaluate": shards, "collect": 1, "report": 1}


def test_a_named_experiment_replaces_the_default_and_timed_jobs_take_all_cores(fresh):
    fresh.write(fresh.settings())
    assert fresh.jobs() == {"fetch": 1, "encode": 1, "evaluate": 1, "collect": 1, "report": 1}
    cores = len(os.sched_getaffinity(0))
    for rule in ("encode", "evaluate"):
        (job,) = re.findall(rf"rule {rule}:\n(.*?)\n(?:\[|\n|$)", fresh.output, re.S)
        assert f"threads: {cores}\n" in job + "\n" or cores == 1, job


def test_the_counts_of_a_matched_entry_are_an_edge_between_shards(fresh):
    own = {"id": "own", "title": "", "family": "", "method": "selfcount", "budgets": [{"native": True}]}
    settings = fresh.settings(shard_size=2)
    settings["entries"] = [settings["entries"][0] | {"budgets": [{"matched_to": "own"}]}, own]
    fresh.write(settings)
    assert fresh.jobs() == {"fetch": 1, "encode": 4, "evaluate": 4, "collect": 1, "report": 1}
    for number in ("000", "001"):
        (inputs,) = re.findall(rf"input: (.*)\n +output: \S+/encode/slow/pictures-{number}", fresh.output)
        assert f"shards/encode/own/pictures-{number}" in inputs


def test_an_invalid_experiment_is_one_sentence(fresh):
    fresh.write(fresh.settings(metrix=1))
    done = fresh.snakemake("--dry-run")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "tiny.yaml: metrix: unknown key 'metrix'; did you mean 'metrics'?" in done.stdout


def test_two_runs_in_one_folder(new_project):
    project = new_project()
    project.write(project.settings())
    with lock_run(project.folder / "results" / "tiny"):
        done = project.snakemake()
    assert done.returncode != 0 and "another run is working in results/tiny" in done.stdout
    assert project.encodes() == []


def test_lint_finds_only_that_rules_share_the_environment_of_make(fresh):
    fresh.write(fresh.settings())
    done = fresh.snakemake("--lint")
    findings = re.findall(r"^ +\* (.*)$", done.stdout, re.M)
    assert set(findings) == {"Specify a conda environment or container for each rule.:"}, done.stdout


def test_snakemakes_own_report_has_captions_and_labels(finished):
    command = [word for word in finished.command("--report", "flow.zip") if word not in ("--cores", "all")]
    done = subprocess.run(command, capture_output=True, text=True, env=finished.environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(finished.folder / "flow.zip") as archive:
        names = archive.namelist()
        page = archive.read(next(name for name in names if name.endswith("report.html"))).decode()
    for category in ("Results", "Tables", "Figures", "Pictures"):
        assert f'"{category}"' in page
    for label in ('"what": "every result"', '"table": "pictures-gaussians"', '"figure": "pictures-time"'):
        assert label in page, label
    for caption in ("nothing averaged", "written without loss", "Rates are lengths of files"):
        assert caption in page, caption
    assert sum(name.endswith(".webp") for name in names) == 6
    assert any(name.endswith("index.html") for name in names)


@pytest.mark.slow
def test_what_only_looks_changes_nothing(finished):
    """A damaged file under a marker: it is seen, by a dry run as by a run, and repaired by the run alone."""
    finished.write(finished.settings())
    (file,) = finished.folder.glob("results/tiny/encodings/*/*/*/w32.png")
    file.write_bytes(b"damaged")
    results = [path for path in (finished.folder / "results").rglob("*") if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in results}
    assert finished.jobs("--config", "retry_failed=true") == {"encode": 1, "evaluate": 1, "collect": 1, "report": 1}
    assert finished.snakemake("--dag").returncode == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in results} == before
    encodes = finished.encodes()
    done = finished.snakemake()
    assert done.returncode == 0, done.stdout
    assert finished.encodes()[len(encodes) :] == ["32x24 n100 seed 1"]
    assert file.read_bytes() != b"damaged" and finished.jobs() == {}

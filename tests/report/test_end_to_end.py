"""From an experiment file through real encoding and evaluation to the page, by the command itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from splatbench.cli import app

EXPERIMENT = """
name: tiny
title: Two crops
datasets: [{folder: FOLDER}]
metrics: [psnr, psnr_u8]
entries:
  - id: cholesky
    title: GaussianImage (Cholesky), corrected
    family: GaussianImage (Cholesky)
    column: corrected
    method: gaussianimage
    config: {variant: cholesky}
    budgets: [{gaussians: 60, iterations: 8}, {gaussians: 120, iterations: 8}]
    snapshots: [4]
  - id: impossible
    title: Too few pixels
    family: GaussianImage (RS)
    method: gaussianimage
    config: {variant: rs}
    budgets: [{compression_ratio: 1000000, iterations: 8}]
report:
  pictures: {count: 1, entries: [cholesky, jpeg]}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The experiment file and the results folder, after encode, evaluate and collect."""
    from skimage import data

    from splatbench.runner.collect import collect
    from splatbench.runner.encode import encode_shard
    from splatbench.runner.evaluate import evaluate_shard
    from splatbench.runner.fetch import fetch_dataset
    from splatbench.runner.plan import Plan
    from splatbench.runner.progress import Reporter

    root = tmp_path_factory.mktemp("tiny")
    (root / "crops").mkdir()
    picture = np.ascontiguousarray(data.chelsea())
    for name, (row, column) in {"eye": (80, 120), "fur": (200, 300)}.items():
        Image.fromarray(picture[row : row + 48, column : column + 64]).save(root / "crops" / f"{name}.png")
    experiment = root / "tiny.yaml"
    experiment.write_text(EXPERIMENT.replace("FOLDER", str(root / "crops")))
    plan = Plan.load(experiment, root / "results")
    reporter = Reporter("test")
    for dataset in plan.datasets:
        fetch_dataset(plan, dataset, reporter)
    for shard in plan.shards.values():
        encode_shard(plan, shard, reporter, 1)
        evaluate_shard(plan, shard, reporter)
    collect(plan)
    return experiment, root / "results"


def test_the_command_makes_a_page_with_measured_numbers_and_pictures(run: tuple[Path, Path], tmp_path: Path) -> None:
    experiment, results = run
    arguments = ["report", "build", "-e", str(experiment), "--results", str(results), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    html = (tmp_path / "out" / "index.html").read_text()
    assert "Two crops" in html and "leaves no Gaussian" in html
    names = sorted(path.name for path in (tmp_path / "out" / "pictures").iterdir())
    assert len([n for n in names if "-cholesky-" in n]) == 4 and len([n for n in names if "-jpeg-" in n]) == 8
    assert len([n for n in names if n.endswith("-original.webp")]) == 1 and len(names) == 13
    markdown = (tmp_path / "out" / "tables.md").read_text()
    assert "after 4 iterations" in markdown and "0 of 2" in markdown and "2 of 2" in markdown


def test_records_alone_are_enough(run: tuple[Path, Path], tmp_path: Path) -> None:
    from splatbench.record import read_records

    experiment, results = run
    records = results / "tiny" / "records.jsonl"
    out = tmp_path / "out"
    arguments = ["report", "build", "-e", str(experiment), "--results", str(tmp_path), "--records", str(records)]
    assert CliRunner().invoke(app, [*arguments, "--out", str(out)], catch_exceptions=False).exit_code == 0
    assert "There are no encoded files in" in (out / "index.html").read_text() and not any((out / "pictures").iterdir())
    assert list(read_records(out / "records.jsonl")) == list(read_records(records))


def test_an_experiment_that_has_not_run_says_so(run: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"records.jsonl is not there; run the experiment first"):
        CliRunner().invoke(
            app, ["report", "build", "-e", str(run[0]), "--results", str(tmp_path)], catch_exceptions=False
        )

"""Two machines share an experiment; their merged results are a finished run."""

from __future__ import annotations

from collections import Counter

import pytest
from typer.testing import CliRunner

from splatbench.cli import app
from splatbench.record import read_records
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter


@pytest.mark.slow
def test_snakemake_makes_nothing_again_in_merged_results(new_project, monkeypatch: pytest.MonkeyPatch):
    project = new_project()
    project.write(project.settings(shard_size=2))
    for name in ("SPLATBENCH_METHODS", "SPLATBENCH_CACHE", "ENCODE_LOG"):
        monkeypatch.setenv(name, project.environment[name])
    machines = []
    for machine, shard in (("laptop", "slow/pictures-000"), ("server", "slow/pictures-001")):
        plan = Plan.load(project.file, project.folder / machine)
        encode_shard(plan, plan.shard(shard), Reporter("test"))
        evaluate_shard(plan, plan.shard(shard), Reporter("test"))
        machines.append(str(plan.root))
    (project.folder / "results").mkdir()
    merged = CliRunner().invoke(
        app, ["results", "merge", "--folders", *machines, "-o", str(project.folder / "results" / "tiny")]
    )
    assert merged.exit_code == 0, merged.output
    assert "3 encodings came, 0 were there; 3 evaluations came" in merged.output
    done = project.snakemake()
    assert done.returncode == 0, done.stdout
    assert "nothing was encoded or evaluated" in done.stdout
    assert Counter(project.encodes()) == {f"{width}x24 n100 seed 1": 1 for width in (32, 40, 48)}
    assert [(r.image, r.status, r.metrics["psnr"]) for r in read_records(project.records)] == [
        (f"w{width}", "ok", 100.0) for width in (32, 40, 48)
    ]

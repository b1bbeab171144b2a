"""The workflow on a real Slurm of one node with one fake GPU, by the profile that users get."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slurm_host as slurm
import yaml
from PIL import Image

from tests.real.conftest import require

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = (32, 40, 48, 56)
SECONDS = 600  # that a run may take on a busy machine
#: What another run on another machine may write differently.
CHANGING = ("provenance", "seconds", "curve", "memory", "energy", "time")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.SlurmHost]:
    try:
        with slurm.slurm_host(tmp_path_factory.mktemp("slurm"), cpus=4, gpus=1) as host:
            yield host
    except slurm.SlurmMissing as error:
        require(False, str(error))


class Project:
    """A working folder with pictures and an experiment."""

    def __init__(self, folder: Path, photograph: np.ndarray, **settings: Any) -> None:
        self.folder, self.name = folder, settings["name"]
        (folder / "pictures").mkdir()
        for width in WIDTHS:
            crop = np.ascontiguousarray(photograph[100:124, 100 : 100 + width])
            Image.fromarray(crop).save(folder / "pictures" / f"w{width}.png")
        for name in ("encodes.txt", "leases.txt"):
            (folder / name).touch()
        values = {"datasets": [{"folder": str(folder / "pictures")}], "metrics": ["psnr"], "controls": False}
        self.experiment = folder / "experiment.yaml"
        self.experiment.write_text(yaml.safe_dump(values | settings))
        self.environment = os.environ | {
            "SPLATBENCH_METHODS": str(ROOT / "tests" / "runner" / "methods"),
            "SPLATBENCH_CACHE": str(folder / "cache"),
            "ENCODE_LOG": str(folder / "encodes.txt"),
            "LEASE_LOG": str(folder / "leases.txt"),
        }

    def on_slurm(self, *options: str) -> subprocess.Popen[str]:
        """Starts the workflow as a user does, but asking after jobs every second and for little memory."""
        return self._start(
            "--profile", str(ROOT / "profiles" / "slurm"),
            "--config", "encode_threads=1", "evaluate_threads=1",
            "--set-resources", "encode:mem_mb=500", "evaluate:mem_mb=500",
            "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1",
            "--seconds-between-status-checks", "1", "--slurm-keep-successful-logs",
            *options,
        )  # fmt: skip

    def locally(self) -> subprocess.Popen[str]:
        """Starts the same workflow without a cluster, with results in a folder of their own."""
        (self.folder / "local").mkdir()
        return self._start("--cores", "1", "--directory", str(self.folder / "local"))

    def _start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
                   "--configfile", str(self.experiment), *options]  # fmt: skip
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def table(self, below: str = ".") -> list[dict[str, Any]]:
        """The records, without what differs from run to run."""
        lines = (self.folder / below / "results" / self.name / "records.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        return [{k: v for k, v in r.items() if not any(word in k for word in CHANGING)} for r in records]

    def encodes(self) -> Counter[str]:
        return Counter((self.folder / "encodes.txt").read_text().splitlines())

    def leases(self) -> list[list[str]]:
        """Width, GPU, begin, end and number of the job of each encoding with a GPU."""
        return [line.split() for line in (self.folder / "leases.txt").read_text().splitlines()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, photograph: np.ndarray) -> Callable[..., Project]:
    """A function that makes projects."""
    return lambda **settings: Project(tmp_path_factory.mktemp("project"), photograph, **settings)


def _entry(method: str, name: str | None = None, **values: Any) -> dict[str, Any]:
    name = name or method
    return {"id": name, "title": name, "family": name, "method": method, "budgets": [{"gaussians": 100}]} | values


def _finish(process: subprocess.Popen[str], seconds: float = SECONDS) -> str:
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


def test_table_gpus_and_cores(host, project):
    """Two runs at once: a small real experiment, as it is locally, and one whose jobs want the only GPU."""
    fit = _entry("gaussianimage", config={"variant": "cholesky", "preset": "corrected"}, snapshots=[10],
                 budgets=[{"gaussians": 60, "iterations": 20}])  # fmt: skip
    real = project(name="real", device="cpu", metrics=["psnr", "ssim"], entries=[fit])
    wanting = project(name="wanting", shard_size=2, entries=[_entry("leased", config={"seconds": 1.5})])
    runs = [wanting.on_slurm(), real.on_slurm()]
    try:
        outputs = [_finish(run) for run in runs]
    finally:
        for run in runs:
            run.kill()
    _finish(real.locally())

    table = real.table()
    assert len(table) == 2 * len(WIDTHS) and {row["status"] for row in table} == {"ok"}
    assert table == real.table("local")

    assert [row["status"] for row in wanting.table()] == ["ok"] * len(WIDTHS)
    # Fetching, collecting and the report stay on the machine that Snakemake runs on.
    for output in outputs:
        assert {rule for rule in ("fetch", "collect", "report") if f"localrule {rule}:" in output} == {
            "fetch", "collect", "report"}  # fmt: skip
    jobs = {job.number: job for job in host.jobs()}
    assert len(jobs) == 2 * 3 and {job.state for job in jobs.values()} == {"COMPLETED"}
    with_gpu = [job for job in jobs.values() if job.gpus]
    assert [job.gpus for job in with_gpu] == [1, 1]
    assert {lease[4] for lease in wanting.leases()} == {job.number for job in with_gpu}
    assert {lease[1] for lease in wanting.leases()} == {"0"}
    assert not with_gpu[0].overlaps(with_gpu[1])
    # The node has four cores: jobs do run side by side where they can, or the line above would say nothing.
    assert any(a.overlaps(b) for a, b in itertools.combinations(jobs.values(), 2))


def test_killed_and_drained(host, project):
    """A job that is killed is tried again, waits while its node is drained, and repeats nothing that was finished."""
    one = project(name="one", entries=[_entry("slow", config={"seconds": 2.0})])
    run = one.on_slurm()
    try:
        slurm.wait_for(lambda: sum(one.encodes().values()) >= 3, SECONDS, "the third encoding to begin")
        (job,) = host.running()
        finished = set(list(one.encodes())[:2])
        host.set_node(State="DRAIN", Reason="test")
        host.call("scancel", "--full", "--signal=KILL", job)
        slurm.wait_for(lambda: host.running() == [], 30, "the killed job to end")
        waiting = lambda: host.call("squeue", "--noheader", "--states=pending", "--format=%A").split()  # noqa: E731
        slurm.wait_for(lambda: waiting() != [], SECONDS, "the second attempt")
        assert waiting() != [job] and host.running() == [] and host.node_state() == "drained"
        assert sum(one.encodes().values()) == 3
        host.set_node(State="RESUME")
        output = _finish(run)
    finally:
        run.kill()
    assert "Trying to restart job" in output
    counts = one.encodes()
    assert len(finished) == 2 and all(counts[name] == 1 for name in finished)
    assert sum(counts.values()) == len(WIDTHS) + 1  # the one that was under way
    assert [(row["image"], row["status"]) for row in one.table()] == [(f"w{width}", "ok") for width in WIDTHS]
    (killed,) = (ended for ended in host.jobs() if ended.number == job)
    assert killed.state in ("CANCELLED", "FAILED")


@pytest.mark.slow
def test_default_experiment(host, project):
    """config/sample.yaml, all methods and controls: the table of a local run, files bit for bit."""
    sample = project(name="sample")
    sample.experiment = ROOT / "config" / "sample.yaml"
    del sample.environment["SPLATBENCH_METHODS"]
    # The fake GPU is none that a method could use.
    _finish(sample.on_slurm("--config", "encode_threads=1", "evaluate_threads=1", "remote_gpus=false"), 3000)
    _finish(sample.locally(), 3000)
    assert sample.table() == sample.table("local")
    assert {row["status"] for row in sample.table()} == {"ok"}

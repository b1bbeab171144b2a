"""Several GPUs on one machine: all are used without a flag, none by two jobs at a time."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TWO_GPUS = "#!/bin/sh\necho 'GPU 0: Fake 100 (UUID: GPU-aaaa)'\necho 'GPU 1: Fake 100 (UUID: GPU-bbbb)'\n"


@pytest.fixture
def two_gpus(new_project):
    """A project on a machine whose nvidia-smi lists two GPUs; each of its three jobs holds one for a while."""
    project = new_project()
    tool = project.folder / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(TWO_GPUS)
    tool.chmod(0o755)
    project.leases = project.folder / "leases.txt"
    project.leases.touch()
    project.environment |= {
        "PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}",
        "LEASE_LOG": str(project.leases),
    }
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        project.environment.pop(name, None)
    entry = project.settings()["entries"][0] | {"id": "leased", "method": "leased", "config": {"seconds": 3.0}}
    project.write(project.settings(entries=[entry], shard_size=1))
    return project


def _planned(output: str, rule: str) -> list[dict[str, str]]:
    """Threads and resources of a rule's jobs, as a dry run shows them."""
    found = []
    for job in re.findall(rf"^rule {rule}:\n(.*?)\n(?:\[|\n|$)", output, re.S | re.M):
        resources = dict(item.split("=") for item in re.search(r"resources: (.*)", job)[1].split(", "))
        threads = re.search(r"threads: (\d+)", job)
        found.append(resources | {"threads": threads[1] if threads else "1"})
    return found


def test_jobs_share_the_cores_of_the_machine_and_ask_for_one_gpu_each(two_gpus):
    assert two_gpus.jobs("--cores", "8")["encode"] == 3
    jobs = _planned(two_gpus.output, "encode")
    assert [(job["gpu"], job["threads"]) for job in jobs] == [("1", "4")] * 3
    assert {job["threads"] for job in _planned(two_gpus.output, "evaluate")} == {"8"}
    two_gpus.jobs("--cores", "8", "--resources", "gpu=1")
    assert [(job["gpu"], job["threads"]) for job in _planned(two_gpus.output, "encode")] == [("1", "8")] * 3


@pytest.mark.slow
def test_all_gpus_are_used_and_none_twice(two_gpus):
    done = two_gpus.snakemake("--cores", "4", "--until", "encode")
    assert done.returncode == 0, done.stdout
    held: dict[str, list[tuple[float, float]]] = {}
    for line in two_gpus.leases.read_text().splitlines():
        _, gpu, begin, end, _ = line.split()
        held.setdefault(gpu, []).append((float(begin), float(end)))
    assert sorted(held) == ["0", "1"] and sum(map(len, held.values())) == 3
    for times in held.values():
        times.sort()
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(times))


def test_jobs_of_a_cluster_do_not_depend_on_the_login_node(two_gpus):
    """The profile as it is; a dry run submits nothing."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="the extra `cluster` is not installed")
    two_gpus.environment["CUDA_VISIBLE_DEVICES"] = ""
    two_gpus.jobs("--profile", str(ROOT / "profiles" / "slurm"))
    jobs = _planned(two_gpus.output, "encode")
    assert [(job["gpu"], job["threads"], job["mem_mb"], job["runtime"]) for job in jobs] == [
        ("1", "8", "4000", "240")
    ] * 3
    two_gpus.jobs("--profile", str(ROOT / "profiles" / "slurm"), "--config", "remote_gpus=false", "encode_threads=3")
    assert {(job["gpu"], job["threads"]) for job in _planned(two_gpus.output, "encode")} == {("0", "3")}


def test_jobs_at_once_are_counted_in_cores_on_one_machine(two_gpus):
    done = two_gpus.snakemake("--jobs", "2")
    assert done.returncode != 0 and "give --cores N instead" in done.stdout
    assert two_gpus.leases.read_text() == ""

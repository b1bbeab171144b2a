"""What jobs ask a scheduler for: threads, memory and GPUs, on one machine and on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatbench.devices import gpu_slots, lock_folder
from splatbench.experiment import read_yaml
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.workflow import CLUSTER_THREADS, MEMORY_MB, MEMORY_MB_PER_MEGAPIXEL, Workflow


class Wildcards:
    group, place = "slow", "pictures-000"


@pytest.fixture
def flow(write_experiment, settings, monkeypatch):
    """A Workflow on the tiny experiment, on a machine with the GPUs of CUDA_VISIBLE_DEVICES."""

    def make(method="slow", gpus="", device="auto", remote=False, main=True, **options):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        settings["device"] = device
        settings["entries"][0] |= {"method": method, "budgets": [{"gaussians": 100}]}
        path = write_experiment(settings)
        return Workflow([str(path)], read_yaml(path) | options, Path("unused.yaml"), remote, main)

    return make


@pytest.mark.parametrize(
    ("method", "device", "gpus", "asked"),
    [
        ("gaussianimage", "cuda", "0,1", 1),
        ("gaussianimage", "auto", "0,1", 0),  # not measured on GPUs, so only when it is asked for
        ("gaussianimage", "cpu", "0,1", 0),
        ("gaussianimage", "cuda", "", 0),
        ("slow", "auto", "0,1", 0),  # runs on CPUs only
    ],
)
def test_one_machine_asks_for_a_gpu_that_it_has(flow, method, device, gpus, asked):
    assert flow(method, gpus, device).gpus(Wildcards) == asked


@pytest.mark.parametrize(
    ("method", "device", "has", "asked"),
    [
        ("gaussianimage", "cuda", True, 1),
        ("gaussianimage", "auto", True, 0),
        ("gaussianimage", "cpu", True, 0),
        ("slow", "auto", True, 0),
        ("gaussianimage", "cuda", False, 0),
        ("gaussianimage", "cuda", "false", 0),
    ],
)
def test_nodes_of_a_cluster_are_taken_to_have_gpus(flow, method, device, has, asked):
    """Whatever the login node has: here none."""
    assert flow(method, "", device, remote=True, remote_gpus=has).gpus(Wildcards) == asked


def test_the_cores_of_a_login_node_do_not_count(flow):
    login = flow("gaussianimage", remote=True)
    assert login.encode_threads(Wildcards, None, None) == login.threads("evaluate", 2) == CLUSTER_THREADS
    assert flow("gaussianimage", remote=True, encode_threads=3).encode_threads(Wildcards, None, None) == 3


@pytest.mark.parametrize(("gpus", "threads"), [(1, 16), (2, 8), (4, 4), (3, 5), (32, 1)])
def test_jobs_with_a_gpu_share_the_cores_of_one_machine(flow, gpus, threads):
    assert flow("gaussianimage", "0", "cuda").encode_threads(Wildcards, 16, gpus) == threads
    assert flow("gaussianimage", "0", "cuda", encode_threads=6).encode_threads(Wildcards, 16, gpus) == 6
    assert flow("slow", "0").encode_threads(Wildcards, 16, gpus) == 16  # needs no GPU: has all cores for itself


def test_memory_follows_the_largest_picture_and_doubles(flow):
    tiny = flow()
    first = tiny.memory(Wildcards, 1)
    assert first == round(MEMORY_MB + MEMORY_MB_PER_MEGAPIXEL * 48 * 24 / 1e6)
    assert tiny.memory(Wildcards, 3) == pytest.approx(4 * first, abs=4)
    (Path("pictures") / "w48.png").unlink()  # not known any more: what the others need is asked for
    assert tiny.memory(Wildcards, 1) == round(MEMORY_MB + MEMORY_MB_PER_MEGAPIXEL * 40 * 24 / 1e6)


def test_a_job_on_a_node_leaves_markers_alone_and_knows_when_the_run_began(flow, reporter):
    """Snakemake reads the Snakefile again in each job: there, open markers are another job's business."""
    first = flow()
    for shard in first.plan.shards.values():
        encode_shard(first.plan, shard, reporter)
        evaluate_shard(first.plan, shard, reporter)
    (marker,) = (first.plan.encode_marker(shard) for shard in first.plan.shards.values())
    first.plan.encoding(first.plan.runs[0], "w40").unlink()
    on_node = flow(remote=True, main=False, retry_failed=True)
    assert on_node.again == [] and on_node.started == first.started
    assert on_node.retry == f" --retry-before {first.started:.0f}"
    assert flow().again == [str(marker)]


def test_a_job_of_slurm_has_what_slurm_gave_it(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: Fake 100 (UUID: GPU-aaaa)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    outside = lock_folder()
    assert gpu_slots() == ["0"]
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert gpu_slots() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu_slots() == ["0"]
    # Another job's GPU "0" may be another GPU: they do not wait for each other.
    seventh = lock_folder()
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert len({outside, seventh, lock_folder()}) == 3

"""Profiles and the example for Kubernetes: what they name exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["default", "slurm"])
def test_keys_are_options_of_snakemake(name):
    """A key that Snakemake does not know is passed over without a word."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="the extra `cluster` is not installed")
    from snakemake.cli import get_argument_parser

    known = {option for action in get_argument_parser()._actions for option in action.option_strings}
    keys = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    assert "--cores" in known and {f"--{key}" for key in keys} <= known


def test_the_default_profile_leaves_gpus_to_the_snakefile():
    """It is read together with every other profile, and its keys win."""
    assert set(yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())) == {
        "cores", "rerun-incomplete", "keep-going", "retries", "show-failed-logs", "printshellcmds",
        "rerun-triggers", "nolock",
    }  # fmt: skip


@pytest.fixture
def manifest():
    """The volume claim and the Job, by their kind."""
    documents = yaml.safe_load_all((ROOT / "profiles/kubernetes/experiments.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_manifest_gives_each_pod_one_gpu_and_the_volume(manifest):
    pod = manifest["Job"]["spec"]["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == manifest["PersistentVolumeClaim"]["metadata"]["name"]
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"]]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    cores = re.search(r"--cores (\d+)", container["args"][0])
    assert cores is not None and cores[1] == container["resources"]["limits"]["cpu"]
    user = re.search(r"useradd --uid (\d+)", (ROOT / "containers/gpu/Dockerfile").read_text())
    assert user is not None and int(user[1]) == pod["securityContext"]["fsGroup"]


def test_each_pod_of_the_manifest_runs_an_experiment_of_its_own(manifest, tmp_path):
    """Its script, with a snakemake that only says what it was asked for."""
    job = manifest["Job"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    (tmp_path / "snakemake").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "snakemake").chmod(0o755)
    asked = []
    for index in range(job["completions"]):
        environment = {value["name"]: value["value"] for value in container["env"]}
        environment |= {"JOB_COMPLETION_INDEX": str(index), "PATH": f"{tmp_path}:/usr/bin:/bin"}
        command = [*container["command"], *container["args"]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
        asked.append(re.search(r"--configfile (\S+)", done.stdout)[1])
    names = environment["EXPERIMENTS"].split()
    assert asked == [f"/work/experiments/{name}.yaml" for name in names] and len(set(names)) == job["completions"]

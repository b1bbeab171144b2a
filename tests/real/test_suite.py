"""The suite in containers of a real docker daemon: same bytes as outside, rows that say where, nothing left behind.

The image has this machine's Python and packages by mounts. That the Dockerfiles build with their own is tried by
`SPLATBENCH_BUILD_BASE=IMAGE pytest -m "real and slow" tests/real/test_suite.py`: minutes, 14 GB and a package index.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import docker
import numpy as np
import pytest
from docker_host import system_mounts
from PIL import Image

from splatbench.containers.owner import OWNER_LABEL, OwnedBy
from splatbench.render.jit import cache_folder
from splatbench.runner.collect import collect
from splatbench.runner.encode import encode_shard
from splatbench.runner.evaluate import evaluate_shard
from splatbench.runner.plan import Plan
from splatbench.runner.progress import Reporter

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
NAME = "splatbench-test/suite:1"


@pytest.fixture(scope="module")
def suite_image(base_image):
    """Behaves as our images do: the same entry point, user variables and a health check."""
    lines = [f"FROM {base_image}", "ENV PYTHONSAFEPATH=1", 'HEALTHCHECK CMD ["false"]', 'ENTRYPOINT ["splatbench"]']
    with contextlib.closing(docker.from_env()) as client:
        client.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), tag=NAME, rm=True)
    return NAME


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled kernels, for outside and inside: a copy of what is compiled already, since that takes a minute."""
    folder = tmp_path_factory.mktemp("cache")
    compiled = cache_folder()
    if compiled is not None and compiled.is_dir():
        shutil.copytree(compiled, folder / compiled.name)
    return folder


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 255, 48)[None, :, None] * np.ones((32, 1, 3))
    (tmp_path / "pictures").mkdir()
    picture = np.clip(ramp + rng.normal(0, 20, (32, 48, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "pictures" / "a.png")
    return tmp_path


@pytest.fixture
def environment(suite_image, cache):
    # What the image lacks is brought as data: folders that may be read.
    mounted = os.pathsep.join(str(mount.source) for mount in system_mounts())
    return os.environ | {
        "SPLATBENCH_CACHE": str(cache),
        "SPLATBENCH_DATA": mounted,
        "SPLATBENCH_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def splatbench(*arguments, environment, cwd):
    command = [sys.executable, "-m", "splatbench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=300)


def inside(*arguments, environment, cwd):
    return splatbench("containers", "run", "--image", NAME, "--", *arguments, environment=environment, cwd=cwd)


def containers_of(pid):
    with contextlib.closing(docker.from_env()) as client:
        found = client.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True)
        owners = [(each, OwnedBy.parse(each.labels[OWNER_LABEL])) for each in found]
        return [each for each, owner in owners if owner and owner.pid == pid]


def test_the_same_bytes_in_and_outside(folder, environment):
    fit = ["fit", "pictures/a.png", "--method", "gaussianimage", "--gaussians", 60, "--iterations", 25, "--seed", 3]
    for run, name in ((splatbench, "outside.s2d"), (inside, "inside.s2d")):
        done = run(*fit, "--output", name, environment=environment, cwd=folder)
        assert done.returncode == 0, done.stderr
    one, two = ((folder / name).read_bytes() for name in ("outside.s2d", "inside.s2d"))
    assert hashlib.sha256(one).hexdigest() == hashlib.sha256(two).hexdigest() and len(one) > 200
    assert (folder / "inside.s2d").stat().st_uid == os.getuid(), "what it writes belongs to the caller"


def test_output_errors_and_exit_codes_come_through(folder, environment):
    done = inside("fit", "gone.png", "--method", "gaussianimage", "-n", 9, environment=environment, cwd=folder)
    assert done.returncode == 1 and "gone.png" in done.stderr and not done.stdout
    done = inside("--version", environment=environment, cwd=folder)
    assert done.returncode == 0 and done.stdout.strip() and not done.stderr


def test_an_image_that_is_not_here_is_said(folder, environment):
    done = splatbench("containers", "run", "--image", "gpu", "--", "x", environment=environment, cwd=folder)
    with contextlib.closing(docker.from_env()) as client:
        if client.images.list(name="splatbench-gpu"):
            pytest.skip("splatbench-gpu is on this machine")
    assert done.returncode == 1 and "`splatbench containers build gpu`" in done.stderr


def test_a_killed_command_leaves_no_container(folder, environment):
    fit = ["fit", "pictures/a.png", "--method", "gaussianimage", "-n", "100", "-i", "1000000", "-o", "x.s2d"]
    command = [sys.executable, "-m", "splatbench", "containers", "run", "--image", NAME, "--", *fit]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not any(each.status == "running" for each in containers_of(process.pid)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    while containers_of(process.pid):
        assert time.monotonic() < deadline, "the container outlived its command"
        time.sleep(0.1)


def test_a_workflow_in_containers_makes_the_same_table(folder, environment, monkeypatch):
    """Each job in a container of its own, against the stages in this process: equal but for clocks and places."""
    monkeypatch.chdir(folder)
    entry = {"id": "gi", "title": "G", "family": "G", "method": "gaussianimage"}
    experiment = {
        "name": "tiny",
        "datasets": [{"folder": "pictures"}],
        "metrics": ["psnr"],
        "controls": False,
        "entries": [entry | {"budgets": [{"gaussians": 60, "iterations": 20}]}],
    }
    (folder / "tiny.yaml").write_text(json.dumps(experiment))
    plan, reporter = Plan.load(folder / "tiny.yaml", folder / "outside"), Reporter("test", stream=io.StringIO())
    for shard in plan.ordered_shards():
        encode_shard(plan, shard, reporter)
        evaluate_shard(plan, shard, reporter)
    (outside,) = (json.loads(record.model_dump_json()) for record in collect(plan))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "1",
               "--configfile", "tiny.yaml", "--config", "engine=docker", f"image={NAME}",
               "--", "results/tiny/records.jsonl"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (inside,) = map(json.loads, (folder / "results/tiny/records.jsonl").read_text().splitlines())
    assert inside["status"] == "ok"
    for column in ("file_sha256", "bytes", "n_actual", "metrics", "config_hash", "status"):
        assert inside[column] == outside[column], column
    with contextlib.closing(docker.from_env()) as client:
        digest = client.images.get(NAME).id
    assert outside["provenance"]["image"] is None
    assert inside["provenance"]["image"] == {"name": NAME, "digest": digest, "engine": "docker", "recipe": ""}


@pytest.mark.slow
def test_our_image_is_built_for_real(docker_host, folder, environment):
    """The cpu image from its Dockerfile on a base that this machine has; then the promise of equal bytes with it."""
    base = os.environ.get("SPLATBENCH_BUILD_BASE")
    if not base:
        pytest.skip("SPLATBENCH_BUILD_BASE names no base image (Debian 12)")
    options = ["--base", base, "--network", "host"]
    if bundle := os.environ.get("SSL_CERT_FILE"):
        options += ["--ca-bundle", bundle]
    command = [sys.executable, "-m", "splatbench", "containers", "build", "cpu", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    listed = json.loads(splatbench("containers", "list", "--json", environment=os.environ, cwd=folder).stdout)
    cpu = next(image for image in listed if image["name"] == "splatbench-cpu")
    assert cpu["current"] and cpu["digest"].startswith("sha256:")
    environment = environment | {"SPLATBENCH_DATA": ""}
    for method in ("gaussianimage", "image_gs", "smartsplat"):
        fit = ["fit", "pictures/a.png", "--method", method, "-n", 60, "-i", 25]
        for prefix, name in (([], "outside.s2d"), (["containers", "run", "--"], "inside.s2d")):
            done = splatbench(*prefix, *fit, "-o", name, environment=environment, cwd=folder)
            assert done.returncode == 0, done.stderr
        assert (folder / "inside.s2d").read_bytes() == (folder / "outside.s2d").read_bytes(), method
    healthy = splatbench("containers", "run", "--", "doctor", "--check", environment=environment, cwd=folder)
    assert healthy.returncode == 0, healthy.stderr

"""The suite in images of a real apptainer: same bytes as outside, rows that say where, nothing left behind.

The image has this machine's Python and packages by mounts, and what else our images have: the program's path, a
variable and a file of facts. SPLATBENCH_SIF names one that `splatbench containers build cpu --engine apptainer` made:
that is then tried instead, on Debian 12 (other C libraries round otherwise: docs/containers.md).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from apptainer_host import build_image, require_apptainer
from docker_host import system_mounts
from PIL import Image

from splatbench.budget import Budget
from splatbench.containers.apptainer import ApptainerEngine
from splatbench.containers.suite_run import COMMAND
from splatbench.containers.task import ContainerTask, Ended, Mount
from splatbench.method import get_method
from splatbench.render.jit import cache_folder
from splatbench.runner.encoding import encode_image

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
FACTS = {"name": "splatbench-test", "recipe": "r" * 64, "revision": ""}
#: Columns that no two runs share, beside the times.
MEASURED = {"curve", "encode_seconds_all", "peak_memory_mib", "provenance"}
FULL = os.environ.get("SPLATBENCH_SIF", "")


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """Behaves as our images do."""
    require_apptainer()
    if FULL:
        return Path(FULL).resolve()
    facts = COMMAND.replace("venv/bin/splatbench", "image.json")
    programs = {
        COMMAND[1:]: f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m splatbench "$@"\n',
        facts[1:]: json.dumps(FACTS),
        ".singularity.d/runscript": f'#!/bin/sh\nexec {COMMAND} "$@"\n',
        ".singularity.d/env/90-environment.sh": "export PYTHONSAFEPATH=1\n",
    }
    return build_image(tmp_path_factory.mktemp("image"), programs)


@pytest.fixture(scope="module")
def environment(image, tmp_path_factory) -> dict[str, str]:
    # What the image lacks is brought as data: folders that may be read.
    mounted = "" if FULL else os.pathsep.join(str(mount.source) for mount in system_mounts())
    return os.environ | {
        "SPLATBENCH_CACHE": str(tmp_path_factory.mktemp("cache")),
        "SPLATBENCH_DATA": mounted,
        "SPLATBENCH_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 255, 48)[None, :, None] * np.ones((32, 1, 3))
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b"):
        picture = np.clip(ramp + rng.normal(0, 20, (32, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path


@pytest.fixture
def splatbench(environment, folder):
    def run(*arguments, **more):
        command = [sys.executable, "-m", "splatbench", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment | more, cwd=folder, timeout=300)

    return run


@pytest.fixture
def inside(splatbench, image):
    prefix = ("containers", "run", "--engine", "apptainer", "--image", image, "--")
    return lambda *arguments, **more: splatbench(*prefix, *arguments, **more)


def test_the_same_bytes_in_and_outside(splatbench, inside, folder):
    fit = ["fit", "pictures/a.png", "--method", "gaussianimage", "--gaussians", 60, "--iterations", 25, "--seed", 3]
    for run, name in ((splatbench, "outside.s2d"), (inside, "inside.s2d")):
        done = run(*fit, "--output", name)
        assert done.returncode == 0, done.stderr
    one, two = ((folder / name).read_bytes() for name in ("outside.s2d", "inside.s2d"))
    assert one == two and len(one) > 200
    assert (folder / "inside.s2d").stat().st_uid == os.getuid(), "what it writes belongs to the caller"


def test_output_errors_and_exit_codes_come_through(inside):
    done = inside("fit", "gone.png", "--method", "gaussianimage", "-n", 9)
    assert done.returncode == 1 and "gone.png" in done.stderr and not done.stdout
    done = inside("--version")
    assert done.returncode == 0 and done.stdout.strip() and not done.stderr


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_leaves_no_process(image, environment, folder, ended_by):
    name = f"{ended_by.name}.s2d"
    fit = ["fit", "pictures/a.png", "--method", "gaussianimage", "-n", "100", "-i", "10000000", "-o", name]
    command = [sys.executable, "-m", "splatbench", "containers", "run", "--engine", "apptainer", "--image", str(image)]

    def fitting() -> list[psutil.Process]:
        processes = psutil.process_iter(["cmdline"])
        return [each for each in processes if "fit" in (words := each.info["cmdline"] or []) and name in words]

    with subprocess.Popen([*command, "--", *fit], env=environment, cwd=folder, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not any(each.pid != process.pid for each in fitting()):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        process.send_signal(ended_by)
        process.wait(30)
    while left := fitting():
        assert time.monotonic() < deadline, f"{left} outlived the command"
        time.sleep(0.1)


def test_a_workflow_in_an_image_makes_the_same_table(image, environment, folder):
    """Snakemake's own deployment: all jobs in the image, against the same run without; clocks and places differ."""
    experiment = {
        "name": "tiny",
        "datasets": [{"folder": "pictures"}],
        "metrics": ["psnr", "ssim"],
        "controls": False,
        "entries": [
            {"id": "g", "title": "G", "family": "G", "method": "gaussianimage"}
            | {"budgets": [{"gaussians": 60, "iterations": 20}]},
            {"id": "j", "title": "J", "family": "J", "method": "codecs", "budgets": [{"quality": 50}]},
        ],
    }
    (folder / "tiny.yaml").write_text(json.dumps(experiment))
    # What a module of a cluster may leave: packages that the image must not take.
    (folder / "packages").mkdir()
    taken = "import os\nif 'APPTAINER_CONTAINER' in os.environ: os._exit(9)\n"
    (folder / "packages" / "sitecustomize.py").write_text(taken)
    environment = environment | {"PYTHONPATH": str(folder / "packages")}
    tables = {}
    for name, options in (("outside", []), ("inside", ["--sdm", "apptainer", "--config", f"image={image}"])):
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "1",
                   "--configfile", "tiny.yaml", *options, "--", "results/tiny/records.jsonl"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = map(json.loads, (folder / "results/tiny/records.jsonl").read_text().splitlines())
        tables[name] = {(row["entry"], row["image"], json.dumps(row["budget"])): row for row in rows}
        (folder / "results").rename(folder / f"results-{name}")
    assert len(tables["outside"]) == 4 and tables["outside"].keys() == tables["inside"].keys()
    facts = {"name": "splatbench-cpu"} if FULL else {"name": FACTS["name"], "recipe": FACTS["recipe"]}
    for key, outside in tables["outside"].items():
        inside = tables["inside"][key]
        assert inside["status"] == "ok", inside["reason"]
        differ = {column for column in outside if inside[column] != outside[column]}
        assert {column for column in differ - MEASURED if not column.endswith("seconds")} == set(), key
        assert outside["file_sha256"] and "metrics" not in differ
        assert outside["provenance"]["image"] is None
        told = inside["provenance"]["image"]
        assert told["digest"] == ApptainerEngine().digest(str(image)) and told["engine"] == "apptainer"
        assert facts.items() <= told.items()


class Furnished(ApptainerEngine):
    """Gives tasks what the image lacks, and kernels that are compiled."""

    def __init__(self, cache: Path) -> None:
        self.mounts = () if FULL else system_mounts()
        self.mounts += (Mount(cache, "/cache", read_only=False),)

    def run(self, task: ContainerTask) -> Ended:
        mounts = (*task.mounts, *self.mounts)
        return super().run(dataclasses.replace(task, mounts=mounts, environment={"SPLATBENCH_CACHE": "/cache"}))


def test_our_own_method_gives_the_same_file_behind_the_contract(image, crop, tmp_path, monkeypatch):
    config = {"iterations": 20}
    kind = get_method("gaussianimage")
    direct = encode_image(kind(kind.make_config(config)), crop, Budget(gaussians=50), seed=3).files[-1].data
    compiled = cache_folder()
    assert compiled is not None
    shutil.copytree(compiled, tmp_path / "cache" / compiled.name)
    for path in (tmp_path / "cache", *(tmp_path / "cache").rglob("*")):
        path.chmod(0o777)  # root's tasks are somebody else's
    external = get_method("external")
    monkeypatch.setattr(
        sys.modules[external.__module__].container, "get_engine", lambda name: Furnished(tmp_path / "cache")
    )
    program = {
        "engine": "apptainer",
        "image": str(image),
        "command": ["contract-run"],
        "settings": {"method": "gaussianimage", "config": config},
        "limits": {"memory_mib": 4096, "threads": 1},
    }
    method = external(external.make_config(program))
    through = encode_image(method, crop, Budget(gaussians=50), seed=3)
    assert through.files[-1].data == direct
    assert method.container["engine"] == "apptainer"
    assert method.container["digest"] == ApptainerEngine().digest(str(image))

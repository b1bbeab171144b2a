"""Where jobs run: which options go together, and what becomes of a rule's command. Apptainer is played by a script."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from splatbench.experiment import ExperimentError
from splatbench.runner.deployment import Deployment, literal
from splatbench.runner.workflow import Workflow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sif(tmp_path):
    path = tmp_path / "splatbench-cpu.sif"
    path.write_bytes(b"image")
    return path


@pytest.mark.parametrize(
    ("options", "apptainer", "says"),
    [
        ({"engine": "podman"}, False, "engine=podman is unknown; there is docker"),
        ({"engine": "apptainer", "image": "x.sif"}, False, "give --sdm apptainer"),
        ({"engine": "docker"}, False, "needs the image, too"),
        ({"image": "splatbench-cpu"}, False, "needs an engine"),
        ({"engine": "docker", "image": "x.sif"}, True, "choose one of them"),
        ({}, True, "jobs would run outside of any image"),
        ({"image": "splatbench-cpu"}, True, "a file that ends in .sif is needed"),
        ({"image": "/nowhere/x.sif"}, True, "a file that ends in .sif is needed"),
    ],
)
def test_options_that_do_not_go_together(options, apptainer, says):
    with pytest.raises(ExperimentError, match=says):
        Deployment.chosen(options, apptainer)


def test_a_path_that_snakemake_would_break_is_refused(tmp_path):
    path = tmp_path / "my image.sif"
    path.touch()
    with pytest.raises(ExperimentError, match="no path with spaces"):
        Deployment.chosen({"image": str(path)}, True)


def test_without_options_nothing_changes(tmp_path):
    chosen = Deployment.chosen({}, False)
    assert chosen == Deployment() and chosen.container is None
    assert shlex.split(chosen.command([tmp_path], network=True, gpu=True)) == [sys.executable, "-m", "splatbench"]


def test_docker_gets_what_a_job_needs_and_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = Deployment.chosen({"engine": "docker", "image": "team/{odd} name"}, False)
    assert chosen.container is None
    needed = [tmp_path / "inside.yaml", Path("/elsewhere/it's {x}.yaml")]
    plain = chosen.command(needed)
    # Snakemake replaces what stands in single braces, and only that.
    assert shlex.split(plain.format()) == [sys.executable, "-m", "splatbench", "containers", "run", "--image",
                                           "team/{odd} name", "--mount", "/elsewhere/it's {x}.yaml", "--"]  # fmt: skip
    assert "--network default" in chosen.command(needed, network=True) and "--network" not in plain
    assert "--gpus {resources.gpu}" in chosen.command(needed, gpu=True) and "--gpus" not in plain


def test_apptainer_runs_the_images_own_program_and_tells_its_digest(sif):
    chosen = Deployment.chosen({"image": str(sif)}, True)
    assert chosen.container == str(sif)
    name, digest, program = chosen.command([]).split()
    assert name == "SPLATBENCH_IMAGE=splatbench-cpu.sif" and program == "/opt/splatbench/venv/bin/splatbench"
    assert digest.startswith("SPLATBENCH_IMAGE_DIGEST=sha256:6105d6cc76af400325e94d588ce511be5bfdbb73")


def test_apptainer_sees_data_and_cache(sif, tmp_path, monkeypatch):
    for name in ("APPTAINER_BIND", "APPTAINER_NO_PRIVS", "APPTAINERENV_PYTHONPATH", "SPLATBENCH_DATA"):
        monkeypatch.setenv(name, "")  # restored afterwards
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPLATBENCH_DATA", f"{tmp_path}:{tmp_path}/gone")
    monkeypatch.setenv("APPTAINER_BIND", "/scratch")
    chosen = Deployment.chosen({"image": str(sif)}, True)
    for _ in range(2):  # a job of a cluster reads the Snakefile again, in the environment that this made
        chosen.prepare([sif])
        expected = f"/scratch,{tmp_path}/cache:{tmp_path}/cache,{tmp_path}:{tmp_path}:ro,{sif}:{sif}:ro"
        assert os.environ["APPTAINER_BIND"] == expected
    assert (tmp_path / "cache").is_dir()
    Deployment().prepare([Path("/other")])
    assert os.environ["APPTAINER_BIND"] == expected


def test_literal_text_survives_snakemake_and_the_shell():
    text = "a b'{c}\"$d"
    assert shlex.split(literal(text).format()) == [text]


def test_the_workflow_brings_folders_of_pictures(write_experiment, settings, tmp_path_factory):
    pictures = tmp_path_factory.mktemp("elsewhere")
    Image.new("RGB", (8, 8)).save(pictures / "a.png")
    for folder, brought in ((pictures, True), ("pictures", False)):
        values = settings | {"datasets": [{"folder": str(folder)}]}
        path = write_experiment(values)
        flow = Workflow([str(path)], values | {"engine": "docker", "image": "x"}, path)
        assert (f"--mount {folder}" in flow.shell("collect")) == brought
        assert ("--mount" in flow.shell("collect")) == brought


# -- Snakemake itself -------------------------------------------------------------------------------------------------
FAKE = """#!{python}
# Runs on this machine what apptainer would run in an image, and writes down how it was called.
import json, os, subprocess, sys
words = sys.argv[1:]
if "--version" in words:
    print("apptainer version 1.3.4")
    raise SystemExit
with open({log!r}, "a") as log:
    told = {{key: value for key, value in os.environ.items() if key.startswith("APPTAINER")}}
    log.write(json.dumps({{"words": words, "told": told}}) + "\\n")
inside = words[-1].replace("/opt/splatbench/venv/bin/splatbench", {python!r} + " -m splatbench")
raise SystemExit(subprocess.run(["bash", "-c", inside]).returncode)
"""


@pytest.mark.slow
def test_snakemakes_apptainer_runs_every_job_in_the_image(tmp_path, sif):
    log = tmp_path / "calls.jsonl"
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (24, 16), (9, 90, 200)).save(tmp_path / "pictures" / "a.png")
    experiment = {
        "name": "tiny",
        "datasets": [{"folder": str(tmp_path / "pictures")}],
        "metrics": ["psnr"],
        "controls": False,
        "entries": [{"id": "j", "title": "J", "family": "J", "method": "codecs", "budgets": [{"quality": 50}]}],
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps(experiment))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1",
               "--directory", str(tmp_path), "--configfile", str(tmp_path / "tiny.yaml"), "--sdm", "apptainer",
               "--config", f"image={sif}", "--until", "encode"]  # fmt: skip
    environment = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "SPLATBENCH_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(calls) == 2, "fetch and encode"
    for call in calls:
        assert str(sif) in call["words"] and "SPLATBENCH_IMAGE_DIGEST=sha256:" in call["words"][-1]
        binds = call["told"]["APPTAINER_BIND"]
        assert f"{tmp_path}/cache:{tmp_path}/cache" in binds and f"{tmp_path}/pictures" in binds
        assert call["told"]["APPTAINER_NO_PRIVS"] == "1" and call["told"]["APPTAINERENV_PYTHONPATH"] == ""
    (file,) = (tmp_path / "results/tiny/encodings").rglob("*.jpg")
    assert file.stat().st_size > 0

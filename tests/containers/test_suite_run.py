"""What `splatbench containers run` gives a container, without an engine; apptainer's program is played by a script."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from splatbench.cli import app
from splatbench.containers.suite_run import SuiteRun, all_mounts, variables
from splatbench.containers.task import EngineMissing, Mount


@pytest.fixture
def run(tmp_path):
    """A command in folders of their own."""
    for name in ("project", "cache", "data", "weights"):
        (tmp_path / name).mkdir()
    return SuiteRun("splatbench-cpu", ("--version",), folder=tmp_path / "project", cache=tmp_path / "cache")


def test_only_the_working_folder_and_the_cache_can_be_written(run, tmp_path):
    environ = {"SPLATBENCH_DATA": f"{tmp_path}/data:{tmp_path}/nowhere", "SPLATBENCH_WEIGHTS": f"{tmp_path}/weights"}
    mounts = {mount.target: mount.read_only for mount in all_mounts(run, environ)}
    assert mounts == {
        f"{tmp_path}/project": False,
        f"{tmp_path}/cache": False,
        f"{tmp_path}/data": True,
        f"{tmp_path}/weights": True,
    }


def test_a_folder_that_is_data_and_working_folder_can_be_written(run):
    mounts = all_mounts(run, {"SPLATBENCH_DATA": str(run.folder)})
    assert [(m.target, m.read_only) for m in mounts if m.target == str(run.folder)] == [(str(run.folder), False)]


def test_more_mounts_keep_their_targets(run, tmp_path):
    more = Mount(tmp_path / "data", "/elsewhere")
    wanted = SuiteRun(run.image, run.arguments, run.folder, run.cache, (tmp_path / "weights",), (more,))
    assert more in all_mounts(wanted, {}) and Mount(tmp_path / "weights", f"{tmp_path}/weights") in all_mounts(
        wanted, {}
    )


@pytest.mark.parametrize(("target", "kind"), [("project", "working"), ("cache", "cache"), ("cache/", "cache")])
def test_a_mount_that_would_be_covered_is_refused(run, tmp_path, target, kind):
    more = Mount(tmp_path / "data", f"{tmp_path}/{target}")
    with pytest.raises(ValueError, match=f"--mount {tmp_path}/data:{more.target}: the {kind} folder is there"):
        all_mounts(replace(run, mounts=(more,)), {})
    same = Mount(run.folder, str(run.folder))
    assert Mount(run.folder, str(run.folder), read_only=False) in all_mounts(replace(run, mounts=(same,)), {})


def test_the_root_is_no_working_folder(run):
    with pytest.raises(ValueError, match="cover the image's own files"):
        all_mounts(SuiteRun(run.image, (), Path("/"), run.cache), {})


def test_what_is_not_there_is_said(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="what is not there"):
        all_mounts(SuiteRun(run.image, (), run.folder, run.cache, (tmp_path / "gone",)), {})


def test_the_environment_is_chosen_not_inherited(run, monkeypatch):
    monkeypatch.chdir(run.folder)
    environ = {"SPLATBENCH_DATA": "../data", "SECRET_TOKEN": "x", "SPLATBENCH_THREADS": "3", "PATH": "/bin"}
    given = variables(run, "sha256:1", environ)
    assert given["SPLATBENCH_DATA"] == str(run.folder / "../data"), "the same folder as outside"
    assert given["SPLATBENCH_THREADS"] == "3" and given["SPLATBENCH_CACHE"] == str(run.cache)
    assert (given["SPLATBENCH_IMAGE"], given["SPLATBENCH_IMAGE_DIGEST"]) == ("splatbench-cpu", "sha256:1")
    assert not {"SECRET_TOKEN", "PATH"} & set(given)


def test_devices_are_hidden_unless_one_is_leased(run):
    without = variables(run, "", {})
    assert without["CUDA_VISIBLE_DEVICES"] == "" and without["NVIDIA_VISIBLE_DEVICES"] == "void"
    leased = variables(SuiteRun(run.image, (), run.folder, run.cache, gpu="3"), "", {})
    assert leased["CUDA_VISIBLE_DEVICES"] == "0", "the only one that docker shows inside"


# -- the command line -------------------------------------------------------------------------------------------------
FAKE = """#!{python}
import json, os, sys
told = {{key: value for key, value in os.environ.items() if key.startswith("APPTAINERENV_")}}
print(json.dumps({{"arguments": sys.argv[1:], "environment": told}}))
raise SystemExit(7)
"""


@pytest.fixture
def apptainer(tmp_path, monkeypatch):
    """A program of that name that prints what it was given and exits with 7; what it would replace is this test's
    child."""
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    return os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "SPLATBENCH_CACHE": str(tmp_path / "cache")}


def splatbench(*arguments: str, env: dict[str, str], cwd: Path):
    command = [sys.executable, "-m", "splatbench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd)


def test_apptainer_is_given_folders_image_and_digest(apptainer, tmp_path):
    (tmp_path / "splatbench-cpu.sif").write_bytes(b"image")
    apptainer["SPLATBENCH_DATA"] = str(tmp_path / "bin")
    done = splatbench(
        "containers", "run", "--engine", "apptainer", "--", "methods", "--json", env=apptainer, cwd=tmp_path
    )
    assert done.returncode == 7, done.stderr
    said = json.loads(done.stdout)
    words = said["arguments"]
    image = words.index(str(tmp_path / "splatbench-cpu.sif"))
    assert words[image + 1 :] == ["/opt/splatbench/venv/bin/splatbench", "methods", "--json"]
    assert words[words.index("--network") + 1] == "none" and "--cleanenv" in words and "--nv" not in words
    mounts = [words[at + 1] for at, word in enumerate(words) if word == "--mount"]
    assert f"type=bind,source={tmp_path},destination={tmp_path}" in mounts
    assert f"type=bind,source={tmp_path}/bin,destination={tmp_path}/bin,ro" in mounts
    told = said["environment"]
    assert told["APPTAINERENV_SPLATBENCH_IMAGE"] == "splatbench-cpu.sif"
    assert told["APPTAINERENV_SPLATBENCH_IMAGE_DIGEST"].startswith("sha256:6105d6cc76af400325e94d588ce511be5bfdbb73")


def test_an_image_file_that_is_missing_is_said(apptainer, tmp_path):
    done = splatbench("containers", "run", "--engine", "apptainer", "--", "methods", env=apptainer, cwd=tmp_path)
    assert done.returncode == 1 and "there is no image file splatbench-cpu.sif" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--mount", "relative/../gone", "--", "x"], "is not there"),
        (["run", "--mount", "/:inside", "--", "x"], "absolute path"),
        (["run", "--gpus", "2", "--", "x"], "--gpus"),
        (["build", "tpu"], "tpu"),
        (["build", "--build-arg", "UNHEARD_OF"], "NAME=VALUE"),
        (["build", "--ca-bundle", "/gone.pem"], "/gone.pem"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, says):
    done = CliRunner().invoke(app, ["containers", *arguments])
    assert done.exit_code == 2 and says in " ".join(re.sub("[│╭╮╰╯─]", " ", done.output).split())


def test_a_gpu_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = CliRunner().invoke(app, ["containers", "run", "--gpus", "1", "--", "x"])
    assert done.exit_code == 1 and "no CUDA device" in str(done.exception)


def test_without_a_daemon_the_user_is_told_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path))
    for command in (["run", "--", "methods"], ["list"], ["build"]):
        done = CliRunner().invoke(app, ["containers", *command])
        assert isinstance(done.exception, EngineMissing) and "no docker daemon answers" in str(done.exception)
    facts = CliRunner().invoke(app, ["containers", "doctor", "--json"])
    assert "no docker daemon answers" in json.loads(facts.stdout)["docker"]["missing"]

"""The engine apptainer, for real: it runs where the program is installed, as root or not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import psutil
import pytest
from apptainer_host import build_image, require_apptainer
from docker_host import system_mounts

from splatbench.containers.engines import get_engine
from splatbench.containers.task import ContainerTask, Ended, EngineMissing, GpuMissing, ImageMissing, Limits, Mount

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """An image that runs what it is given."""
    require_apptainer()
    return build_image(tmp_path_factory.mktemp("image"), {".singularity.d/runscript": '#!/bin/sh\nexec "$@"\n'})


@pytest.fixture
def run(image):
    def run(*command: str, **options) -> Ended:
        mounts = system_mounts() + options.pop("mounts", ())
        return get_engine("apptainer").run(ContainerTask(str(image), command, mounts, **options))

    return run


@pytest.fixture
def python(run):
    return lambda code, **options: run(sys.executable, "-c", code, **options)


@pytest.fixture
def out(tmp_path) -> Mount:
    (tmp_path / "out, of 'all'").mkdir()  # a path that has to be quoted
    return Mount(tmp_path / "out, of 'all'", "/splatbench/out", read_only=False)


def test_what_a_task_is_given(python, out):
    code = """
import json, os, socket
def tried(action):
    try: return action() or "done"
    except OSError as error: return error.strerror
def connect(address):
    with socket.socket() as s:
        s.settimeout(3); s.connect(address)
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"],
    "root": tried(lambda: open("/x", "w").close()),
    "usr": tried(lambda: open("/usr/x", "w").close()),
    "tmp": tried(lambda: open("/tmp/x", "w").close()),
    "shm": tried(lambda: open("/dev/shm/x", "w").close()),
    "home": tried(lambda: open(os.environ["HOME"] + "/x", "w").close()),
    "out": tried(lambda: open("/splatbench/out/x", "w").close()),
    "keys": tried(lambda: os.listdir("/root/.ssh")),
    "shadow": tried(lambda: open("/etc/shadow").read()),
    "devices": [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvidia", "kvm", "mem"))],
    "interfaces": [name for _, name in socket.if_nameindex()],
    "local": tried(lambda: connect(("127.0.0.1", PORT))),
    "internet": tried(lambda: connect(("192.0.2.1", 80))),
    "environment": dict(os.environ),
}))
"""
    os.environ["SPLATBENCH_TEST_SECRET"] = "hush"
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            code = code.replace("PORT", str(server.getsockname()[1]))
            ended = python(code, mounts=(out,), environment={"MINE": 'a,b="c" $(id)'}, limits=Limits(threads=1))
    finally:
        del os.environ["SPLATBENCH_TEST_SECRET"]
    assert ended.exit_code == 0, ended.log
    told = json.loads(ended.log)
    assert told["uid"] == (os.getuid() or 65534)
    assert {int(mask, 16) for mask in told["capabilities"]} == {0} and told["no_new_privileges"] == "1"
    assert told["root"] == told["usr"] == "Read-only file system"
    assert [told[name] for name in ("tmp", "shm", "home", "out")] == ["done"] * 4
    for forbidden in ("keys", "shadow"):
        assert told[forbidden] in ("Permission denied", "No such file or directory"), told
    assert told["devices"] == [] and told["interfaces"] == ["lo"]
    assert told["local"] == "Connection refused" and told["internet"] == "Network is unreachable"
    environment = told["environment"]
    assert "SPLATBENCH_TEST_SECRET" not in environment and environment["MINE"] == 'a,b="c" $(id)'
    assert environment["OMP_NUM_THREADS"] == "1" and environment["CUDA_VISIBLE_DEVICES"] == ""
    assert (out.source / "x").is_file()


def test_limits(python, run, out):
    assert run("sleep", "600", limits=Limits(seconds=0.5)).ending == "timeout"
    ended = python("import time; x = bytearray(400 << 20); time.sleep(600)", limits=Limits(memory_mib=200))
    assert ended.ending == "memory" and ended.peak_memory_mib > 200
    code = "import os, signal\nfor _ in range(60): os.fork() or signal.pause()\nsignal.pause()"
    assert python(code, limits=Limits(pids=30)).ending == "pids"
    for folder in ("/splatbench/out", "/tmp", "/dev/shm"):
        many = f"i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > {folder}/$i; done"
        shutil.rmtree(out.source)
        out.source.mkdir()
        ended = run("sh", "-c", many, mounts=(out,), limits=Limits(output_mib=20, seconds=60))
        assert ended.ending == "output", folder


def test_endings_and_the_log(run, python):
    ended = run("sh", "-c", "echo hello; exit 7")
    assert (ended.ending, ended.exit_code, ended.log) == ("exited", 7, "hello")
    assert run("sh", "-c", "kill -9 $$").exit_code == 137
    assert run("/no/such/program").exit_code == 127
    seen = []
    assert run("sleep", "600", watch=lambda: len(seen) > 30 or seen.append(1)).ending == "stopped"


def test_nothing_survives(run):
    mark = f"{3600 + os.getpid() / 1e7:.7f}"
    assert run("sh", "-c", f"setsid sleep {mark} & sleep 0.3").exit_code == 0
    assert not [each for each in psutil.process_iter(["cmdline"]) if mark in (each.info["cmdline"] or [])]


def test_the_image_is_the_one_that_was_named(image):
    engine = get_engine("apptainer")
    digest = engine.digest(str(image))
    other = "sha256:" + "0" * 64
    assert engine.run(ContainerTask(f"{image}@{digest}", ("true",), system_mounts())).exit_code == 0
    with pytest.raises(ImageMissing, match=f"is {digest}, not {other}"):
        engine.run(ContainerTask(f"{image}@{other}", ("true",), system_mounts()))


def test_what_is_no_image(image, tmp_path):
    (tmp_path / "bad.sif").write_bytes(b"nonsense")
    with pytest.raises(ImageMissing, match="cannot read the image"):
        get_engine("apptainer").run(ContainerTask(str(tmp_path / "bad.sif"), ("true",)))


def test_a_gpu_that_is_not_here(run):
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    with pytest.raises(GpuMissing, match="no NVIDIA driver"):
        run("true", gpu="0")


def test_what_apptainer_dies_of_is_said(run, tmp_path):
    tmp_path.chmod(0o755)
    with pytest.raises(EngineMissing, match="apptainer cannot start the container"):
        run("true", mounts=(Mount(tmp_path, "/dev/null/x"),))


@pytest.mark.skipif(os.getuid() != 0, reason="only root's tasks run as somebody else")
def test_a_folder_that_the_task_may_not_read(run, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(PermissionError, match="others may not read this"):
        run("true", mounts=(Mount(tmp_path / "closed", "/splatbench/in"),))

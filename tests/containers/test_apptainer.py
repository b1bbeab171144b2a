"""The engine apptainer with a program of that name that records how it was called."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import pytest

from splatbench.containers.engines import get_engine
from splatbench.containers.task import ContainerTask, EngineMissing, GpuMissing, ImageMissing, Limits, Mount

ENGINE = get_engine("apptainer")


@pytest.fixture
def apptainer(tmp_path, monkeypatch):
    """Puts it on the PATH; gives what it was called with. It ends as the fixture's `script` says."""
    monkeypatch.setattr(os, "chown", lambda *_: None)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def install(script: str = "exit 0"):
        program = tmp_path / "bin" / "apptainer"
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo "apptainer version 1.4.5"; exit 0; fi\n'
            f'printf "%s\\n" "$@" > {tmp_path}/called\nenv > {tmp_path}/environment\n{script}\n'
        )
        program.chmod(0o755)

        def called() -> tuple[list[str], dict[str, str]]:
            environment = (tmp_path / "environment").read_text().splitlines()
            return (tmp_path / "called").read_text().splitlines(), dict(line.split("=", 1) for line in environment)

        return called

    return install


@pytest.fixture
def image(tmp_path) -> Path:
    (tmp_path / "x.sif").write_bytes(b"an image")
    return tmp_path / "x.sif"


def options(called: list[str], name: str) -> list[str]:
    return [value for option, value in itertools.pairwise(called) if option == name]


def test_how_it_is_called(apptainer, image, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    called = apptainer("echo hello; exit 4")
    (tmp_path / 'a "b", c').mkdir()
    mounts = (Mount(tmp_path / 'a "b", c', "/splatbench/in"), Mount(tmp_path / "bin", "/out", read_only=False))
    task = ContainerTask(str(image), ("prog", "--flag"), mounts, {"MINE": "a,b", "HOME": "/x"}, Limits(threads=1))
    ended = ENGINE.run(task)
    assert (ended.ending, ended.exit_code, ended.log) == ("exited", 4, "hello")
    words, environment = called()
    assert words[:2] == ["--silent", "run"] and words[-3:] == [str(image), "prog", "--flag"]
    assert {"--containall", "--cleanenv", "--no-privs", "--no-eval", "--net"} <= set(words)
    assert options(words, "--network") == ["none"] and "--nv" not in words and "--writable-tmpfs" not in words
    folder = options(words, "--workdir")[0]
    assert options(words, "--mount") == [
        f'type=bind,"source={tmp_path}/a ""b"", c",destination=/splatbench/in,ro',
        f"type=bind,source={tmp_path}/bin,destination=/out",
        f"type=bind,source={folder}/shm,destination=/dev/shm",
    ]
    assert not Path(folder).exists(), "its /tmp goes with it"
    assert environment["APPTAINERENV_MINE"] == "a,b" and environment["APPTAINERENV_OMP_NUM_THREADS"] == "1"
    assert environment["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == ""
    assert not {"SECRET_TOKEN", "APPTAINERENV_HOME"} & set(environment) and environment["HOME"] == folder


@pytest.mark.parametrize(("uid", "security"), [(0, ["uid:65534", "gid:65534"]), (1000, [])])
def test_a_task_is_never_root(apptainer, image, monkeypatch, uid, security):
    called = apptainer()
    monkeypatch.setattr(os, "getuid", lambda: uid)
    ENGINE.run(ContainerTask(str(image)))
    assert options(called()[0], "--security") == security


def test_a_gpu(apptainer, image, monkeypatch):
    called = apptainer()
    real = Path.exists
    driver = {"there": False}
    monkeypatch.setattr(Path, "exists", lambda path: driver["there"] if str(path) == "/dev/nvidiactl" else real(path))
    with pytest.raises(GpuMissing, match="no NVIDIA driver"):
        ENGINE.run(ContainerTask(str(image), gpu="GPU-7"))
    driver["there"] = True
    ENGINE.run(ContainerTask(str(image), gpu="GPU-7"))
    words, environment = called()
    assert "--nv" in words and environment["APPTAINERENV_CUDA_VISIBLE_DEVICES"] == "GPU-7"


def test_its_memory_is_watched(apptainer, image):
    apptainer("head -c 300000000 /dev/zero | tail -c 250000000 | sleep 600")
    ended = ENGINE.run(ContainerTask(str(image), limits=Limits(memory_mib=100, seconds=60)))
    assert ended.ending == "memory"


def test_what_apptainer_dies_of(apptainer, image):
    apptainer("echo hello; echo 'FATAL:   could not open image x.sif: image format not recognized' >&2; exit 255")
    with pytest.raises(ImageMissing, match="cannot read the image: .*not recognized"):
        ENGINE.run(ContainerTask(str(image)))
    apptainer("printf '\\033[31mFATAL:   no user namespaces\\033[0m\\n' >&2; exit 255")
    with pytest.raises(EngineMissing, match="cannot start the container: no user namespaces"):
        ENGINE.run(ContainerTask(str(image)))
    apptainer("echo FATAL: the program itself; echo bye; exit 255")
    assert ENGINE.run(ContainerTask(str(image))).exit_code == 255


def test_the_digest_is_that_of_the_file(apptainer, image):
    apptainer()
    digest = f"sha256:{hashlib.sha256(b'an image').hexdigest()}"
    other = "sha256:" + "0" * 64
    assert ENGINE.digest(str(image)) == digest
    assert ENGINE.digest(f"{image}@{other}") == other, "answered as it is written"
    assert ENGINE.run(ContainerTask(f"{image}@{digest}")).ending == "exited"
    with pytest.raises(ImageMissing, match=f"is {digest}, not {other}"):
        ENGINE.run(ContainerTask(f"{image}@{other}"))
    image.write_bytes(b"another image")
    os.utime(image, ns=(1, 1))
    assert ENGINE.digest(str(image)) == f"sha256:{hashlib.sha256(b'another image').hexdigest()}"


@pytest.mark.parametrize(
    ("reference", "advice"),
    [("debian:bookworm", "apptainer build"), ("docker://debian", "apptainer build"), ("/no/x.sif", "no image file")],
)
def test_what_is_no_image(apptainer, reference, advice):
    apptainer()
    for action in (ENGINE.digest, lambda name: ENGINE.run(ContainerTask(name))):
        with pytest.raises(ImageMissing, match=advice):
            action(reference)


def test_it_is_not_here(monkeypatch, tmp_path, image):
    monkeypatch.setenv("PATH", str(tmp_path))
    for action in (ENGINE.check, lambda: ENGINE.run(ContainerTask(str(image)))):
        with pytest.raises(EngineMissing, match="no program `apptainer` here"):
            action()


def test_a_version_is_told(apptainer):
    apptainer()
    assert ENGINE.check() == "apptainer version 1.4.5"

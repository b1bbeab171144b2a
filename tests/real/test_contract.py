"""The file contract with a real container engine: programs that are held by nothing but the container."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "containers"))

import docker_host as docker_helpers
from contract_rows import BAD, GOOD, Rows, entry, hostile

from splatbench.budget import Budget
from splatbench.codec import decode
from splatbench.containers.docker import DockerEngine
from splatbench.containers.task import ContainerTask, Ended, Mount
from splatbench.method import MethodError, Unavailable, get_method
from splatbench.render.jit import cache_folder
from splatbench.runner.encoding import encode_image

pytestmark = pytest.mark.real

#: Mode of containers/fixtures/hostile.py -> limits that differ, status, and what the reason must say (any of them).
MISBEHAVIOUR: dict[str, tuple[dict, str, tuple[str, ...]]] = {
    "sleeps": ({"seconds": 3}, "failed", ("the time limit of 3 s passed",)),
    "eats_memory": ({}, "out_of_memory", ("the memory limit of 400 MiB was reached",)),
    "forks": ({}, "failed", ("BlockingIOError", "more than the 40 processes")),
    "garbage": ({}, "failed", ("gaussians.npz: ",)),
    "too_many": ({}, "failed", ("gaussians.npz: it holds 21 Gaussians, the budget allows 20",)),
    "wrong_size": ({}, "failed", ("the file is for a picture of 8x8 pixels",)),
    "link": ({}, "failed", ("encoding.s2d is a link",)),
    "fifo": ({}, "failed", ("gaussians.npz is a FIFO",)),
    "locked_folder": ({}, "failed", ("without an answer", "more than the 32 MiB")),
    "sparse": ({}, "failed", ("File too large", "more than the 32 MiB")),
    "endless": ({}, "failed", ("File too large", "more than the 32 MiB")),
    "floods": ({}, "failed", ("exit code 1: flooded",)),
    "control_characters": ({}, "failed", ("exit code 1: <script>alert(1)</script>",)),
    "told_missing": ({}, "not_run", ("needs the weights in /weights",)),
    "silent": ({}, "failed", ("it ended without an answer",)),
    "dies": ({}, "failed", ("exit code 134",)),
    "network": ({}, "failed", ("ConnectionRefusedError", "Network is unreachable")),
    "keeps_original": ({}, "failed", ("the decoder: exit code 1: the original is nowhere",)),
    "wrong_picture": ({}, "failed", ("the file holds 8x8 pixels, the picture has 40x24",)),
    "decoder_link": ({}, "failed", ("the decoder: picture.npy is a link",)),
}


class WithSystem(DockerEngine):
    """Containers also see this machine's Python and the project, read-only, and a cache where there is one."""

    cache: Path | None = None

    def run(self, task: ContainerTask) -> Ended:
        task = dataclasses.replace(task, mounts=(*task.mounts, *docker_helpers.system_mounts()))
        if self.cache is not None:
            mounts = (*task.mounts, Mount(self.cache, "/cache", read_only=False))
            task = dataclasses.replace(task, mounts=mounts, environment={"SPLATBENCH_CACHE": "/cache"})
        return super().run(task)


@pytest.fixture(scope="module")
def with_system(base_image: str) -> Iterator[str]:
    """The image's name, while the method External runs images by `WithSystem`."""
    external = sys.modules[get_method("external").__module__]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external.container, "get_engine", lambda name: WithSystem())
        yield base_image


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A server of this machine: its port, and what anybody sent to it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(100))

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1], heard


#: Those that are tried beside a picture that is encoded well; the others have a run of their own, for speed.
BESIDE = ("sleeps", "eats_memory", "link", "wrong_picture")


@pytest.fixture(scope="module")
def rows(with_system, listener, tmp_path_factory, photograph) -> dict[str, Rows]:
    """Mode -> the experiment that it is in."""
    entries = {
        mode: entry(mode, hostile(mode, limits, port=listener[0]) | {"engine": "docker", "image": with_system})
        for mode, (limits, _, _) in MISBEHAVIOUR.items()
    }
    found: dict[str, Rows] = {}
    for name, widths in (("beside", (GOOD, BAD)), ("alone", (BAD,))):
        mine = [mode for mode in MISBEHAVIOUR if (mode in BESIDE) == (name == "beside")]
        folder = tmp_path_factory.mktemp(name)
        found |= dict.fromkeys(mine, Rows(folder, photograph, [entries[mode] for mode in mine], widths).run())
    return found


@pytest.mark.parametrize("mode", MISBEHAVIOUR)
def test_each_misbehaviour_has_its_row(rows, mode):
    _, status, reasons = MISBEHAVIOUR[mode]
    bad = rows[mode].of(mode, BAD)
    assert bad.status == status and any(reason in bad.reason for reason in reasons), bad.reason


@pytest.mark.parametrize("mode", BESIDE)
def test_the_other_picture_of_the_shard_has_its_result(rows, mode):
    good = rows[mode].of(mode, GOOD)
    assert (good.status, good.reason) == ("ok", None) and good.metrics["psnr"] > 3


def test_nothing_came_through_the_network(rows, listener):
    assert listener[1] == []


def test_rows_hold_the_image_with_its_digest(rows, with_system):
    record = rows["link"].of("link", GOOD)
    assert (record.container.name, record.container.engine) == (with_system, "docker")
    assert record.container.digest.startswith("sha256:") and record.config["digest"] == record.container.digest
    assert record.peak_memory_mib > 1 and record.implementation == "external"


def test_our_own_method_gives_the_same_file_in_a_container(with_system, crop, tmp_path, monkeypatch):
    """The proof of the contract: what comes back through it is what the method gives without it, byte for byte."""
    config = {"iterations": 20}
    budget = Budget(gaussians=50)
    kind = get_method("gaussianimage")
    direct = encode_image(kind(kind.make_config(config)), crop, budget, seed=3).files[-1].data
    # A copy of the kernels that were compiled just now: compiling them again takes most of a minute.
    compiled = cache_folder()
    assert compiled is not None
    shutil.copytree(compiled, tmp_path / "cache" / compiled.name)
    for path in (tmp_path / "cache").rglob("*"):
        path.chmod(0o777)  # the container's user is another one
    monkeypatch.setattr(WithSystem, "cache", tmp_path / "cache")
    program = {
        "image": with_system,
        "command": ["python", "-m", "splatbench", "contract-run"],
        "settings": {"method": "gaussianimage", "config": config},
        "limits": {"memory_mib": 4096, "threads": 1},
    }
    external = get_method("external")
    method = external(external.make_config(program))
    through = encode_image(method, crop, budget, seed=3)
    assert through.files[-1].data == direct
    assert len(decode(direct)) == 50 and method.container["digest"].startswith("sha256:")
    assert through.files[-1].iterations == 20


def test_a_name_that_is_given_to_another_image_while_it_is_in_use(with_system, crop):
    """What runs is what rows name: the image that the name stood for when the method was prepared."""
    name, budget = "splatbench-test/moved:1", Budget(gaussians=5)
    external = get_method("external")
    with contextlib.closing(docker.from_env()) as client:
        digests = []
        for which in ("first", "second"):
            container = client.containers.create(with_system, "true")
            digests.append(container.commit(changes=f"ENV WHICH={which}").id)
            container.remove()
        try:
            assert client.images.get(digests[0]).tag(name)
            config = external.make_config({"image": name, "command": ["sh", "-c", "echo $WHICH; exit 3"]})
            method = external(config)
            for which in (0, 1):
                assert client.images.get(digests[which]).tag(name)
                with pytest.raises(MethodError, match="exit code 3: first"):
                    encode_image(method, crop, budget)
                assert method.container == {"name": name, "digest": digests[0], "engine": "docker"}
            with pytest.raises(Unavailable, match=f"is {digests[1]} here, the configuration says {digests[0]}"):
                external(config).prepare()
        finally:
            for digest in digests:
                client.images.remove(digest, force=True)


def test_another_image_than_configured_is_not_run(with_system):
    external = get_method("external")
    config = external.make_config({"image": with_system, "digest": "sha256:" + "0" * 64})
    with pytest.raises(ValueError, match=r"is sha256:[0-9a-f]{64} here, the configuration says sha256:0000"):
        external(config).prepare()
    assert "is another one now" in external.outdated(config)


def test_an_image_that_is_not_here_says_how_to_get_it(with_system):
    external = get_method("external")
    with pytest.raises(ValueError, match="docker pull nobody/nothing:1"):
        external(external.make_config({"image": "nobody/nothing:1"})).prepare()

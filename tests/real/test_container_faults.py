"""A container that somebody kills while it encodes: a row, and the rest of the shard goes on. See docs/faults.md."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
import uuid
from pathlib import Path

import docker
import docker_host as docker_helpers
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "containers"))

from contract_rows import BAD, GOOD, Rows, entry, hostile

from splatbench.containers.docker import DockerEngine
from splatbench.containers.task import ContainerTask, Ended
from splatbench.method import get_method

pytestmark = pytest.mark.real


#: Tells containers of this test from all others of the daemon.
MINE = f"FAULT={uuid.uuid4().hex}"


class _Marked(DockerEngine):
    """Containers also see this machine's Python, and bear the mark."""

    def run(self, task: ContainerTask) -> Ended:
        name, value = MINE.split("=")
        mounts = (*task.mounts, *docker_helpers.system_mounts())
        return super().run(dataclasses.replace(task, mounts=mounts, environment={**task.environment, name: value}))


def _kill_when(client: docker.DockerClient, seconds: float, killed: list[str]) -> None:
    """Kills the first container of this test that has run for so long: the one that sleeps."""
    seen: dict[str, float] = {}
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for container in client.containers.list(ignore_removed=True):
            since = seen.setdefault(container.id, time.monotonic())
            if MINE in container.attrs["Config"]["Env"] and time.monotonic() - since > seconds:
                container.kill("SIGKILL")
                killed.append(container.id)
                return
        time.sleep(0.1)


def test_a_container_that_is_killed_is_a_row(base_image, tmp_path, photograph, monkeypatch):
    external = sys.modules[get_method("external").__module__]
    monkeypatch.setattr(external.container, "get_engine", lambda name: _Marked())
    program = hostile("sleeps", {"seconds": 60}) | {"engine": "docker", "image": base_image}
    rows = Rows(tmp_path, photograph, [entry("sleeps", program)])
    client, killed = docker.from_env(), list[str]()
    killer = threading.Thread(target=_kill_when, args=(client, 8.0, killed))
    killer.start()
    rows.run()
    killer.join()
    assert killed, "the container was never found"
    bad, good = rows.of("sleeps", BAD), rows.of("sleeps", GOOD)
    assert bad.status == "failed" and "137" in bad.reason, bad.reason
    assert good.status == "ok" and good.metrics["psnr"] > 3
    assert not client.containers.list(all=True, filters={"id": killed[0]})
    again = rows.run()
    assert again.of("sleeps", BAD).reason == bad.reason, "kept until somebody asks for another try"

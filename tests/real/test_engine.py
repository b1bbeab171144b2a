"""The docker engine against a real daemon: every limit hit, every way out tried, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest
from docker_host import system_mounts

from splatbench.containers.engines import get_engine
from splatbench.containers.owner import OWNER_LABEL, OwnedBy, myself
from splatbench.containers.task import (
    ContainerTask,
    Ended,
    EngineMissing,
    GpuMissing,
    ImageMissing,
    Limits,
    Mount,
)

pytestmark = pytest.mark.real


@pytest.fixture
def client(docker_host):
    with contextlib.closing(docker.from_env()) as client:
        yield client


@pytest.fixture
def run(base_image):
    """Runs a command in the base image."""

    def run(*command: str, **options) -> Ended:
        mounts = system_mounts() + options.pop("mounts", ())
        return get_engine("docker").run(ContainerTask(base_image, command, mounts, **options))

    return run


@pytest.fixture
def out(tmp_path) -> Mount:
    (tmp_path / "out").mkdir()
    return Mount(tmp_path / "out", "/splatbench/out", read_only=False)


def owned_by(client, pid: int) -> list:
    """Containers that a process made."""
    found = []
    for container in client.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True):
        owner = OwnedBy.parse(container.labels[OWNER_LABEL])
        if owner and owner.pid == pid:
            found.append(container)
    return found


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_what_a_task_is_given(run, out, client):
    """Nobody, without capabilities, in a read-only system, with one writable folder and a /tmp of its own."""
    code = """
import json, os, socket
def tried(action):
    try: return action() or "done"
    except OSError as error: return error.strerror
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def connect(address):
    with socket.socket() as s:
        s.settimeout(3); s.connect(address)
print(json.dumps({
    "user": [os.getuid(), os.getgid(), os.getgroups()],
    "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"],
    "root": tried(lambda: open("/x", "w").close()),
    "usr": tried(lambda: open("/usr/x", "w").close()),
    "tmp": tried(lambda: open("/tmp/x", "w").close()),
    "out": tried(lambda: open("/splatbench/out/x", "w").close()),
    "home": os.environ["HOME"],
    "hosts_root": tried(lambda: os.listdir("/proc/1/root/root/.ssh")),
    "kernel": tried(lambda: open("/proc/sysrq-trigger", "w").write("h")),
    "shadow": tried(lambda: open("/etc/shadow").read()),
    "disks": [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "nvidia", "kvm", "mem"))],
    "interfaces": [name for _, name in socket.if_nameindex()],
    "local": tried(lambda: connect(("127.0.0.1", PORT))),
    "internet": tried(lambda: connect(("192.0.2.1", 80))),
    "dns": tried(lambda: socket.getaddrinfo("example.org", 80) and "resolved"),
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "cuda": [os.environ["CUDA_VISIBLE_DEVICES"], os.environ["NVIDIA_VISIBLE_DEVICES"]],
}))
"""
    with socket.create_server(("127.0.0.1", 0)) as server:  # what listens on this machine is not to be reached
        ended = run("python", "-c", code.replace("PORT", str(server.getsockname()[1])), mounts=(out,))
    assert ended.exit_code == 0, ended.log
    told = json.loads(ended.log)
    nobody = 65534 if os.getuid() == 0 else os.getuid()
    assert told["user"][0] == nobody and 0 not in told["user"][2]
    assert {int(mask, 16) for mask in told["capabilities"]} == {0} and told["no_new_privileges"] == "1"
    assert told["root"] == told["usr"] == "Read-only file system"
    assert told["tmp"] == told["out"] == "done" and told["home"] == "/tmp"
    for forbidden in ("hosts_root", "kernel", "shadow"):
        assert told[forbidden] in ("Permission denied", "No such file or directory", "Read-only file system"), told
    assert told["disks"] == [] and told["interfaces"] == ["lo"] and told["processes"] <= 3
    assert told["local"] == "Connection refused" and told["internet"] == "Network is unreachable"
    assert told["dns"] != "done" and "resol" in told["dns"].lower()
    assert told["cuda"] == ["", "void"]
    assert (out.source / "x").stat().st_uid == nobody
    assert not owned_by(client, os.getpid())


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be somebody else")
def test_an_ordinary_users_task_is_that_user(run, out, monkeypatch):
    os.chown(out.source, 12345, 54321)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr(os, "getgid", lambda: 54321)
    ended = run("sh", "-c", "touch /splatbench/out/x && touch /tmp/x && id -u && id -g", mounts=(out,))
    assert ended.log.split() == ["12345", "54321"]
    assert ((out.source / "x").stat().st_uid, (out.source / "x").stat().st_gid) == (12345, 54321)


def test_time_limit(run):
    ended = run("sleep", "600", limits=Limits(seconds=0.5))
    assert (ended.ending, ended.exit_code) == ("timeout", None) and ended.seconds < 30


def test_memory_limit(run):
    ended = run("python", "-c", "x = bytearray(400 << 20)", limits=Limits(memory_mib=100))
    assert (ended.ending, ended.exit_code) == ("memory", None)


def test_files_in_memory_are_memory(run):
    for folder in ("/tmp", "/dev/shm"):
        code = f"head -c 400000000 /dev/zero > {folder}/x"
        ended = run("sh", "-c", code, limits=Limits(memory_mib=100, output_mib=10_000))
        assert ended.ending == "memory" or (ended.exit_code != 0 and "No space left" in ended.log)


def test_peak_memory_is_that_of_its_processes(run):
    ended = run("python", "-c", "import time; x = bytearray(200 << 20); time.sleep(1)")
    assert ended.ending == "exited" and 200 < ended.peak_memory_mib < 260


def test_pids_limit(run):
    code = "import os\ntry:\n for _ in range(99): os.fork() or os.pause()\nexcept OSError as e: print(e.strerror)"
    ended = run("python", "-c", code.replace("os.pause()", "__import__('signal').pause()"), limits=Limits(pids=20))
    assert ended.log == "Resource temporarily unavailable" and ended.seconds < 60


def test_a_fork_bomb_ends(run):
    ended = run("sh", "-c", "f() { f | f & }; f; sleep 600", limits=Limits(pids=50, seconds=2))
    assert ended.ending in ("timeout", "exited") and ended.seconds < 60


def test_output_limits(run, out):
    ended = run(
        "sh", "-c", "head -c 900000000 /dev/zero > /splatbench/out/x", mounts=(out,), limits=Limits(output_mib=5)
    )
    assert ended.ending == "output" and (out.source / "x").stat().st_size == (5 << 20) + 1
    (out.source / "x").unlink()
    many = "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > /splatbench/out/$i; done"
    ended = run("sh", "-c", many, mounts=(out,), limits=Limits(output_mib=20, seconds=60))
    assert ended.ending == "output"
    assert sum(file.stat().st_size for file in out.source.iterdir()) < 1 << 30


def test_a_flood_of_output(run, client):
    ended = run("python", "-c", "for i in range(300_000): print('x' * 100)\nprint('\\x1b[1mend\\x00')")
    assert ended.ending == "exited" and len(ended.log) <= 8000 and ended.log.endswith("\nend")


def test_cores_and_threads(run):
    code = "import os; print(os.environ['OMP_NUM_THREADS'], len(os.sched_getaffinity(0)))"
    assert run("python", "-c", code, limits=Limits(threads=1)).log == f"1 {len(os.sched_getaffinity(0))}"
    assert run("python", "-c", code).log.split()[0] == str(len(os.sched_getaffinity(0)))


def test_watch_ends_it(run, out):
    code = "touch /splatbench/out/mark; sleep 600"
    ended = run("sh", "-c", code, mounts=(out,), watch=lambda: (out.source / "mark").exists())
    assert ended.ending == "stopped" and ended.seconds < 30


def test_an_exit_code_and_a_missing_program(run):
    assert run("sh", "-c", "exit 7").exit_code == 7
    ended = run("/no/such/program")
    assert ended.ending == "exited" and ended.exit_code == 127


def test_two_at_once(run):
    with ThreadPoolExecutor() as pool:
        slow, fast = pool.submit(run, "sh", "-c", "sleep 1; echo slow"), pool.submit(run, "echo", "fast")
        assert (slow.result().log, fast.result().log) == ("slow", "fast")


def test_the_image_is_the_one_that_was_named(base_image, client):
    engine = get_engine("docker")
    digest = client.images.get(base_image).id
    assert engine.digest(base_image) == digest
    other = "sha256:" + "0" * 64
    assert engine.digest(f"{base_image}@{other}") == other, "answered as it is written"
    name = base_image.partition(":")[0]
    for reference in (digest, f"{base_image}@{digest}", f"{name}@{digest}"):
        assert engine.run(ContainerTask(reference, ("true",), system_mounts())).exit_code == 0, reference
    with pytest.raises(ImageMissing, match=f"is {digest}, not {other}"):
        engine.run(ContainerTask(f"{base_image}@{other}", ("true",), system_mounts()))


@pytest.mark.parametrize("reference", ["nobody/nothing:1", "nobody/nothing@sha256:" + "0" * 64])
def test_a_missing_image_is_not_fetched(docker_host, reference):
    with pytest.raises(ImageMissing, match=f"docker pull {reference}"):
        get_engine("docker").run(ContainerTask(reference))


@pytest.mark.parametrize("reference", ["UPPER/case", "a b", "../../etc", ""])
def test_what_is_no_name(docker_host, reference):
    with pytest.raises(ImageMissing):
        get_engine("docker").digest(reference)


def test_volumes_of_an_image_are_in_memory(base_image, client):
    """A volume that the image declares would be disk without a limit."""
    built = client.containers.create(base_image, "true")
    image = built.commit("splatbench-test/volume", changes="VOLUME /var")
    built.remove()
    before = {each.id for each in client.volumes.list()}
    try:
        command = ("sh", "-c", "touch /var/x && grep ' /var ' /proc/mounts")
        ended = get_engine("docker").run(ContainerTask("splatbench-test/volume", command, system_mounts()))
        assert ended.exit_code == 0 and ended.log.startswith("tmpfs /var tmpfs rw")
    finally:
        client.images.remove(image.id, force=True)
    assert {each.id for each in client.volumes.list()} == before


def test_a_gpu_that_is_not_here(run):
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    with pytest.raises(GpuMissing, match="NVIDIA Container Toolkit"):
        run("true", gpu="0")


def test_a_folder_that_is_not_here(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        run("true", mounts=(Mount(tmp_path / "missing", "/splatbench/in"),))


def test_a_dead_daemon(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    for action in ("check", "run"):
        with pytest.raises(EngineMissing, match="no docker daemon answers.*DOCKER_HOST"):
            getattr(get_engine("docker"), action)(*([ContainerTask("x")] if action == "run" else []))


def test_an_error_in_the_harness_removes_the_container(run, client):
    def watch() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("sleep", "600", watch=watch)
    assert not owned_by(client, os.getpid())


def test_a_container_that_is_removed_from_outside(run, client):
    def remove() -> None:
        wait_until(lambda: any(each.status == "running" for each in owned_by(client, os.getpid())))
        owned_by(client, os.getpid())[0].remove(force=True)

    thread = threading.Thread(target=remove)
    thread.start()
    with pytest.raises(EngineMissing, match="somebody else removed the container"):
        run("sleep", "600", limits=Limits(seconds=60))
    thread.join()


HARNESS = """
import sys
sys.path.insert(0, {tests!r})
from docker_host import system_mounts
from splatbench.containers.engines import get_engine
from splatbench.containers.task import ContainerTask
get_engine("docker").run(ContainerTask({image!r}, ("sleep", "600"), system_mounts()))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_harness(base_image, client, number):
    code = HARNESS.format(tests=str(Path(__file__).parent), image=base_image)
    harness = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: any(each.status == "running" for each in owned_by(client, harness.pid)))
    os.killpg(harness.pid, number)  # the whole group, as a terminal or a scheduler does
    harness.wait()
    wait_until(lambda: not owned_by(client, harness.pid), 20)


def test_stale_containers_go_and_no_others(base_image, client, run):
    def left_by(owner: OwnedBy | None, label: str = OWNER_LABEL) -> str:
        value = owner.label() if owner else "nonsense"
        return client.containers.create(base_image, "true", labels={label: value}, network_mode="none").id

    now = myself()
    dead = subprocess.Popen(["true"])
    dead.wait()
    stale = {
        "dead process": left_by(OwnedBy(now.host, now.boot, now.namespace, dead.pid, now.begun)),
        "number used again": left_by(OwnedBy(now.host, now.boot, now.namespace, now.pid, now.begun - 1000)),
        "before a restart": left_by(OwnedBy(now.host, "another", now.namespace, now.pid, now.begun)),
    }
    kept = {
        "living process": left_by(now),
        "another machine": left_by(OwnedBy("elsewhere", now.boot, now.namespace, dead.pid, 0.0)),
        "another namespace": left_by(OwnedBy(now.host, now.boot, "pid:[1]", dead.pid, 0.0)),
        "not ours": left_by(None, "com.example.owner"),
        "an unreadable label": left_by(None),
    }
    try:
        run("true")
        left = {each.id for each in client.containers.list(all=True, ignore_removed=True)}
        assert not left & set(stale.values())
        assert set(kept.values()) <= left
    finally:
        for container in kept.values():
            client.api.remove_container(container, force=True)

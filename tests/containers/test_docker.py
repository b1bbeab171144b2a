"""The docker engine without a daemon: what containers are not given, references, refusals, owners."""

from __future__ import annotations

import os
import socket

import pytest
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from splatbench.containers import docker as engine
from splatbench.containers.docker_options import container_options
from splatbench.containers.engines import cores, get_engine, give_folders, log_tail
from splatbench.containers.owner import OwnedBy, myself
from splatbench.containers.references import digest_in
from splatbench.containers.task import ContainerTask, EngineMissing, GpuMissing, ImageMissing, Limits, Mount

#: What `docker info` says of a daemon that can do everything.
DAEMON = {"NCPU": 512, "MemoryLimit": True, "PidsLimit": True, "CpuCfsQuota": True, "SecurityOptions": ["name=seccomp"]}
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture(autouse=True)
def nobody_owns_it(monkeypatch):
    """Folders are not given away: these tests also run as root."""
    monkeypatch.setattr(os, "chown", lambda *_: None)


def options(task: ContainerTask, image: dict | None = None, **daemon) -> dict:
    return container_options(task, image or {}, DAEMON | daemon)


def test_everything_is_taken_away():
    given = options(ContainerTask("x"))
    assert given["network_mode"] == "none" and given["read_only"] is True and given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges"] and given["ipc_mode"] == "private" and given["init"] is True
    assert not {"privileged", "devices", "device_requests", "cap_add", "pid_mode", "volumes"} & set(given)
    assert given["healthcheck"] == {"test": ["NONE"]} and given["use_config_proxy"] is False
    assert given["command"] is None, "the image's own"


def test_limits_are_the_kernels():
    given = options(ContainerTask("x", limits=Limits(memory_mib=100, pids=7, output_mib=3, threads=1)))
    assert given["mem_limit"] == given["memswap_limit"] == 100 << 20, "no swap"
    assert given["pids_limit"] == 7 and given["nano_cpus"] == 10**9
    assert {limit.name: limit.hard for limit in given["ulimits"]} == {"core": 0, "nofile": 4096, "fsize": (3 << 20) + 1}
    assert given["cpuset_cpus"] == ",".join(map(str, cores()))
    assert given["log_config"].config == {"max-size": "1m", "max-file": "2"}
    assert "size=100m" in given["tmpfs"]["/tmp"] and given["environment"]["OMP_NUM_THREADS"] == "1"


def test_cores_are_at_most_those_of_the_daemon(monkeypatch):
    monkeypatch.setattr("splatbench.containers.docker_options.cores", lambda: [1, 2, 9])
    monkeypatch.setattr("splatbench.containers.engines.cores", lambda: [1, 2, 9])
    given = options(ContainerTask("x", limits=Limits(threads=64)), NCPU=4)
    assert (given["cpuset_cpus"], given["nano_cpus"]) == ("1,2", 3 * 10**9)
    given = options(ContainerTask("x"), NCPU=1)
    assert (given["cpuset_cpus"], given["nano_cpus"]) == ("0", 10**9)


@pytest.mark.parametrize(
    ("caller", "security", "user"),
    [
        ((0, 0), [], "65534:65534"),
        ((1000, 100), [], "1000:100"),
        ((1000, 100), ["name=rootless"], "0:0"),  # the caller, outside
        ((0, 0), ["name=userns"], "65534:65534"),
    ],
)
def test_a_task_is_never_root(monkeypatch, caller, security, user):
    monkeypatch.setattr(os, "getuid", lambda: caller[0])
    monkeypatch.setattr(os, "getgid", lambda: caller[1])
    given = options(ContainerTask("x"), SecurityOptions=security)
    assert given["user"] == user
    assert given.get("userns_mode") == ("host" if security == ["name=userns"] else None)
    uid, gid = user.split(":")
    assert f"uid={uid},gid={gid}" in given["tmpfs"]["/tmp"]


def test_mounts_are_binds_that_must_exist(tmp_path):
    task = ContainerTask("x", mounts=(Mount(tmp_path, "/splatbench/in"), Mount(tmp_path, "/o", read_only=False)))
    tmp_path.chmod(0o755)
    first, second = options(task)["mounts"]
    assert (first["Type"], first["Source"], first["Target"], first["ReadOnly"]) == (
        "bind",
        str(tmp_path),
        "/splatbench/in",
        True,
    )
    assert not second.get("ReadOnly")
    with pytest.raises(FileNotFoundError, match="what is not there"):
        options(ContainerTask("x", mounts=(Mount(tmp_path / "no", "/in"),)))


def test_folders_are_given_to_the_tasks_user(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *arguments: given.append(arguments))
    for name in ("in", "out"):
        (tmp_path / name).mkdir(mode=0o755)
    task = ContainerTask("x", mounts=(Mount(tmp_path / "in", "/in"), Mount(tmp_path / "out", "/out", read_only=False)))
    give_folders(task, (65534, 65534))
    assert given == [(tmp_path / "out", 65534, 65534)]
    (tmp_path / "in").chmod(0o700)
    with pytest.raises(PermissionError, match="others may not read this"):
        give_folders(task, (65534, 65534))
    give_folders(task, (0, 0))  # rootless: root inside is the caller
    assert len(given) == 1


def test_volumes_of_the_image_are_in_memory(tmp_path):
    tmp_path.chmod(0o755)
    task = ContainerTask("x", mounts=(Mount(tmp_path, "/mine"),))
    given = options(task, {"Config": {"Volumes": {"/data/": {}, "/mine": {}}}})
    assert sorted(given["tmpfs"]) == ["/data", "/tmp"]


def test_exactly_one_gpu_or_none():
    given = options(ContainerTask("x", gpu="GPU-7"))
    (request,) = given["device_requests"]
    assert request.device_ids == ["GPU-7"] and request.capabilities == [["gpu"]]
    assert given["environment"]["CUDA_VISIBLE_DEVICES"] == "0", "the only one inside"
    without = options(ContainerTask("x", environment={"NVIDIA_VISIBLE_DEVICES": "all"}))["environment"]
    assert (without["NVIDIA_VISIBLE_DEVICES"], without["CUDA_VISIBLE_DEVICES"]) == ("void", "")


@pytest.mark.parametrize(
    ("key", "what"), [("MemoryLimit", "memory"), ("PidsLimit", "processes"), ("CpuCfsQuota", "cores")]
)
def test_a_daemon_that_keeps_no_limit_is_refused(key, what):
    with pytest.raises(EngineMissing, match=f"cannot limit {what}"):
        options(ContainerTask("x"), **{key: False})


@pytest.mark.parametrize(
    ("reference", "digest"),
    [
        (f"a/b@{DIGEST}", DIGEST),
        (f"host:5000/a/b:tag@{DIGEST}", DIGEST),
        (DIGEST, DIGEST),
        ("a/b:1", ""),
        (f"a{DIGEST}", ""),
        (f"a@{DIGEST[:-1]}", ""),
        (f"a@{DIGEST}0", ""),
        ("a@sha256:" + "A" * 64, ""),
    ],
)
def test_digests_in_references(reference, digest):
    assert digest_in(reference) == digest


class Images:
    """Those of a daemon: what each reference stands for."""

    def __init__(self, known: dict[str, tuple[str, list[str]]]) -> None:
        self.known = known

    def get(self, reference: str):
        if reference not in self.known:
            raise ImageNotFound("404", explanation=f"No such image: {reference}")
        number, digests = self.known[reference]
        return type("Image", (), {"id": number, "attrs": {"RepoDigests": digests}})()


def found(reference: str, **known) -> str:
    client = type("Client", (), {"images": Images({name.replace("__", "/"): each for name, each in known.items()})})()
    return engine.find_image(client, reference).id


def test_the_image_is_the_one_that_was_named():
    assert found("a", a=(DIGEST, [])) == DIGEST
    assert found(f"a@{DIGEST}", **{DIGEST: (DIGEST, [])}) == DIGEST, "by its number"
    pulled = {f"a@{OTHER}": (DIGEST, [f"a@{OTHER}"])}
    assert found(f"a@{OTHER}", **pulled) == DIGEST, "by what it was pulled by"
    with pytest.raises(ImageMissing, match=f"a here is {DIGEST}, not {OTHER}: `docker pull a@{OTHER}`"):
        found(f"a@{OTHER}", a=(DIGEST, []))
    lying = {f"a@{OTHER}": (DIGEST, [f"a@{DIGEST}"]), "a": (DIGEST, [])}
    with pytest.raises(ImageMissing, match="not " + OTHER):
        found(f"a@{OTHER}", **lying)
    with pytest.raises(ImageMissing, match="`docker pull nobody/x`"):
        found("nobody/x")
    with pytest.raises(ImageMissing, match=f"no image of this machine is {OTHER}"):
        found(OTHER)


@pytest.mark.parametrize(
    ("said", "kind", "advice"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', GpuMissing, "nvidia-ctk runtime configure"),
        ("nvidia-container-cli: device error: GPU-7: unknown device", GpuMissing, "nvidia-ctk runtime configure"),
        ("invalid mount config: bind source path does not exist: /x", EngineMissing, "use one that runs here"),
        ("No command specified", ImageMissing, "no such program"),
        ('exec: "nosuch": executable file not found in $PATH', ImageMissing, "no such program"),
        ("something else", EngineMissing, "docker refused the container: something else"),
    ],
)
def test_refusals(said, kind, advice):
    refusal = engine.refused(APIError("400", explanation=said))
    assert type(refusal) is kind and advice in str(refusal)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (DockerException("Error: ('Connection aborted.', FileNotFoundError(2, 'No such file'))"), "install and start"),
        (DockerException("Error: ('Connection aborted.', ConnectionRefusedError(111))"), "install and start"),
        (DockerException("Error: ('Connection aborted.', PermissionError(13, 'Permission denied'))"), "group `docker`"),
        (DockerException("TLS configuration is invalid"), "TLS configuration is invalid.*docker version"),
    ],
)
def test_a_daemon_that_cannot_be_used(monkeypatch, error, advice):
    def from_env(**_):
        raise error

    monkeypatch.setattr("docker.from_env", from_env)
    with pytest.raises(EngineMissing, match=advice):
        get_engine("docker").check()


class Daemon:
    """A connection to a daemon that answers one thing."""

    def __init__(self, version: str = "1.41", error: Exception | None = None, **told) -> None:
        self.told = DAEMON | told
        self.api = type("Api", (), {"api_version": version})()
        self.error = error
        self.closed = False

    def version(self):
        if self.error:
            raise self.error
        return {"Version": "28.0"}

    def info(self):
        return self.told

    def close(self) -> None:
        self.closed = True


def test_a_daemon_that_is_too_old(monkeypatch):
    old = Daemon("1.39")
    monkeypatch.setattr("docker.from_env", lambda **_: old)
    with pytest.raises(EngineMissing, match=r"too old \(API 1.39\)"):
        get_engine("docker").check()
    assert old.closed


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ConnectionError("reset"), None),
        (NotFound("404", explanation="No such container: x"), "somebody else removed the container"),
        (APIError("500", explanation="no space left on device"), "refuses: no space left on device"),
    ],
)
def test_a_daemon_that_fails_meanwhile(monkeypatch, error, advice):
    failing = Daemon(error=error)
    monkeypatch.setattr("docker.from_env", lambda **_: failing)
    with pytest.raises(EngineMissing if advice else ConnectionError, match=advice):
        get_engine("docker").check()
    assert failing.closed


def test_a_version_is_told(monkeypatch):
    monkeypatch.setattr("docker.from_env", lambda **_: Daemon("1.51"))
    assert get_engine("docker").check() == "docker 28.0 (API 1.51)"
    monkeypatch.setattr("docker.from_env", lambda **_: Daemon("1.51", MemoryLimit=False))
    with pytest.raises(EngineMissing, match="cannot limit memory"):
        get_engine("docker").check()


def test_a_written_digest_needs_no_daemon(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert get_engine("docker").digest(f"a@{DIGEST}") == DIGEST
    with pytest.raises(EngineMissing):
        get_engine("docker").digest("a")


def test_owners():
    now = myself()
    assert OwnedBy.parse(now.label()) == now and not now.is_gone(running=True)
    assert now.host == socket.gethostname() and now.pid == os.getpid()
    replaced = OwnedBy(now.host, now.boot, now.namespace, now.pid, now.begun - 100)
    assert replaced.is_gone(running=True), "another process with that number"
    assert not OwnedBy("elsewhere", now.boot, now.namespace, 2**30, 0).is_gone(running=False)
    assert not OwnedBy(now.host, now.boot, "pid:[1]", 2**30, 0).is_gone(running=False)
    assert OwnedBy(now.host, now.boot, now.namespace, 2**22 + 5, 0).is_gone(running=True)
    before = OwnedBy(now.host, "before", now.namespace, now.pid, now.begun)
    assert before.is_gone(running=False) and not before.is_gone(running=True)


@pytest.mark.parametrize(
    "label", ["", "null", "[]", "{}", '{"host": 1}', myself().label().replace('"pid": ', '"pid": "')]
)
def test_labels_of_others(label):
    assert OwnedBy.parse(label) is None


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (b"plain\n", "plain"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07text", "red text"),
        (b"a\tb\r\nc\rd", "a b\nc\nd"),
        ("\u202etxt.exe\u2069\u0085".encode(), "txt.exe"),
        (b"nul\x00 bell\x07 del\x7f c1\xc2\x9b31m", "nul bell del c131m"),
        (b"broken \xff utf-8", "broken \ufffd utf-8"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),  # pages escape it
    ],
)
def test_logs_are_plain_text(log, text):
    assert log_tail(log) == text


def test_logs_are_short():
    assert log_tail(b"x" * 10**6 + b"end") == "x" * 7997 + "end"
    assert len(log_tail("ü".encode() * 10**5).encode()) <= 8000


def test_no_such_engine():
    with pytest.raises(ValueError, match="no engine 'podman'"):
        get_engine("podman")

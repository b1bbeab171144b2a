"""A docker daemon for the tests, and an image that needs no registry: this machine's own Python, mounted."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import DockerException

from splatbench.containers.task import Mount

ROOT = Path(__file__).resolve().parents[2]
#: Empty but for the places that `system_mounts` fills.
BASE_IMAGE = "splatbench-test/base:1"
_START_SECONDS = 60


def daemon_answers() -> bool:
    """Whether DOCKER_HOST, or this machine's own daemon, can be used."""
    with contextlib.suppress(DockerException), contextlib.closing(docker.from_env(timeout=10)) as client:
        return bool(client.ping())
    return False


@contextlib.contextmanager
def private_daemon() -> Iterator[str]:
    """Starts a daemon of its own in a temporary folder and yields its address; needs root and `dockerd`.

    Its containers have no network but their own loopback, and nothing of the machine's firewall is touched.
    """
    # Not below pytest's folder: a socket's path is at most 107 characters long.
    folder = Path(tempfile.mkdtemp(prefix="splatbench-docker-"))
    address = f"unix://{folder}/docker.sock"
    command = [
        *("dockerd", "--data-root", folder / "root", "--exec-root", folder / "exec", "--pidfile", folder / "pid"),
        *("-H", address, "--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false"),
        *("--ip-masq=false", "--storage-driver", "overlay2", "--cgroup-parent=/splatbench-test"),
    ]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(address, process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(60)
        # What the daemon leaves mounted when it was slow to stop would make the folder undeletable.
        left = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if f" {folder}/" in line]
        for place in reversed(left):
            subprocess.run(["umount", "-l", place], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(DockerException):
            docker.DockerClient(base_url=address, timeout=5).ping()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"dockerd does not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def import_base_image() -> str:
    """Makes `BASE_IMAGE` where it is missing (0.1 s), and returns its name."""
    with contextlib.closing(docker.from_env()) as client:
        if not client.images.list(name=BASE_IMAGE):
            path = f"ENV PATH={Path(sys.executable).parent}:/usr/bin:/bin"
            client.api.import_image_from_data(_skeleton(), *BASE_IMAGE.split(":"), changes=[path])
    return BASE_IMAGE


def _skeleton() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        # /sbin stays a folder of its own: the daemon puts its init there.
        for name in ("usr", "sbin", "etc", "proc", "sys", "dev", "tmp", "var"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name in ("bin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(entry)
    return buffer.getvalue()


def system_mounts() -> tuple[Mount, ...]:
    """What a task in `BASE_IMAGE` needs: /usr, this interpreter with its packages, and the project, all read-only."""
    folders = [Path("/usr")]
    for folder in (ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()):
        if not any(folder.is_relative_to(known) for known in folders):
            folders.append(folder)
    return tuple(Mount(folder, str(folder)) for folder in folders)


def can_start() -> bool:
    """Whether a private daemon can be started here."""
    return os.getuid() == 0 and shutil.which("dockerd") is not None

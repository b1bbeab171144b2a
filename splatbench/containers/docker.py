"""Runs images with docker (or what speaks its API), through the docker SDK.

A container gets nothing but what its task names: no network, no capability, no privilege to gain, no device, its own
files and its mounts read-only, a /tmp in memory. The kernel's control groups hold memory, processes and cores.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import docker
import psutil
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound, NullResource
from docker.models.containers import Container
from docker.models.images import Image

from splatbench.containers.docker_options import container_options, must_keep_limits
from splatbench.containers.engines import log_tail
from splatbench.containers.owner import OWNER_LABEL, OwnedBy
from splatbench.containers.reaper import Reaper
from splatbench.containers.references import digest_in
from splatbench.containers.task import ContainerTask, Ended, EngineMissing, EngineName, GpuMissing, ImageMissing
from splatbench.containers.watching import family, follow

#: Device requests came with this version of the API (docker 19.03).
_API = (1, 40)
#: Seconds that the daemon has for one answer, and a killed container to be gone.
_ANSWER_SECONDS = 60
#: Seconds beyond its time limit after which a container is removed whatever its harness does.
_GRACE_SECONDS = 60.0
#: How long an end is waited for: 23 days, since sockets count milliseconds in 31 bits.
_FOR_EVER = 2_000_000
_LOG_LINES = 400


class DockerEngine:
    """The docker daemon that DOCKER_HOST names, or the machine's own."""

    name: EngineName = "docker"

    def check(self) -> str:
        with daemon() as client:
            version = client.version()
            must_keep_limits(client.info())
            return f"docker {version.get('Version', '?')} (API {client.api.api_version})"

    def digest(self, image: str) -> str:
        if written := digest_in(image):
            return written
        with daemon() as client:
            return str(find_image(client, image).id)

    def run(self, task: ContainerTask) -> Ended:
        with daemon() as client:
            image = find_image(client, task.image)
            remove_stale(client)
            return _run(client, image, task)


class daemon:
    """A connection, in which the daemon's silence and its refusals become EngineMissing.

    Args:
        seconds: that the daemon has for one answer.
    """

    def __init__(self, seconds: int = _ANSWER_SECONDS) -> None:
        self._seconds = seconds

    def __enter__(self) -> docker.DockerClient:
        try:
            self._client = docker.from_env(timeout=self._seconds)
            version = self._client.api.api_version
            if tuple(int(part) for part in version.split(".")) < _API:
                self._client.close()
                raise EngineMissing(f"the docker daemon is too old (API {version}): 19.03 (API 1.40) is needed")
        except (DockerException, requests.RequestException, ValueError) as error:
            raise EngineMissing(_unreachable(error)) from error
        return self._client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()
        if isinstance(error, NotFound) and not isinstance(error, ImageNotFound):
            raise EngineMissing(f"somebody else removed the container while it ran ({_said(error)})") from error
        if isinstance(error, APIError):
            raise EngineMissing(f"the docker daemon refuses: {_said(error)}") from error
        if isinstance(error, requests.RequestException):
            raise EngineMissing(f"the docker daemon stopped answering: {error}") from error


def _unreachable(error: Exception) -> str:
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return (
            "the docker daemon is there, but you may not use it: become a member of the group `docker` (and log in "
            "again), or use rootless docker and set DOCKER_HOST to its socket"
        )
    if "FileNotFoundError" in text or "Connection refused" in text or "ConnectionRefused" in text:
        return (
            "no docker daemon answers: install and start docker (`systemctl start docker`), or set DOCKER_HOST to the "
            "socket of yours (`docker context inspect` shows it)"
        )
    return f"the docker daemon cannot be used: {text}; `docker version` should tell more"


def find_image(client: docker.DockerClient, reference: str) -> Image:
    """The image that a reference names; with a digest, that very one.

    A digest is an image's ID here or that of a manifest which it was pulled by.

    Raises:
        ImageMissing
    """
    digest = digest_in(reference)
    for candidate in (reference, digest) if digest else (reference,):
        found = _get(client, candidate)
        if found is not None and (not digest or digest in _digests(found)):
            return found
    name = reference.rpartition("@")[0] if digest else reference
    if not name:
        raise ImageMissing(f"no image of this machine is {digest}")
    advice = f"`docker pull {reference}` gets it"
    if digest and (here := _get(client, name)) is not None:
        raise ImageMissing(f"the image {name} here is {here.id}, not {digest}: {advice}")
    raise ImageMissing(f"the image {reference} is not on this machine: {advice}")


def _get(client: docker.DockerClient, reference: str) -> Image | None:
    try:
        return client.images.get(reference)
    except ImageNotFound:
        return None
    except (APIError, NullResource) as error:
        raise ImageMissing(f"{reference!r} is no name of an image: {_said(error)}") from error


def _digests(image: Image) -> set[str]:
    return {str(image.id), *(str(each).rpartition("@")[2] for each in image.attrs.get("RepoDigests") or ())}


def _run(client: docker.DockerClient, image: Image, task: ContainerTask) -> Ended:
    options = container_options(task, image.attrs, client.info())
    try:
        container = client.containers.create(str(image.id), **options)
    except APIError as error:
        raise refused(error) from error
    reaper = Reaper(str(container.id), task.limits.seconds + _GRACE_SECONDS)
    try:
        return _to_the_end(client, container, task)
    finally:
        if remove_container(str(container.id)):
            reaper.dismiss()
        else:
            reaper.release()


def _to_the_end(client: docker.DockerClient, container: Container, task: ContainerTask) -> Ended:
    begun = time.perf_counter()
    try:
        container.start()
    except APIError as error:
        raise refused(error) from error
    end = _End(str(container.id))
    ending, peak = follow(task, end.wait, _Processes(container), enforce=False)
    if ending != "exited":
        with contextlib.suppress(APIError):  # it may have ended in this moment
            container.kill()
        if not end.wait(_ANSWER_SECONDS):
            raise EngineMissing(f"the docker daemon did not end the container {container.short_id}")
    seconds = time.perf_counter() - begun
    code = end.exit_code()
    if ending == "exited" and code != 0 and _killed_for_memory(container, code):
        ending = "memory"
    log = container.logs(tail=_LOG_LINES)
    return Ended(ending, code if ending == "exited" else None, log_tail(log), seconds, peak)


class _End:
    """Waits for a container's end in a thread with a connection of its own: the daemon answers when it has ended."""

    def __init__(self, container: str) -> None:
        self._container = container
        self._ended = threading.Event()
        self._answer: dict[str, Any] = {}
        self._error: Exception | None = None
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        try:
            with contextlib.closing(docker.from_env(timeout=_ANSWER_SECONDS)) as client:
                self._answer = dict(client.api.wait(self._container, timeout=_FOR_EVER))
        except Exception as error:
            self._error = error
        finally:
            self._ended.set()

    def wait(self, seconds: float) -> bool:
        return self._ended.wait(seconds)

    def exit_code(self) -> int:
        if self._error is not None:
            raise EngineMissing(f"the docker daemon stopped answering while a container ran: {self._error}")
        return int(self._answer["StatusCode"])


class _Processes:
    """A container's processes, where this machine shows them: not those of a daemon in a virtual machine."""

    def __init__(self, container: Container) -> None:
        self._root: psutil.Process | None = None
        with contextlib.suppress(psutil.Error, OSError, APIError, NotFound, ValueError):
            container.reload()
            pid = int(container.attrs["State"]["Pid"])
            if str(container.id) in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8"):
                self._root = psutil.Process(pid)

    def __call__(self) -> list[psutil.Process]:
        return family(self._root) if self._root else []


def _killed_for_memory(container: Container, code: int) -> bool:
    """The daemon hears of such a kill apart from the exit, now and then a moment later."""
    for _ in range(10 if code == 137 else 1):
        container.reload()
        if container.attrs["State"]["OOMKilled"]:
            return True
        if code == 137:
            time.sleep(0.05)
    return False


def refused(error: APIError) -> Exception:
    """Why the daemon does not make or start a container, for the user: GpuMissing, ImageMissing or EngineMissing."""
    said = _said(error)
    if any(word in said for word in ("device driver", "nvidia", "CDI", "unknown device")):
        return GpuMissing(
            f"docker cannot give a container the GPU ({said}): install the NVIDIA Container Toolkit and run "
            "`nvidia-ctk runtime configure --runtime=docker`, then restart docker"
        )
    if "bind source path does not exist" in said:
        return EngineMissing(
            f"the docker daemon does not see the folders of this machine ({said}): use one that runs here"
        )
    if "executable file not found" in said or "no command specified" in said.lower():
        return ImageMissing(f"the image has no such program: {said}")
    return EngineMissing(f"docker refused the container: {said}")


def _said(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)


def remove_container(container: str) -> bool:
    """Ends and removes it with its volumes; False if the daemon does not answer or refuses."""
    try:
        with contextlib.closing(docker.from_env(timeout=_ANSWER_SECONDS)) as client:
            client.api.remove_container(container, force=True, v=True)
    except NotFound:
        return True
    except APIError as error:
        return error.status_code == 409 and "already in progress" in _said(error)
    except (DockerException, requests.RequestException):
        return False
    return True


def remove_stale(client: docker.DockerClient) -> list[str]:
    """Removes containers whose harness ended without doing it; never those of another machine or a living process."""
    removed = []
    for container in client.containers.list(all=True, filters={"label": OWNER_LABEL}, sparse=True):
        owner = OwnedBy.parse(container.attrs.get("Labels", {}).get(OWNER_LABEL, ""))
        if owner and owner.is_gone(container.attrs.get("State") == "running") and remove_container(str(container.id)):
            removed.append(str(container.id))
    return removed

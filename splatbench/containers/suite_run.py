"""Runs `splatbench` itself in one of the project's images: same folders, same user, same cores, no network."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import docker
from docker.errors import APIError
from docker.types import DeviceRequest, LogConfig
from docker.types import Mount as DockerMount

from splatbench.containers.apptainer import ApptainerEngine, find_file, find_program, mount_option
from splatbench.containers.docker import daemon, find_image, refused, remove_container
from splatbench.containers.docker_options import gpu_environment
from splatbench.containers.engines import cores
from splatbench.containers.identity import DIGEST_VARIABLE, NAME_VARIABLE
from splatbench.containers.owner import OWNER_LABEL, myself
from splatbench.containers.reaper import Reaper
from splatbench.containers.task import ImageMissing, Mount

#: Lists of folders, separated like PATH: they are mounted read-only, the variables are passed on.
FOLDER_VARIABLES = ("SPLATBENCH_DATA", "SPLATBENCH_WEIGHTS", "SPLATBENCH_METHODS", "SPLATBENCH_DATASETS")
CACHE_VARIABLE = "SPLATBENCH_CACHE"
#: What else of the environment reaches the inside.
_PASSED = ("SPLATBENCH_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_WAIT_POLICY", "COLUMNS", "TERM")
#: Path of `splatbench` in our images: apptainer's shells may set another PATH.
COMMAND = "/opt/splatbench/venv/bin/splatbench"
_PROCESSES = 4096
_TEN_YEARS = 3.2e8


@dataclass(frozen=True)
class SuiteRun:
    """One command of `splatbench` in an image.

    Attributes:
        image: reference of the image; for apptainer the path of a .sif file.
        arguments: of `splatbench`.
        folder: the working folder, writable inside under the same path.
        cache: the cache folder (compiled kernels, downloads), writable, too.
        read_only: more files and folders, under their own paths.
        mounts: more of them under other paths.
        gpu: devices as CUDA names them: with docker one that is leased; with apptainer those that the inside may lease,
            separated by commas. None: no device at all.
        network: "none", "default" (the engine's own), "host" or the name of a network.
    """

    image: str
    arguments: tuple[str, ...]
    folder: Path
    cache: Path
    read_only: tuple[Path, ...] = ()
    mounts: tuple[Mount, ...] = ()
    gpu: str | None = None
    network: str = "none"


def all_mounts(run: SuiteRun, environ: Mapping[str, str]) -> list[Mount]:
    """What the inside sees of this machine; a folder that is asked for twice is writable if one of them says so.

    Raises:
        ValueError: the working folder is the root of all files, or `mounts` would hide it or the cache.
        FileNotFoundError: a file or folder of `read_only` is missing.
    """
    if run.folder == Path("/"):
        raise ValueError("the working folder would cover the image's own files: start this in a folder of yours")
    for path in run.read_only:
        if not path.exists():
            raise FileNotFoundError(2, "a container cannot be given what is not there", str(path))
    for mount in run.mounts:
        if Path(mount.target) in (run.folder, run.cache) and mount.source != Path(mount.target):
            kind = "working" if Path(mount.target) == run.folder else "cache"
            raise ValueError(f"--mount {mount.source}:{mount.target}: the {kind} folder is there; take another target")
    named = [path for path in named_folders(environ) if path.is_dir()]
    mounts = {str(path): Mount(path, str(path)) for path in (*named, *run.read_only)}
    mounts |= {each.target: each for each in run.mounts}
    mounts |= {str(path): Mount(path, str(path), read_only=False) for path in (run.cache, run.folder)}
    return sorted(mounts.values(), key=lambda mount: mount.target)


def variables(run: SuiteRun, digest: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment inside, beside the image's own."""
    passed = {name: environ[name] for name in _PASSED if name in environ}
    folders = {name: os.pathsep.join(map(str, _folders(environ[name]))) for name in FOLDER_VARIABLES if name in environ}
    told = {NAME_VARIABLE: run.image, DIGEST_VARIABLE: digest, CACHE_VARIABLE: str(run.cache)}
    if "OMP_WAIT_POLICY" not in passed:
        told["OMP_WAIT_POLICY"] = "PASSIVE"
    return {"HOME": "/tmp", **passed, **folders, **told, **gpu_environment(run.gpu)}


def named_folders(environ: Mapping[str, str]) -> list[Path]:
    """Absolute paths of all folders that FOLDER_VARIABLES name, whether they are there or not."""
    return [path for name in FOLDER_VARIABLES for path in _folders(environ.get(name, ""))]


def _folders(value: str) -> Iterable[Path]:
    return [Path(part).expanduser().absolute() for part in value.split(os.pathsep) if part]


def run_in_docker(run: SuiteRun) -> int:
    """Runs the command to its end; what it prints appears here as it comes. Returns its exit code.

    Nothing of it is left running, however this call ends.

    Raises:
        EngineMissing, ImageMissing
        GpuMissing: docker cannot give a container the device.
        MemoryError: the kernel ended it for its memory.
    """
    run.cache.mkdir(parents=True, exist_ok=True)
    with daemon() as client:
        image = _ours(client, run.image)
        try:
            container = client.containers.create(image.id, **_options(run, str(image.id), client.info()))
        except APIError as error:
            raise refused(error) from error
        identity = str(container.id)
        reaper = Reaper(identity, _TEN_YEARS)
        try:
            output = client.api.attach(identity, stdout=True, stderr=True, stream=True, demux=True)
            try:
                container.start()
            except APIError as error:
                raise refused(error) from error
            _pass_on(output)
            code = int(client.api.wait(identity, timeout=None)["StatusCode"])
            container.reload()
            if container.attrs["State"]["OOMKilled"]:
                raise MemoryError(f"the kernel ended the container of {run.image}: out of memory")
            return code
        finally:
            reaper.dismiss() if remove_container(identity) else reaper.release()


def run_in_apptainer(run: SuiteRun) -> NoReturn:
    """Becomes apptainer, running the command: signals, output and exit code are its own, and nothing is left behind.

    GPUs are leased inside, where names and leases are this machine's.

    Raises:
        EngineMissing: no apptainer here.
        ImageMissing: no such file.
    """
    program, image = find_program(), find_file(run.image)
    run.cache.mkdir(parents=True, exist_ok=True)
    command = [program, "--silent", "exec", "--cleanenv", "--no-home", "--no-eval", "--no-privs"]
    command += ["--pwd", str(run.folder)]
    if run.network == "none":
        command += ["--net", "--network", "none"]
    if run.gpu is not None:
        command.append("--nv")
    for mount in all_mounts(run, os.environ):
        command += ["--mount", mount_option(mount)]
    inside = variables(run, ApptainerEngine().digest(run.image), os.environ)
    inside |= {"CUDA_VISIBLE_DEVICES": run.gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if run.gpu else {}
    del inside["HOME"]  # apptainer refuses it here
    environment = dict(os.environ) | {f"APPTAINERENV_{name}": value for name, value in inside.items()}
    os.execve(program, [*command, str(image), COMMAND, *run.arguments], environment)


def _ours(client: docker.DockerClient, reference: str) -> Any:
    try:
        return find_image(client, reference)
    except ImageMissing as error:
        if reference.startswith("splatbench-") and "@" not in reference:
            kind = reference.removeprefix("splatbench-").partition(":")[0]
            raise ImageMissing(f"there is no image {reference} yet: `splatbench containers build {kind}`") from error
        raise


def _options(run: SuiteRun, digest: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `containers.create` beside the image."""
    rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
    mounts = all_mounts(run, os.environ)
    options: dict[str, Any] = {
        "command": list(run.arguments),
        "working_dir": str(run.folder),
        "environment": variables(run, digest, os.environ),
        "labels": {OWNER_LABEL: myself().label()},
        "user": "0:0" if rootless else f"{os.getuid()}:{os.getgid()}",  # rootless: root is the caller, outside
        "init": True,
        "healthcheck": {"test": ["NONE"]},  # it would run beside what is measured
        "use_config_proxy": run.network != "none",
        "network_mode": run.network,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "log_config": LogConfig(type="none"),
        "mounts": [DockerMount(m.target, str(m.source), type="bind", read_only=m.read_only) for m in mounts],
        "tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},
        "shm_size": "1g",
        "pids_limit": _PROCESSES,
        "cpuset_cpus": ",".join(map(str, cores())),
    }
    if run.gpu is not None:
        options["device_requests"] = [DeviceRequest(device_ids=[run.gpu], capabilities=[["gpu"]])]
        # Leases inside are for this device alone: they must not wait for the one that is held outside.
        options["hostname"] = f"gpu-{run.gpu}".lower()[:63]
    return options


def _pass_on(output: Iterable[tuple[bytes | None, bytes | None]]) -> None:
    for stdout, stderr in output:
        for data, stream in ((stdout, sys.stdout), (stderr, sys.stderr)):
            if data:
                with contextlib.suppress(ValueError):  # a closed stream: the work goes on
                    stream.buffer.write(data)
                    stream.flush()

"""A task as options of the docker SDK: everything that a container is not given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from splatbench.containers.engines import cores, give_folders, task_user, thread_environment, threads_of
from splatbench.containers.owner import OWNER_LABEL, myself
from splatbench.containers.task import ContainerTask, EngineMissing, Limits
from splatbench.containers.watching import MIB


def container_options(task: ContainerTask, image: Mapping[str, Any], daemon: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `containers.create` beside the image.

    Folders that the task may write are made its own where the caller is root.

    Args:
        image: the image's attributes, as `docker inspect` shows them.
        daemon: what `docker info` says.

    Raises:
        EngineMissing: the daemon cannot keep a limit.
        OSError: as `give_folders`.
    """
    must_keep_limits(daemon)
    user = _user(daemon)
    give_folders(task, user)
    options: dict[str, Any] = {
        "command": list(task.command) or None,
        "environment": _environment(task),
        "labels": {OWNER_LABEL: myself().label()},
        "user": f"{user[0]}:{user[1]}",
        "init": True,
        "healthcheck": {"test": ["NONE"]},  # an image's own would run beside what is measured
        "use_config_proxy": False,
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "ipc_mode": "private",
        "log_config": LogConfig(type="json-file", config={"max-size": "1m", "max-file": "2"}),
        "mounts": _mounts(task),
        "tmpfs": _folders_in_memory(task, image, user),
        "shm_size": task.limits.memory_mib * MIB // 2,
        **_limits(task.limits),
        **_cores(threads_of(task), int(daemon.get("NCPU") or len(cores()))),
    }
    if "name=userns" in (daemon.get("SecurityOptions") or ()):
        options["userns_mode"] = "host"  # else its files would belong to nobody here
    if task.gpu is not None:
        options["device_requests"] = [DeviceRequest(device_ids=[task.gpu], capabilities=[["gpu"]])]
    return options


def _folders_in_memory(task: ContainerTask, image: Mapping[str, Any], user: tuple[int, int]) -> dict[str, str]:
    """/tmp, and what the image declares as volumes, which would be writable disk without a limit."""
    declared = (image.get("Config") or {}).get("Volumes") or {}
    folders = {"/tmp", *(path.rstrip("/") for path in declared)} - {each.target.rstrip("/") for each in task.mounts}
    # Programs are compiled into it (exec). They are the user's own, since an image's folder keeps its mode.
    options = f"rw,exec,nosuid,nodev,mode=1777,uid={user[0]},gid={user[1]},size={task.limits.memory_mib}m"
    return dict.fromkeys(sorted(folders), options)


def must_keep_limits(daemon: Mapping[str, Any]) -> None:
    """Refuses a daemon that would take limits and not keep them.

    Raises:
        EngineMissing
    """
    needed = {"MemoryLimit": "memory", "PidsLimit": "processes", "CpuCfsQuota": "cores"}
    missing = [what for key, what in needed.items() if daemon.get(key) is False]
    if missing:
        raise EngineMissing(
            f"this docker daemon cannot limit {' and '.join(missing)}: it has no control groups of the kernel "
            "(rootless docker needs cgroup v2 with delegation)"
        )


def _user(daemon: Mapping[str, Any]) -> tuple[int, int]:
    if any("rootless" in option for option in daemon.get("SecurityOptions") or ()):
        return 0, 0  # which is the caller, outside
    return task_user()


def _environment(task: ContainerTask) -> dict[str, str]:
    return {"HOME": "/tmp", **thread_environment(threads_of(task)), **task.environment, **gpu_environment(task.gpu)}


def gpu_environment(gpu: str | None) -> dict[str, str]:
    """Variables of a container with one device, or with none."""
    if gpu is None:
        # Where NVIDIA's runtime is the default, the image's own variable would bring all devices.
        return {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}
    return {"CUDA_VISIBLE_DEVICES": "0"}  # the only one inside


def _mounts(task: ContainerTask) -> list[Mount]:
    return [
        Mount(each.target, str(each.source.resolve()), type="bind", read_only=each.read_only) for each in task.mounts
    ]


def _cores(threads: int, there: int) -> dict[str, Any]:
    """So many cores' time on the cores that this process may use, of those that the daemon's machine has."""
    mine = [core for core in cores() if core < there] or list(range(there))
    return {"nano_cpus": min(threads, there) * 1_000_000_000, "cpuset_cpus": ",".join(map(str, mine))}


def _limits(limits: Limits) -> dict[str, Any]:
    memory = limits.memory_mib * MIB
    # One byte more than all files together may have, so that a file which stops there is seen to be too long.
    longest = limits.output_mib * MIB + 1
    return {
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": limits.pids,
        "ulimits": [
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(name="nofile", soft=4096, hard=4096),
            Ulimit(name="fsize", soft=longest, hard=longest),
        ],
    }

"""Which engines are here, and what they can do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splatbench.containers.engines import get_engine
from splatbench.containers.task import ContainerTask, EngineMissing, Limits

#: Seconds and MiB that the trial container may use: it starts Python and prints a version.
_TRIAL = Limits(memory_mib=1024, seconds=120)


def engine_facts() -> dict[str, dict[str, str]]:
    """For each engine what is known of it, as sentences; where one is missing, how to get it."""
    return {"docker": _docker(), "apptainer": _apptainer()}


def _docker() -> dict[str, str]:
    from splatbench.containers.docker import daemon

    try:
        facts = {"version": get_engine("docker").check()}
        with daemon() as client:
            info = client.info()
    except EngineMissing as error:
        return {"missing": str(error)}
    return facts | {
        "limits": _limits(info),
        "gpus": _gpu_runtime(info),
        "disk": _disk(Path(info.get("DockerRootDir", "/nowhere"))),
        "a container starts": _trial(),
    }


def _apptainer() -> dict[str, str]:
    try:
        return {
            "version": get_engine("apptainer").check(),
            "limits": "memory and processes are watched from outside, ten times a second",
            "gpus": "driver found" if Path("/dev/nvidiactl").exists() else "no NVIDIA driver (/dev/nvidiactl)",
            "disk": _disk(Path.cwd()),
        }
    except EngineMissing as error:
        return {"missing": str(error)}


def _limits(info: Mapping[str, Any]) -> str:
    needed = {"MemoryLimit": "memory", "PidsLimit": "processes", "CpuCfsQuota": "cores"}
    missing = [what for key, what in needed.items() if not info.get(key)]
    if missing:
        return (
            f"CANNOT limit {', '.join(missing)}: methods in containers will be refused (rootless: cgroup v2 is needed)"
        )
    return f"memory, processes and cores (cgroup v{info.get('CgroupVersion', '1')})"


def _gpu_runtime(info: Mapping[str, Any]) -> str:
    if "nvidia" in (info.get("Runtimes") or {}) or any("nvidia" in str(each) for each in info.get("CDISpecDirs") or ()):
        return "NVIDIA Container Toolkit"
    return "no NVIDIA Container Toolkit: containers get no GPU"


def _disk(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} is not on this machine"
    return f"{shutil.disk_usage(folder).free / 1e9:.0f} GB free in {folder} (an image of the suite takes 7 GB)"


def _trial() -> str:
    """Starts one of our images under limits, without a network."""
    from splatbench.containers.suite import suite_images

    here = next((image for image in suite_images() if image.digest), None)
    if here is None or here.digest is None:
        return "not tried: no image of the suite is here (`splatbench containers build cpu`)"
    begun = time.perf_counter()
    try:
        ended = get_engine("docker").run(ContainerTask(here.digest, ("--version",), limits=_TRIAL))
    except (OSError, RuntimeError) as error:
        return f"NO: {error}"
    if ended.exit_code != 0:
        how = ended.ending if ended.exit_code is None else f"exit code {ended.exit_code}"
        return f"NO: {here.name} ended with {how}: {ended.log}"
    return f"yes ({here.name} says {ended.log} after {time.perf_counter() - begun:.1f} s)"

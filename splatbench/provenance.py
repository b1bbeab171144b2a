"""Where and with what a number was made: taken on the machine and in the process that does the work."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from splatbench.containers import identity
from splatbench.record import Provenance

_PACKAGES = ("torch", "numba", "numpy", "pillow", "constriction", "lpips", "pytorch-msssim", "snakemake")
_ROOT = Path(__file__).resolve().parent.parent


def provenance(device: str = "cpu", threads: int = 0) -> Provenance:
    """The provenance of work that starts now.

    Args:
        device: "cpu", or "cuda" for the first visible CUDA device (the one that was leased).
        threads: threads that the job may use.
    """
    commit, dirty = source_state()
    gpu, driver = _gpu() if device.startswith("cuda") else (None, None)
    return Provenance(
        commit=commit,
        dirty=dirty,
        version=metadata.version("splatbench"),
        versions=_versions(),
        device=gpu or device,
        gpu=gpu,
        driver=driver,
        cpu=_cpu_model(),
        cores=usable_cores(),
        threads=threads,
        load_average=round(os.getloadavg()[0], 2),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        image=identity.this_image(),
    )


def usable_cores() -> int:
    """Cores that this process may run on (fewer than the machine has, in a container or under a scheduler)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def source_state() -> tuple[str | None, bool | None]:
    """Commit of this code and whether tracked files were changed: of the checkout, or of what an image of ours was
    built from; (None, None) elsewhere."""
    if not (_ROOT / ".git").exists():
        return identity.revision()
    try:
        commit = _output("git", "-C", str(_ROOT), "rev-parse", "HEAD")
        changes = _output("git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(changes)


@functools.cache
def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    try:
        return _output("sysctl", "-n", "machdep.cpu.brand_string")
    except (OSError, subprocess.SubprocessError):
        return platform.processor() or platform.machine()


@functools.cache
def _gpu() -> tuple[str | None, str | None]:
    """Name and driver version of the first visible CUDA device."""
    import torch

    if not torch.cuda.is_available():
        return None, None
    try:
        driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = None
    return torch.cuda.get_device_name(0), driver


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

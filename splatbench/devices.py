"""Which device a job runs on, and GPUs lent to one timed job at a time.

A lease is a lock file per GPU. The kernel frees it when its process ends, however it ends. Snakemake's `gpu` resource
counts jobs but names no device; the lease names one and holds for runs that know nothing of each other.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

Choice = Literal["auto", "cpu", "cuda"]


class DeviceMissing(RuntimeError):
    """The wanted device is not there, or the method cannot use it; the text says which and what to do."""


def gpu_slots() -> list[str]:
    """GPUs that may be used, as CUDA_VISIBLE_DEVICES names them: those inherited, else those that nvidia-smi lists.

    A job of Slurm has those that Slurm gave it, by that variable, and no others.
    """
    inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if inherited is not None:
        names = [name.strip() for name in inherited.split(",") if name.strip()]
        # CUDA itself stops at the first invalid entry; -1 is the customary way to say "none".
        return names[: names.index("-1")] if "-1" in names else names
    if "SLURM_JOB_ID" in os.environ:
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line[4 : line.index(":")] for line in listed.splitlines() if line.startswith("GPU ") and ":" in line]


def choose_device(wanted: Choice, supported: Collection[str], slots: Sequence[str]) -> Literal["cpu", "cuda"]:
    """ "cpu" or "cuda" for a method that runs on the `supported` device types.

    `auto` takes a GPU where the method can use one and one is there, else the CPU.

    Raises:
        DeviceMissing: the wanted (or the only possible) device is not there or not supported.
    """
    if wanted == "auto":
        if "cuda" in supported and (slots or "cpu" not in supported):
            wanted = "cuda"
        else:
            return "cpu"
    if wanted not in supported:
        raise DeviceMissing(f"the method runs on {', '.join(supported)}, not on {wanted}; set `device: auto`")
    if wanted == "cuda" and not slots:
        raise DeviceMissing(
            "no CUDA device: nvidia-smi lists none and CUDA_VISIBLE_DEVICES names none; run this on a machine with one"
        )
    return wanted


def lock_folder() -> Path:
    """Where the leases of this machine's GPUs lie: in SPLATBENCH_CACHE or the user's cache folder.

    In a job of Slurm they hold among its own processes: Slurm keeps jobs apart, and may call each one's GPU "0". They
    lie in the folder that the job or the session has for itself; without one, under the user's name where all users put
    their files.
    """
    import platformdirs

    if job := os.environ.get("SLURM_JOB_ID"):
        own = os.environ.get("SLURM_TMPDIR") or os.environ.get("XDG_RUNTIME_DIR")
        root = own if own and Path(own).is_dir() else tempfile.gettempdir()
        return Path(root, f"splatbench-gpu-leases-{getpass.getuser()}-{job}")
    root = os.environ.get("SPLATBENCH_CACHE") or platformdirs.user_cache_dir("splatbench")
    return Path(root).expanduser() / "gpu-leases" / socket.gethostname()


def _make(folder: Path, private: bool) -> None:
    """A folder for leases; a private one this user alone can enter.

    Raises:
        DeviceMissing: it cannot be made, or a private one is somebody else's, or a link.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700 if private else 0o777, exist_ok=True)
        state = folder.lstat()
    except OSError as error:
        raise DeviceMissing(f"no GPU can be leased: {folder} cannot be made ({error.strerror or error})") from None
    if private and not (stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()):
        raise DeviceMissing(
            f"no GPU can be leased: {folder} is not this user's own folder; have it removed, or set SLURM_TMPDIR to a "
            "folder of your own"
        )


@contextmanager
def lease_gpu(
    slots: Sequence[str],
    folder: Path | None = None,
    on_wait: Callable[[], None] = lambda: None,
    poll_seconds: float = 0.5,
) -> Iterator[str]:
    """Waits for a free GPU of `slots`, exports it as CUDA_VISIBLE_DEVICES and holds it; yields its name.

    Must be entered before CUDA is initialised in this process: CUDA reads the variable once.

    Raises:
        DeviceMissing: `slots` is empty, CUDA is already initialised, or leases cannot be kept.
    """
    import sys

    if not slots:
        raise DeviceMissing("no CUDA device to lease")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise DeviceMissing("CUDA is already in use by this process, so it cannot be given a device any more")
    folder = folder or lock_folder()
    private = "SLURM_JOB_ID" in os.environ
    lock, slot = _first_free(slots, folder, private, on_wait, poll_seconds)
    before = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")}
    # nvidia-smi counts in PCI order, CUDA by default puts the fastest first.
    os.environ.update(CUDA_VISIBLE_DEVICES=slot, CUDA_DEVICE_ORDER="PCI_BUS_ID")
    try:
        yield slot
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if private:  # its job ends, too, and no other looks there; who waits sees that the file is gone
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        if private:
            with contextlib.suppress(OSError):  # another process of the job holds a GPU
                folder.rmdir()


def _first_free(
    slots: Sequence[str], folder: Path, private: bool, on_wait: Callable[[], None], poll_seconds: float
) -> tuple[FileLock, str]:
    waiting = False
    while True:
        _make(folder, private)  # again while waiting: the last holder takes a private one away
        for slot in slots:
            lock = FileLock(folder / f"{slot.replace('/', '_')}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            return lock, slot
        if not waiting:
            on_wait()
            waiting = True
        time.sleep(poll_seconds)

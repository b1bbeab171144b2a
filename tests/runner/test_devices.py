"""Choosing a device, and leases of GPUs between processes that know nothing of each other."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splatbench.devices import DeviceMissing, choose_device, gpu_slots, lease_gpu, lock_folder
from splatbench.method import Method

NVIDIA_SMI = """#!/bin/sh
echo "GPU 0: Fake 100 (UUID: GPU-aaaa)"
echo "GPU 1: Fake 100 (UUID: GPU-bbbb)"
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in PATH with an nvidia-smi that lists two GPUs."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(NVIDIA_SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("inherited", "slots"),
    [
        ("", []),
        ("-1", []),
        ("0", ["0"]),
        ("3, 1", ["3", "1"]),
        ("2,-1,0", ["2"]),
        ("GPU-aa,GPU-bb", ["GPU-aa", "GPU-bb"]),
    ],
)
def test_inherited_devices_come_first(two_gpus, monkeypatch, inherited, slots):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert gpu_slots() == slots


def test_else_those_that_nvidia_smi_lists(two_gpus):
    assert gpu_slots() == ["0", "1"]


def test_no_or_a_broken_nvidia_smi_means_none(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_slots() == []
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'driver not loaded'; exit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert gpu_slots() == []


@pytest.mark.parametrize(
    ("wanted", "supported", "slots", "device"),
    [
        ("auto", ("cpu",), ["0"], "cpu"),
        ("auto", ("cpu", "cuda"), ["0"], "cuda"),
        ("auto", ("cpu", "cuda"), [], "cpu"),
        ("cpu", ("cpu", "cuda"), ["0"], "cpu"),
        ("cuda", ("cpu", "cuda"), ["0"], "cuda"),
    ],
)
def test_choice(wanted, supported, slots, device):
    assert choose_device(wanted, supported, slots) == device


def test_auto_leaves_out_what_was_never_measured():
    class Careful(Method):
        devices, on_request = ("cpu",), ("cuda",)

    assert choose_device("auto", Careful.devices_for("auto"), ["0"]) == "cpu"
    assert choose_device("cuda", Careful.devices_for("cuda"), ["0"]) == "cuda"


@pytest.mark.parametrize(
    ("wanted", "supported", "slots", "words"),
    [
        ("cuda", ("cpu",), ["0"], "runs on cpu, not on cuda"),
        ("cpu", ("cuda",), ["0"], "runs on cuda, not on cpu"),
        ("cuda", ("cpu", "cuda"), [], "no CUDA device"),
        ("auto", ("cuda",), [], "no CUDA device"),
    ],
)
def test_impossible_choices_say_why(wanted, supported, slots, words):
    with pytest.raises(DeviceMissing, match=words):
        choose_device(wanted, supported, slots)


def test_a_lease_is_exported_and_given_back(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    with lease_gpu(["5", "6"], tmp_path) as first:
        assert (first, os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"]) == ("5", "5", "PCI_BUS_ID")
        with lease_gpu(["5", "6"], tmp_path) as second:
            assert (second, os.environ["CUDA_VISIBLE_DEVICES"]) == ("6", "6")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,6"
    with lease_gpu(["5"], tmp_path) as again:
        assert again == "5"


def test_leasing_after_cuda_has_started_is_refused(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(DeviceMissing, match="already in use by this process"), lease_gpu(["0"], tmp_path):
        pass


# Leases a GPU, notes entering and leaving, sleeps in between.
_WORKER = """
import sys, time
from splatbench.devices import gpu_slots, lease_gpu
import os
with lease_gpu(gpu_slots(), poll_seconds=0.01) as slot:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == slot
    print("got", slot, time.time(), flush=True)
    time.sleep(float(sys.argv[1]))
    print("end", slot, time.time(), flush=True)
"""


def _worker(seconds: float, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"SPLATBENCH_CACHE": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(seconds)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_processes_never_share_a_gpu(two_gpus):
    workers = [_worker(0.15, two_gpus) for _ in range(6)]
    held: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
    for worker in workers:
        output, _ = worker.communicate(timeout=60)
        assert worker.returncode == 0
        (_, slot, begin), (_, _, end) = (line.split() for line in output.splitlines())
        held[slot].append((float(begin), float(end)))
    assert sum(map(len, held.values())) == 6 and all(held.values())
    for times in held.values():
        times.sort()
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(times))


def test_a_killed_holder_frees_its_gpu(two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    holder = _worker(60, two_gpus)
    assert holder.stdout is not None and holder.stdout.readline().startswith("got 0")
    waiting = _worker(0, two_gpus)
    time.sleep(0.5)
    assert waiting.poll() is None
    holder.send_signal(signal.SIGKILL)
    output, _ = waiting.communicate(timeout=30)
    assert output.startswith("got 0")
    holder.communicate()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of Slurm; the folder where all users put their files."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("LOGNAME", "somebody")
    for name in ("SLURM_TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return shared


def test_a_jobs_leases_are_its_own_and_go_with_it(slurm):
    with lease_gpu(["0", "1"]):
        (folder,) = slurm.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        with lease_gpu(["0", "1"]) as second:
            assert second == "1"
        assert [path.name for path in folder.iterdir()] == ["0.lock"]
    assert list(slurm.iterdir()) == []


@pytest.mark.parametrize("name", ["SLURM_TMPDIR", "XDG_RUNTIME_DIR"])
def test_the_jobs_own_folder_comes_first(slurm, tmp_path, monkeypatch, name):
    own = tmp_path / "own"
    monkeypatch.setenv(name, str(own))
    assert lock_folder().parent == slurm, "it is not there"
    own.mkdir()
    assert lock_folder().parent == own


def test_leases_are_not_kept_where_somebody_else_may_write(slurm, tmp_path, monkeypatch):
    lock_folder().symlink_to(tmp_path)
    with pytest.raises(DeviceMissing, match="is not this user's own folder"), lease_gpu(["0"]):
        pass
    lock_folder().unlink()
    lock_folder().mkdir()
    monkeypatch.setattr("os.getuid", lambda: 12345)  # another user's, for us
    with pytest.raises(DeviceMissing, match="have it removed, or set SLURM_TMPDIR to"), lease_gpu(["0"]):
        pass
    lock_folder().rmdir()
    lock_folder().write_text("")
    with pytest.raises(DeviceMissing, match="cannot be made"), lease_gpu(["0"]):
        pass


def test_who_waits_gets_the_gpu_of_a_holder_that_tidies_up(slurm, two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("TMPDIR", str(slurm))
    workers = [_worker(0.1, two_gpus) for _ in range(4)]
    times = []
    for worker in workers:
        output, _ = worker.communicate(timeout=60)
        assert worker.returncode == 0
        times.append(tuple(float(line.split()[2]) for line in output.splitlines()))
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(sorted(times)))
    assert list(slurm.iterdir()) == []

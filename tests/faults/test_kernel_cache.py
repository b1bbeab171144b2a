"""Files of compiled kernels after a power cut, on a bad disk, on a full one: compiled anew, never run, never fatal."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatbench.render import jit, jit_cache
from tests.faults.corruption import Damage, delete, empty, flip_bits, noise, truncate, zeros


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Makes a kernel as a new process would: with nothing in memory, from the files in the temporary folder."""
    monkeypatch.setattr(jit, "cache_folder", lambda: tmp_path)

    def make() -> Any:
        def triple(values, out):
            for i in range(len(values)):
                out[i] = 3 * values[i]

        return jit.kernel(triple)

    return make


def _result(kernel: Any) -> list[float]:
    out = np.zeros(3)
    kernel(np.array([1.0, 2.0, 5.0]), out)
    return out.tolist()


def _counts(kernel: Any) -> tuple[int, int]:
    """How often it was read and compiled."""
    return sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())


def test_whole_files_are_used(kernels: Callable[[], Any], tmp_path: Path) -> None:
    first = kernels()
    assert _result(first) == [3, 6, 15] and _counts(first) == (0, 1)
    again = kernels()
    assert _result(again) == [3, 6, 15] and _counts(again) == (1, 0)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".nbi", ".nbc"}


@pytest.mark.parametrize("damage", [empty, zeros, truncate, noise, flip_bits, delete])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_files_are_made_again(kernels: Callable[[], Any], tmp_path: Path, suffix: str, damage: Damage) -> None:
    _result(kernels())
    (path,) = tmp_path.rglob(f"*{suffix}")
    damage(path, [], random.Random(5))
    second = kernels()
    assert _result(second) == [3, 6, 15] and _counts(second) == (0, 1)
    third = kernels()
    assert _result(third) == [3, 6, 15] and _counts(third) == (1, 0)


def test_a_full_disk_costs_time_alone(kernels: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, f"cannot write {path}: No space left on device")

    monkeypatch.setattr(jit_cache, "write_atomic", full)
    kernel = kernels()
    with pytest.warns(RuntimeWarning, match="cannot be kept: .*No space left"):
        assert _result(kernel) == [3, 6, 15]


def test_all_kernels_are_checked() -> None:
    """numba's own class is not used where its files would be believed."""
    from splatbench.render import cpu_sum

    found = [value for value in vars(cpu_sum).values() if getattr(value, "_cache", None) is not None]
    cached = [value for value in found if hasattr(value._cache, "_cache_file")]
    assert cached and all(isinstance(kernel._cache._cache_file, jit_cache._CheckedFiles) for kernel in cached)

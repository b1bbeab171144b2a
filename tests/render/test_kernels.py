"""Vector type, kernel cache and threads."""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from splatbench.render import jit, threads
from splatbench.render.cpu import SumRasterizer
from splatbench.render.f32x16 import load, splat, store, totals, weight
from splatbench.render.jit import kernel
from splatbench.render.sharing import finish, take, wait

CUT = np.float32(math.log2(255) / 8)


@kernel(cache=False)
def weights(t, out, cut):
    for i in range(0, len(t), 16):
        store(out, i, weight(load(t, i), splat(cut)))


@kernel(cache=False)
def sums(x, out):
    a, b, c, d = load(x, 0), load(x, 16), load(x, 32), load(x, 48)
    e, f, g, h = load(x, 64), load(x, 80), load(x, 96), load(x, 112)
    store(out, 0, totals(a, b, c, d, e, f, g, h))


def test_weight_is_two_to_the_minus_eight_t():
    t = np.linspace(0, CUT, 1 << 20, dtype=np.float32)
    out = np.empty_like(t)
    weights(t, out, CUT)
    assert out[0] == 1 and np.abs(out / np.exp2(-8 * t.astype(np.float64)) - 1).max() < 3e-6


def test_weight_ends_at_the_cut():
    t = np.array([np.nextafter(CUT, np.float32(2)), CUT, 2, 1e10, np.inf, np.nan, -0.0, 1] * 2, np.float32)
    out = np.empty_like(t)
    weights(t, out, CUT)
    assert (out[:8] > 0).tolist() == [False, True, False, False, False, False, True, False]


def test_totals_are_in_order():
    x, out = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32), np.empty(16, np.float32)
    sums(x.ravel(), out)
    assert np.allclose(out[:8], x.sum(1), atol=1e-5)


def test_cache_folder_follows_every_kernel_source(tmp_path, monkeypatch):
    source = tmp_path / "kernel.py"
    source.write_text("a")
    monkeypatch.setattr(jit, "kernel_sources", lambda: [source])
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path))
    first = jit.cache_folder.__wrapped__()
    assert first.parent == tmp_path and first.is_dir() and jit.cache_folder.__wrapped__() == first
    source.write_text("b")
    assert jit.cache_folder.__wrapped__() != first


def test_every_file_with_kernels_is_hashed():
    package = jit._PACKAGE.parent
    with_kernels = {p for p in package.rglob("*.py") if "@kernel" in p.read_text() and p.name != "jit.py"}
    assert len(with_kernels) >= 5 and with_kernels <= set(jit.kernel_sources())


def test_a_cache_that_cannot_be_written_is_reported(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SPLATBENCH_CACHE", str(blocked))
    with pytest.warns(RuntimeWarning, match="SPLATBENCH_CACHE"):
        assert jit.cache_folder.__wrapped__() is None


def test_thread_count(monkeypatch):
    monkeypatch.delenv("SPLATBENCH_THREADS", raising=False)
    assert threads.thread_count(3) == 3
    allowed = threads.thread_count()
    assert 1 <= allowed <= (os.cpu_count() or 1)
    monkeypatch.setenv("SPLATBENCH_THREADS", "1")
    assert threads.thread_count() == 1
    for setting in ("0", "-1", "many"):
        monkeypatch.setenv("SPLATBENCH_THREADS", setting)
        with pytest.raises(ValueError, match="SPLATBENCH_THREADS"):
            threads.thread_count()
    monkeypatch.delenv("SPLATBENCH_THREADS")
    with pytest.raises(ValueError, match="threads must be"):
        threads.thread_count(0)


def test_run_does_every_part_and_passes_errors_on():
    done = []
    threads.run(4, lambda t, n, tag: done.append((t, n, tag)), "x")
    assert sorted(done) == [(t, 4, "x") for t in range(4)]

    def fail(t, n):
        if t == n - 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        threads.run(3, fail)


@kernel(cache=False)
def count_items(t, threads, board, items, done_by, seen):
    """Each item once; the last phase sees all of the first."""
    for k in range(items):
        if take(board, 2 + k):
            done_by[k] = t
            finish(board, 0)
    wait(board, 0, items)
    if take(board, 1):
        seen[0] = np.sum(done_by >= 0)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_shared_work_is_done_once(workers):
    for _ in range(50):
        done_by, seen = np.full(500, -1), np.zeros(1, np.int64)
        threads.run_shared(workers, 502, count_items, 500, done_by, seen)
        assert seen[0] == 500 and set(done_by) <= set(range(workers))


def test_a_thread_that_does_not_come_delays_nobody(make_scene):
    """All threads of the pool are busy with something else, as on a crowded machine."""
    scene = make_scene(300, (300, 100))
    want = SumRasterizer(1).forward(*scene, *scene.size, form="covariance")
    threads.run(2, lambda t, n: None)
    release = threading.Event()
    blocked = [threads._pool.submit(release.wait, 60) for _ in range(threads._pool_size)]
    try:
        rasterizer = SumRasterizer(2)
        got = rasterizer.forward(*scene, *scene.size, form="covariance")
        gradients = rasterizer.backward(np.ones_like(got))
        assert not any(future.done() for future in blocked)
    finally:
        release.set()
    assert got.tobytes() == want.tobytes() and all(np.isfinite(g).all() for g in gradients)


def test_an_error_waits_for_the_other_parts():
    """Memory that they write to may be given back after it."""
    release, finished = threading.Event(), []

    def part(t, n):
        if t == 0:
            threading.Timer(0.2, release.set).start()
            raise KeyboardInterrupt
        release.wait(20)
        finished.append(t)

    with pytest.raises(KeyboardInterrupt):
        threads.run(2, part)
    assert finished == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_threads_work_after_a_fork():
    def child():
        threads.run(2, lambda t, n: None)
        assert threads._pool is not None

    child()
    process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    process.start()
    process.join(20)
    assert process.exitcode == 0


_DRAW = """
import numpy as np
from splatbench.render.cpu import SumRasterizer
random = np.random.default_rng(0)
means = (random.random((300, 2)) * [90, 70]).astype(np.float32)
shapes = np.stack([random.uniform(4, 60, 300), random.uniform(-3, 3, 300), random.uniform(4, 60, 300)], 1)
rasterizer = SumRasterizer(2)
image = rasterizer.forward(means, shapes, random.random((300, 3)).astype(np.float32), 70, 90, form="covariance")
np.savez(OUT, image, *rasterizer.backward(np.cos(image)))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86-64 processors")
@pytest.mark.parametrize("processor", ["nehalem", "haswell", "skylake-avx512"])
def test_other_processors_draw_the_same(processor, tmp_path):
    """SSE4.2 without fused multiply-add, AVX2, AVX-512: compiled for each as if it were this machine's."""
    other = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "", "SPLATBENCH_CACHE": str(tmp_path)}
    for environment, name in (({}, "here"), (other, "there")):
        command = [sys.executable, "-c", _DRAW.replace("OUT", repr(str(tmp_path / f"{name}.npz")))]
        result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=600)
        if result.returncode == -signal.SIGILL:
            pytest.skip(f"this machine is older than {processor}")
        assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "here.npz") as want, np.load(tmp_path / "there.npz") as got:
        for name in want.files:
            assert np.abs(got[name] - want[name]).max() < 1e-5 * np.abs(want[name]).max()

"""Limits of the machine, and the least work of kernels."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import roofline as limits
from benchmarks import work
from benchmarks.roofline import COPY, FMA, Roofline, probes, roofline
from benchmarks.timing import CPU, Case, Measured, measure
from benchmarks.work import Work
from splatbench.render.threads import run


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(limits, "_COPIED", (1 << 14, 1 << 22))


def test_measured_limits_are_those_of_a_computer(small, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_THREADS", "1")
    measured = measure(probes("cpu"), CPU, 3)
    assert [m.case.kernel for m in measured] == [FMA, FMA, COPY, COPY]
    peak = roofline(measured)
    assert 1e9 < peak.fma < 1e12  # of one core: below a scalar unit at 1 GHz, above any vector unit
    assert [size for size, _ in peak.copies] == [8 << 14, 8 << 22]
    assert all(5e8 < rate < 1e12 for _, rate in peak.copies)


@pytest.mark.parametrize(("kernel", "chains"), [(limits._six_chains, 6), (limits._twelve_chains, 12)])
def test_chains_do_what_is_counted(kernel, chains):
    """Every chain makes every step: x -> 0.999 x + 0.001 has the limit 1, approached as 0.999^steps."""
    start, out = np.zeros(192, np.float32), np.zeros((2, 16), np.float32)
    run(2, kernel, 1000, start, out)
    np.testing.assert_allclose(out, chains * (1 - 0.999**1000), rtol=1e-3)


def test_copy_copies_all_of_it(small, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_THREADS", "3")
    source, target = np.arange(1001, dtype=np.float32), np.zeros(1001, np.float32)
    run(3, limits._copy_part, source, target)
    np.testing.assert_array_equal(source, target)


def test_the_best_rate_counts_and_a_missing_one_is_an_error():
    def result(kernel: str, rate: float) -> Measured:
        return Measured(Case(kernel, "x", lambda: print, Work(rate, 0)), [1.0])

    peak = roofline([result(FMA, 3), result(FMA, 7), result(COPY, 5)])
    assert peak == Roofline(7, ((5, 5),))
    failed = Measured(Case(COPY, "x", lambda: print), failure="MemoryError: no room")
    with pytest.raises(RuntimeError, match="copy of a large array: not measured: MemoryError: no room"):
        roofline([result(FMA, 3), failed])


def test_bytes_that_fit_a_cache_move_at_its_rate():
    peak = Roofline(1e9, ((1e6, 100.0), (1e7, 40.0), (1e8, 50.0), (1e9, 20.0)))
    assert [peak.bytes_per_second(n) for n in (10, 1e6, 2e6, 5e7, 5e8, 1e12)] == [100, 100, 50, 50, 20, 20]
    assert peak.seconds(Work(1, 2e6)) == 2e6 / 50


def test_least_time_is_that_of_the_scarcer_thing():
    assert Work(100, 10).seconds(10, 10) == 10
    assert Work(10, 100).seconds(10, 10) == 10
    assert Work(1, 2) + Work(3, 4) == Work(4, 6)


def test_counts_of_work():
    assert work.draw(1000, 10, 300).fma == 14 * 1000
    assert work.draw(1000, 10, 300).bytes == 44 * 10 + 4 * 300
    assert work.differentiate(1000, 10, 300).fma == 24 * 1000
    assert work.adam(8).bytes == 8 * 28 and work.adan(8).bytes == 8 * 44
    assert work.loss(300, True).fma > 100 * 300 > work.loss(300, False).fma
    assert work.draw_topk(1000, 100, 10, 300).fma < work.draw(1000, 10, 300).fma

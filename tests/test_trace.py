from __future__ import annotations

import math
import time

import pytest

from splatbench.trace import Diverged, Trace


def test_clock_stands_still_during_snapshots():
    trace = Trace(snapshots=[1], on_snapshot=lambda name, encoding: time.sleep(0.3))
    trace.start()
    time.sleep(0.1)
    with trace.stage("fit"):
        time.sleep(0.1)
        trace.snapshot(1, "encoding")
    trace.stop()
    assert 0.2 <= trace.seconds < 0.29
    assert 0.1 <= trace.stages["fit"] < 0.19
    assert trace.snapshot_seconds["1"] == pytest.approx(0.2, abs=0.05)


def test_a_sleeper_is_timed_to_two_percent():
    trace = Trace()
    trace.start()
    time.sleep(0.5)
    trace.stop()
    time.sleep(0.1)
    assert trace.seconds == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_values_diverge(bad):
    trace = Trace()
    trace.step(1, 10, loss=0.5)
    with pytest.raises(Diverged, match="loss became .* at step 2 of 10"):
        trace.step(2, 10, loss=bad)


def test_snapshots_arrive_by_name_and_only_the_wanted_ones_are_asked_for():
    seen = []
    trace = Trace(snapshots=[5, "fit"], on_snapshot=lambda name, encoding: seen.append((name, encoding)))
    assert trace.wants(5)
    assert trace.wants("fit")
    assert not trace.wants(6)
    trace.snapshot(5, "a")
    trace.snapshot("fit", "b")
    assert seen == [("5", "a"), ("fit", "b")]


def test_time_limit():
    trace = Trace(seconds=0.05)
    trace.start()
    assert not trace.out_of_time()
    time.sleep(0.06)
    assert trace.out_of_time()
    assert not Trace().out_of_time()


def test_progress_is_throttled_but_the_last_step_is_shown():
    seen = []
    trace = Trace(on_step=lambda i, n, values: seen.append(i), interval=60)
    for i in range(1, 101):
        trace.step(i, 100, loss=1.0)
    assert seen == [1, 100]


def test_stages_add_up_even_when_they_fail():
    trace = Trace()
    trace.start()
    for _ in range(2):
        with pytest.raises(RuntimeError), trace.stage("fit"):
            time.sleep(0.02)
            raise RuntimeError
    assert trace.stages["fit"] >= 0.04


def test_a_branch_goes_on_from_the_clock_and_keeps_to_itself():
    steps = []
    trace = Trace(snapshots=[1], on_step=lambda i, n, values: steps.append(i), interval=0.0, seconds=0.01)
    trace.start()
    time.sleep(0.05)
    branch = trace.branch()
    with branch.stage("fit"):
        time.sleep(0.05)
        branch.step(7, 9, loss=1.0)
    branch.log(7, psnr=30.0)
    branch.note("found")
    assert not branch.wants(1) and not branch.out_of_time() and trace.out_of_time()
    assert steps == [7] and (trace.steps, trace.stages, trace.curve, trace.notes) == (0, {}, [], [])
    ((i, at, values),) = branch.curve
    assert (i, values) == (7, {"psnr": 30.0}) and 0.1 <= at <= trace.seconds


def test_what_is_adopted_adds_up():
    trace = Trace()
    trace.start()
    trace.note("before")
    for _ in range(2):
        branch = trace.branch()
        with branch.stage("fit"):
            time.sleep(0.03)
        branch.step(5, 5, loss=1.0)
        branch.note("fitted")
        trace.adopt(branch)
    assert trace.steps == 5 and trace.notes == ["before", "fitted", "fitted"]
    assert trace.stages["fit"] == pytest.approx(0.06, abs=0.02)


def test_a_clock_that_begins_with_what_a_start_has_taken():
    trace = Trace(elapsed=2.0, seconds=2.05)
    assert trace.seconds == 2.0 and not trace.out_of_time()
    trace.start()
    trace.log(1, psnr=20.0)
    with trace.stage("fit"):
        time.sleep(0.1)
    trace.stop()
    assert trace.out_of_time() and 2.1 <= trace.seconds < 2.2
    assert 2.0 <= trace.curve[0][1] < 2.05 and 0.1 <= trace.stages["fit"] < 0.2


def test_seconds_of_another_process_are_added_while_the_clock_stands_still():
    trace = Trace(seconds=3.0)
    trace.start()
    with trace.stage("outside"), trace.paused():
        time.sleep(0.1)
        trace.count(3.0)
    trace.stop()
    assert 3.0 <= trace.seconds < 3.05 and trace.out_of_time()
    assert trace.stages["outside"] == pytest.approx(3.0, abs=0.05)

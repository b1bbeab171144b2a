"""Turns, clocks, slow cases and those that fail; with a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.timing import CPU, WALL, Case, Clock, Measured, NotAvailable, measure


class Hands:
    """A clock that the cases move."""

    def __init__(self) -> None:
        self.time = 0.0
        self.order: list[str] = []
        self.clock = Clock("wall", lambda: self.time)

    def case(self, name: str, *seconds: float, implementation: str = "splatbench") -> Case:
        """Takes the given seconds in turn, the last one for ever."""
        left = list(seconds)

        def run() -> None:
            self.order.append(name)
            self.time += left.pop(0) if len(left) > 1 else left[0]

        return Case(name, implementation, lambda: run)


@pytest.fixture
def hands() -> Hands:
    return Hands()


def test_cases_take_turns_after_two_calls_each(hands):
    measure([hands.case("a", 1.0), hands.case("b", 2.0)], hands.clock, 3)
    assert hands.order == ["a", "a", "b", "b"] + ["a", "b"] * 3


def test_medians_and_ratios_by_turns(hands):
    # the first two calls are not counted; turn by turn b takes twice as long
    a, b = measure([hands.case("a", 9, 9, 1, 5, 2), hands.case("b", 9, 9, 2, 10, 4)], hands.clock, 3)
    assert a.seconds == [1, 5, 2] and a.median == 2
    assert b.ratio(a) == 2 and a.ratio(b) == 0.5


def test_short_calls_are_repeated_within_a_turn(hands):
    (result,) = measure([hands.case("a", 0.0003)], hands.clock, 4)
    assert len(hands.order) == 2 + 4 * 7 and result.median == pytest.approx(0.0003)
    (instant,) = measure([hands.case("b", 0.0)], hands.clock, 3)
    assert instant.median == 0 and hands.order.count("b") == 2 + 3 * 100


def test_slow_cases_are_left_out_but_not_before_their_third_turn(hands):
    slow, quick = measure([hands.case("slow", 8.0), hands.case("quick", 1.0)], hands.clock, 6, budget=20)
    assert slow.seconds == [8, 8, 8, None, None, None]
    assert quick.seconds == [1] * 6
    assert slow.ratio(quick) == 8


def test_what_cannot_be_measured_says_why_and_stops_nobody(hands):
    def missing() -> Callable[[], object]:
        raise NotAvailable("needs a GPU")

    def broken() -> Callable[[], object]:
        return lambda: 1 // 0

    calls = iter(range(100))

    def late() -> Callable[[], object]:
        return lambda: 1 // (next(calls) < 3)

    cases = [Case("m", "x", missing), Case("b", "x", broken), Case("l", "x", late), hands.case("a", 1.0)]
    m, b, late_result, a = measure(cases, hands.clock, 4)
    assert m.not_available == "needs a GPU" and m.failure is None and len(m.taken) == 0
    assert b.failure and b.failure.startswith("ZeroDivisionError")
    assert late_result.failure and late_result.failure.startswith("ZeroDivisionError")
    assert a.seconds == [1.0] * 4


def test_the_clock_waits_for_what_was_started():
    events: list[str] = []
    clock = Clock("wall", lambda: events.append("read") or float(len(events)), lambda: events.append("wait"))
    measure([Case("a", "x", lambda: lambda: events.append("run"))], clock, 1)
    assert events[:5] == ["wait", "read", "run", "wait", "read"]


def test_real_clocks_measure():
    def spin() -> Callable[[], object]:
        return lambda: sum(range(200_000))

    for clock in (WALL, CPU):
        (result,) = measure([Case("a", "x", spin)], clock, 3)
        assert 1e-4 < result.median < 1


def test_ratio_uses_turns_that_both_took():
    a, b = Measured(Case("a", "x", lambda: print)), Measured(Case("b", "x", lambda: print))
    a.seconds, b.seconds = [1.0, None, 4.0], [2.0, 2.0, 2.0]
    assert a.ratio(b) == 1.25

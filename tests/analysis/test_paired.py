"""Paired comparisons: common images, wins within a tie, symmetry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splatbench.analysis.paired import Interval, compare, compare_rows

#: image -> value, in eighths: sums and differences are exact.
_VALUES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-40, 40).map(lambda i: i / 8), min_size=1)


def _compare(a, b, **options):
    return compare(a, b, **{"tie": 0.05, "higher_is_better": True, "resamples": 99, **options})


def test_counts_and_mean_by_hand():
    a = {"k1": 30.0, "k2": 31.0, "k3": 28.0, "k4": 27.0, "only a": 99.0}
    b = {"k1": 29.0, "k2": 30.97, "k3": 28.5, "k4": 27.0, "only b": 1.0}
    result = _compare(a, b)
    assert (result.n, result.wins, result.ties, result.losses) == (4, 1, 2, 1)
    assert result.difference == pytest.approx((1.0 + 0.03 - 0.5 + 0.0) / 4)
    distance = _compare(a, b, higher_is_better=False)
    assert (distance.wins, distance.ties, distance.losses) == (1, 2, 1)
    assert distance.difference == result.difference


def test_a_lower_distance_wins():
    result = _compare({"a": 0.1, "b": 0.2}, {"a": 0.3, "b": 0.4}, higher_is_better=False)
    assert (result.wins, result.losses) == (2, 0)


def test_interval_and_p_of_a_clear_difference():
    noise = np.random.default_rng(1).normal(0, 0.1, size=24)
    a = {f"kodim{i:02}": 30 + i + noise[i] for i in range(24)}
    b = {f"kodim{i:02}": 29.5 + i for i in range(24)}
    result = compare(a, b, tie=0.05, higher_is_better=True)
    assert isinstance(result.interval, Interval) and result.interval.level == 0.95
    assert result.interval.low < result.difference < result.interval.high
    assert result.interval.high - result.interval.low == pytest.approx(2 * 1.96 * noise.std() / np.sqrt(24), rel=0.15)
    assert result.p_value == pytest.approx(2.0**-23)


@pytest.mark.parametrize(("n", "has_interval"), [(1, False), (2, False), (3, True)])
def test_few_images_have_no_interval(n, has_interval):
    a, b = {str(i): float(i * i) for i in range(n)}, {str(i): 0.5 for i in range(n)}
    assert (_compare(a, b).interval is not None) == has_interval


def test_no_image_in_common():
    result = _compare({"a": 1.0}, {"b": 1.0})
    assert (result.n, result.wins, result.ties, result.losses) == (0, 0, 0, 0)
    assert result.difference is None and result.interval is None and result.p_value is None


def test_equal_values_tie_even_without_a_tolerance():
    result = _compare({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0}, tie=0)
    assert (result.wins, result.ties) == (1, 1)


@given(_VALUES, _VALUES)
def test_swapping_the_two_swaps_the_result(a, b):
    one, other = _compare(a, b), _compare(b, a)
    assert (one.n, one.wins, one.ties, one.losses) == (other.n, other.losses, other.ties, other.wins)
    assert one.wins + one.ties + one.losses == one.n == len(a.keys() & b.keys())
    assert one.p_value == other.p_value
    if one.n:
        assert one.difference == -other.difference


@given(_VALUES, _VALUES, st.integers(-80, 80))
def test_adding_a_constant_to_both_and_the_order_of_images_change_nothing(a, b, eighths):
    moved = [{image: value + eighths / 8 for image, value in reversed(list(values.items()))} for values in (a, b)]
    assert _compare(*moved) == _compare(a, b)


def test_rows_are_compared_as_pairs_are():
    a = np.random.default_rng(3).normal(size=(4, 7))
    b = np.random.default_rng(4).normal(size=7)
    rows = compare_rows(a, b, tie=0.1, higher_is_better=False, resamples=199)
    for row, result in zip(a, rows, strict=True):
        pair = [{str(i): value for i, value in enumerate(values)} for values in (row, b)]
        single = _compare(*pair, tie=0.1, higher_is_better=False, resamples=199)
        assert result.interval.low == pytest.approx(single.interval.low, abs=1e-10)
        assert (result.wins, result.ties, result.losses) == (single.wins, single.ties, single.losses)
        assert (result.difference, result.p_value) == (single.difference, single.p_value)


def test_no_rows():
    assert compare_rows(np.ones((0, 4)), np.ones((0, 4)), tie=0, higher_is_better=True) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_named(bad):
    with pytest.raises(ValueError, match="image '<script>': cannot compare"):
        _compare({"<script>": bad, "b": 1.0}, {"<script>": 1.0, "b": 1.0})
    with pytest.raises(ValueError, match="NaN or infinite"):
        compare_rows([[1.0, bad]], [[1.0, 1.0]], tie=0, higher_is_better=True)


@pytest.mark.parametrize("tie", [-0.1, np.nan])
def test_a_negative_tie_is_refused(tie):
    with pytest.raises(ValueError, match="at least 0"):
        _compare({"a": 1.0}, {"a": 1.0}, tie=tie)

"""Bootstrap intervals against theory, coverage on data whose mean is known, and degenerate rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from splatbench.analysis.intervals import mean_interval


def test_coverage_of_the_known_mean():
    """95 % intervals of 600 samples of 40 normal values contain the true mean about 95 times of 100."""
    samples = np.random.default_rng(7).normal(30.0, 2.0, size=(600, 40))
    low, high = mean_interval(samples, level=0.95, resamples=1999)
    assert 0.92 <= ((low <= 30.0) & (high >= 30.0)).mean() <= 0.975


def test_coverage_follows_the_level():
    samples = np.random.default_rng(8).normal(0.0, 1.0, size=(600, 40))
    low, high = mean_interval(samples, level=0.8, resamples=1999)
    assert 0.75 <= ((low <= 0) & (high >= 0)).mean() <= 0.84


def test_width_is_the_normal_theory_s_for_many_values():
    samples = np.random.default_rng(9).normal(0.0, 3.0, size=(20, 400))
    low, high = mean_interval(samples)
    expected = 2 * 1.959964 * samples.std(axis=1) / np.sqrt(400)
    assert np.abs((high - low) / expected - 1).max() < 0.05


def test_skewed_values_have_a_skewed_interval():
    values = np.random.default_rng(3).exponential(size=30)
    low, high = mean_interval(values)
    assert high - values.mean() > 1.1 * (values.mean() - low) > 0


def test_one_row_is_scipy_s_bca():
    values = np.random.default_rng(4).normal(size=24)
    scipys = bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    assert mean_interval(values) == pytest.approx((scipys.low, scipys.high), abs=1e-12)


def test_resamples_with_the_sample_s_mean_are_counted_as_such():
    """Whole numbers, whose means scipy computes alike for every resample; our product must not see differences."""
    rows = np.random.default_rng(2).integers(0, 6, size=(40, 5)).astype(float)
    low, high = mean_interval(rows / 7, resamples=999)
    for row, limits in zip(rows, zip(low, high, strict=True), strict=True):
        scipys = bootstrap((row,), np.mean, n_resamples=999, rng=np.random.default_rng(0)).confidence_interval
        assert limits == pytest.approx((scipys.low / 7, scipys.high / 7), abs=1e-10)


@pytest.mark.parametrize("values", [[1.0, 1.0, 2.0], [0.0, 1.0, 5.0, 5.0], [1e-9, 2e-9, 4e-9], [1e9 + 1, 1e9, 1e9 + 2]])
def test_few_values_give_limits_among_the_values(values):
    low, high = mean_interval(values)
    assert min(values) <= low < np.mean(values) < high <= max(values)


def test_shifting_and_scaling_the_values_shifts_and_scales_the_interval():
    values = np.random.default_rng(5).normal(size=(3, 24))
    low, high = mean_interval(values)
    assert np.allclose(mean_interval(1e6 + 50 * values), (1e6 + 50 * low, 1e6 + 50 * high), rtol=1e-12)
    assert np.allclose(mean_interval(1e-12 * values), (1e-12 * low, 1e-12 * high), rtol=1e-9)


def test_equal_values_are_their_own_interval():
    low, high = mean_interval([[5.1, 5.1, 5.1, 5.1], [1.0, 2.0, 3.0, 4.0]])
    assert low[0] == high[0] == 5.1
    assert low[1] < 2.5 < high[1]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_values_have_no_interval(n):
    low, high = mean_interval(np.ones((4, n)))
    assert low.shape == high.shape == (4,)
    assert np.isnan(low).all() and np.isnan(high).all()


def test_equal_input_gives_equal_output_whatever_the_other_rows_are():
    values = np.random.default_rng(6).normal(size=(1200, 12))  # more than one block of rows
    low, high = mean_interval(values, resamples=499)
    assert np.array_equal(mean_interval(values, resamples=499), (low, high))
    assert np.allclose(mean_interval(values[1150], resamples=499), (low[1150], high[1150]), rtol=0, atol=1e-10)


def test_leading_axes_are_kept():
    values = np.random.default_rng(6).normal(size=(2, 3, 10))
    low, _ = mean_interval(values, resamples=199)
    assert low.shape == (2, 3)
    assert low[1, 2] == pytest.approx(mean_interval(values[1, 2], resamples=199)[0], abs=1e-10)


def test_no_rows_have_no_intervals():
    low, high = mean_interval(np.ones((0, 24)))
    assert low.shape == high.shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="1 of 6 values are NaN or infinite"):
        mean_interval([[1.0, 2.0, 3.0], [1.0, bad, 3.0]])


def test_a_single_number_and_a_wrong_level_are_refused():
    with pytest.raises(ValueError, match="array of values"):
        mean_interval(3.0)
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        mean_interval([1.0, 2.0, 3.0], level=95)

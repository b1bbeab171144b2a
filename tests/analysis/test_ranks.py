"""Rank ranges: only significant differences order rows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from splatbench.analysis.ranks import RankRange, rank_ranges


def _board(shifts, n=24, noise=0.1, seed=0):
    """Rows of the same images, each with a constant advantage and a little noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(30, 3, size=n) + np.array(shifts)[:, None] + rng.normal(0, noise, size=(len(shifts), n))


def test_clear_differences_give_single_ranks():
    result = rank_ranges(_board([1.0, 3.0, 2.0]), higher_is_better=True)
    assert result.ranges == (RankRange(3, 3), RankRange(1, 1), RankRange(2, 2))
    assert result.better.tolist() == [[False, False, False], [True, False, True], [True, False, False]]
    assert result.reason is None
    assert rank_ranges(_board([1.0, 3.0, 2.0]), higher_is_better=False).ranges == (
        RankRange(1, 1),
        RankRange(3, 3),
        RankRange(2, 2),
    )


def test_rows_that_differ_by_noise_share_their_ranks():
    result = rank_ranges(_board([5.0, 0.0, 0.0, -5.0]), higher_is_better=True)
    assert result.ranges == (RankRange(1, 1), RankRange(2, 3), RankRange(2, 3), RankRange(4, 4))


def test_identical_rows_are_tied():
    row = _board([0.0])[0]
    result = rank_ranges([row, row, row - 1], higher_is_better=True)
    assert result.ranges == (RankRange(1, 2), RankRange(1, 2), RankRange(3, 3))


def test_correction_counts_all_pairs():
    """A pair that is significant alone is not among many: p = 0.031 of six images, and 3 pairs."""
    rows = np.array([[1.0, 2, 3, 4, 5, 6], [0.0] * 6])
    assert rank_ranges(rows, higher_is_better=True).ranges == (RankRange(1, 1), RankRange(2, 2))
    three = rank_ranges([*rows, rows[1] - 100], higher_is_better=True)
    assert set(three.ranges) == {RankRange(1, 3)} and three.better is None
    assert three.reason == "6 images are too few to tell 3 rows apart, after correction for 3 comparisons"


def test_five_images_order_nothing():
    result = rank_ranges(_board([0.0, 100.0], n=5), higher_is_better=True)
    assert result.ranges == (RankRange(1, 2), RankRange(1, 2))
    assert result.better is None
    assert result.reason == "5 images are too few: the smallest p value they can give is 0.0625"


def test_a_reason_is_given_only_where_nothing_could_be_found():
    """One row fewer than the correction allows: 24 clear differences are still found."""
    rows = next(m for m in range(2, 99) if m * (m - 1) / 2 * 2.0**-9 >= 0.05)
    possible = rank_ranges(np.arange(rows - 1)[:, None] * np.linspace(1, 2, 10), higher_is_better=True)
    assert possible.reason is None
    assert possible.ranges == tuple(RankRange(rank, rank) for rank in range(rows - 1, 0, -1))
    assert rank_ranges(np.arange(rows)[:, None] * np.linspace(1, 2, 10), higher_is_better=True).reason is not None


def test_mean_and_signed_ranks_must_agree():
    """Row 0 is slightly better on 22 images and far worse on two: neither is called better."""
    board = np.zeros((2, 24))
    board[0] = np.where(np.arange(24) < 22, 0.1 + np.arange(24) / 100, -50.0)
    assert wilcoxon(board[0] - board[1]).pvalue < 0.05
    assert rank_ranges(board, higher_is_better=True).ranges == (RankRange(1, 2), RankRange(1, 2))


def test_boards_of_noise_are_rarely_ordered():
    """The correction bounds the boards with any false claim by alpha."""
    rng = np.random.default_rng(11)
    ordered = [rank_ranges(rng.normal(size=(4, 24)), higher_is_better=True).better.any() for _ in range(300)]
    assert np.mean(ordered) < 0.07


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.booleans())
def test_ranges_hold_their_number_and_follow_the_rows(seed, m, higher_is_better):
    rng = np.random.default_rng(seed)
    board = _board(rng.normal(0, 0.2, size=m), n=14, seed=seed)
    result = rank_ranges(board, higher_is_better=higher_is_better)
    assert not (result.better & result.better.T).any()
    for index, entry in enumerate(result.ranges):
        assert 1 <= entry.low <= entry.high <= m
        assert entry == RankRange(1 + result.better[:, index].sum(), m - result.better[index].sum())
    order = rng.permutation(m)
    moved = rank_ranges(board[order], higher_is_better=higher_is_better)
    assert moved.ranges == tuple(result.ranges[i] for i in order)


def test_large_boards_are_quick_or_refused():
    start = time.process_time()
    result = rank_ranges(_board(np.linspace(0, 5, 300)), higher_is_better=True)
    assert time.process_time() - start < 5
    assert result.reason is None and result.ranges[0].low > 100 and result.ranges[-1].high < 200
    start = time.process_time()
    refused = rank_ranges(np.zeros((3000, 24)), higher_is_better=True)
    assert time.process_time() - start < 1
    assert refused.reason == "3000 rows of 24 images are more than are compared pair by pair"
    assert len(refused.ranges) == 3000 and refused.better is None


@pytest.mark.parametrize(("m", "ranges"), [(0, ()), (1, (RankRange(1, 1),))])
def test_boards_without_pairs(m, ranges):
    for n in (0, 3, 24):
        result = rank_ranges(np.ones((m, n)), higher_is_better=True)
        assert result.ranges == ranges and result.reason is None


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="row 1, image 0: nan cannot be ranked"):
        rank_ranges([[1.0, 2.0], [np.nan, 1.0]], higher_is_better=True)
    with pytest.raises(ValueError, match=r"\[rows, images\]"):
        rank_ranges([1.0, 2.0], higher_is_better=True)
    with pytest.raises(ValueError, match="alpha is between 0 and 1, got 5"):
        rank_ranges(np.ones((2, 8)), higher_is_better=True, alpha=5)

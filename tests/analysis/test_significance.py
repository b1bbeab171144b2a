"""Wilcoxon's test against counts by hand and scipy's permutations; Holm's correction by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import PermutationMethod, wilcoxon

from splatbench.analysis.significance import holm, signed_rank, smallest_p

#: Whole numbers, so that ties and zeros are frequent.
_TIED = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 8)), elements=st.integers(-4, 4))


def test_exact_case_by_hand():
    """Ranks 1..6, only the smallest against: W = 1. Of the 64 patterns of signs two give W <= 1: p = 2 * 2 / 64."""
    p, direction = signed_rank([[-0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    assert p[0] == pytest.approx(4 / 64)
    assert direction[0] == 1


def test_tied_case_by_hand():
    """|d| = 1, 1, 2: ranks 1.5, 1.5, 3. Sums of 6 and 0 are the most extreme two of eight patterns."""
    assert signed_rank([[1.0, 1.0, 2.0]])[0][0] == pytest.approx(2 / 8)
    # One tied value against: the sums -3, 3 and the more extreme -6, 6 are 1 + 1 + 2 + 2 of 8; 0 is the other two.
    assert signed_rank([[-1.0, 1.0, 2.0]])[0][0] == pytest.approx(6 / 8)


def test_zeros_count_for_the_ranks_only():
    """|d| = 0, 1, 2, 3: ranks 2, 3, 4 of the others, all on one side: 2 of 8 patterns."""
    p, direction = signed_rank([[0.0, -1.0, -2.0, -3.0]])
    assert p[0] == pytest.approx(2 / 8)
    assert direction[0] == -1
    # Ranks 2, 3, 4, 5: at most 5 against in {}, {2}, {3}, {4}, {5}, {2, 3}. Ranks 1..4 would give 14 of 16.
    assert signed_rank([[0.0, 1.0, 2.0, 3.0, -4.0]])[0][0] == pytest.approx(12 / 16)


@pytest.mark.parametrize(("n", "expected"), [(5, 0.0625), (6, 0.03125), (24, 2.0**-23)])
def test_the_smallest_p_is_what_one_sided_differences_give(n, expected):
    assert signed_rank([np.arange(1.0, n + 1)])[0][0] == pytest.approx(expected) == smallest_p(n)


@given(_TIED)
def test_small_tied_samples_are_as_in_scipy_s_permutation_test(differences):
    p, _ = signed_rank(differences)
    for row, mine in zip(differences, p, strict=True):
        if row.any():
            permuted = wilcoxon(row, zero_method="pratt", method=PermutationMethod()).pvalue
            assert mine == pytest.approx(permuted, abs=1e-12)
        else:
            assert mine == 1


def test_larger_tied_samples_use_the_normal_approximation():
    row = np.random.default_rng(1).integers(-6, 9, size=30).astype(float)
    reference = wilcoxon(row, zero_method="pratt", correction=True, method="asymptotic").pvalue
    assert signed_rank([row])[0][0] == pytest.approx(reference, rel=1e-12)


def test_a_row_s_p_does_not_depend_on_its_neighbours():
    clear = np.random.default_rng(2).normal(0.4, 1, size=24)
    tied = clear.round(0)
    together, _ = signed_rank([clear, tied, np.zeros(24)])
    assert together[0] == signed_rank([clear])[0][0] == pytest.approx(wilcoxon(clear, method="exact").pvalue)
    assert together[1] == signed_rank([tied])[0][0]
    assert together[2] == 1


def test_blocks_of_rows_join_without_a_seam(monkeypatch):
    differences = np.random.default_rng(3).integers(-5, 6, size=(50, 11)).astype(float)
    whole = signed_rank(differences)
    monkeypatch.setattr("splatbench.analysis.significance._CELLS", 4096)
    assert np.array_equal(whole, signed_rank(differences))


def test_false_alarms_are_as_rare_as_they_should_be():
    p, _ = signed_rank(np.random.default_rng(5).normal(size=(4000, 24)))
    assert 0.04 < (p < 0.05).mean() < 0.06


def test_nothing_to_test():
    assert signed_rank(np.ones((0, 5)))[0].shape == (0,)
    assert signed_rank(np.ones((2, 0)))[0].tolist() == [1, 1]


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="1 of 2 differences are NaN or infinite"):
        signed_rank([[1.0, np.nan]])
    with pytest.raises(ValueError, match=r"\[rows, n\]"):
        signed_rank([1.0, 2.0])


def test_holm_by_hand():
    """0.01 * 4, then 0.02 * 3, 0.03 * 2 = 0.06 as well, and 0.5."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.4, 0.5]) == pytest.approx([0.8, 0.8])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values):
    p, adjusted = np.array(p_values), holm(p_values)
    assert ((adjusted >= p) & (adjusted <= 1)).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert (adjusted <= np.minimum(1, p * len(p))).all()  # never stricter than Bonferroni


@pytest.mark.parametrize("bad", [[0.5, 1.5], [-0.1], [np.nan], [[0.5]]])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ValueError, match="0 to 1"):
        holm(bad)

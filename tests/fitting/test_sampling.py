"""Pixels drawn without replacement: their probabilities, and weights of all kinds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splatbench.fitting import draw_weighted


def test_draws_without_replacement_follow_the_weights_that_are_left():
    """Pairs of 4 pixels: their probabilities against those of drawing one after the other, 40000 times."""
    weights = np.array([0.5, 0.25, 0.2, 0.05])
    rng, runs = np.random.default_rng(0), 40_000
    seen = dict.fromkeys(itertools.combinations(range(4), 2), 0)
    for _ in range(runs):
        seen[tuple(draw_weighted(weights, 2, rng))] += 1
    for (i, j), count in seen.items():
        p = weights[i] * weights[j] / (1 - weights[i]) + weights[j] * weights[i] / (1 - weights[j])
        assert count / runs == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / runs))


@given(st.lists(st.sampled_from([0.0, 1e-30, 1.0, 1e20]), min_size=1, max_size=40), st.data())
def test_any_number_of_pixels_can_be_drawn(weights, data):
    count = data.draw(st.integers(0, len(weights)))
    drawn = draw_weighted(np.array(weights, np.float32), count, np.random.default_rng(1))
    assert len(set(drawn.tolist())) == count
    assert drawn.size == 0 or (drawn.min() >= 0 and drawn.max() < len(weights))


def test_heavy_pixels_come_before_pixels_of_no_weight():
    weights = np.zeros((20, 30), np.float32)
    weights[3, 4] = weights[7, 2] = 1
    drawn = draw_weighted(weights, 3, np.random.default_rng(2))
    assert {3 * 30 + 4, 7 * 30 + 2} < set(drawn.tolist())


@pytest.mark.parametrize("bad", [[1.0, np.nan], [1.0, np.inf], [1.0, -1.0]])
def test_bad_weights_are_refused(bad):
    with pytest.raises(ValueError, match="finite and not negative"):
        draw_weighted(np.array(bad, np.float32), 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="cannot draw 3 of 2"):
        draw_weighted(np.ones(2, np.float32), 3, np.random.default_rng(0))

"""Repeats over seeds by hand."""

from __future__ import annotations

import pytest

from splatbench.analysis.spread import Repeats, repeats


def test_by_hand():
    """Means over the common images are 25, 27, 29: standard deviation 2."""
    values = {
        2: {"b": 31.0, "a": 23.0},
        0: {"a": 20.0, "b": 30.0, "only 0": 99.0},
        1: {"a": 26.0, "b": 32.0, "only 1": 98.0},
    }
    result = repeats(values)
    assert result.per_image == pytest.approx({"a": 23.0, "b": 31.0})
    assert list(result.per_image) == ["a", "b"]
    assert (result.seeds, result.images) == (3, 4)
    assert result.mean == pytest.approx(27.0)
    assert result.spread == pytest.approx(2.0)


def test_one_seed_has_no_spread():
    assert repeats({4: {"b": 1.0, "a": 3.0}}) == Repeats(1, {"a": 3.0, "b": 1.0}, 2, 2.0, None)


def test_seeds_without_a_common_image():
    assert repeats({0: {"a": 1.0}, 1: {"b": 2.0}}) == Repeats(2, {}, 2, None, None)
    assert repeats({0: {}, 1: {}}) == Repeats(2, {}, 0, None, None)


def test_equal_seeds_do_not_vary():
    assert repeats({seed: {"a": 0.3, "b": 0.1} for seed in range(5)}).spread == pytest.approx(0, abs=1e-15)


def test_the_order_of_seeds_does_not_matter():
    values = {seed: {"a": 0.1 * seed, "b": 1 / (seed + 3)} for seed in range(7)}
    assert repeats(dict(reversed(values.items()))) == repeats(values)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="at least one seed"):
        repeats({})
    with pytest.raises(ValueError, match="seed 3, image 'x': nan"):
        repeats({3: {"x": float("nan")}})

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def brute_force(others, count, size, radius, rounds, batch, random):
    """The rule of the released code in float64, with all distances."""
    known, accepted = others.astype(np.float64), []
    for _ in range(rounds):
        left = count - len(accepted)  # batches, not points
        if left <= 0:
            break
        candidates = (random.random((min(batch, 5 * left), 2)) * [size[1], size[0]]).astype(np.float32)
        distances = np.square(candidates[:, None].astype(np.float64) - known[None]).sum(2).min(1, initial=np.inf)
        free = candidates[distances > radius * radius][:left]
        if len(free):
            accepted.append(free)
            known = np.concatenate([known, free])
    if not accepted:
        return (random.random((count, 2)) * [size[1], size[0]]).astype(np.float32), count
    return np.concatenate(accepted)[:count], 0


def scattered(seed, n, size):
    return (np.random.default_rng(seed).random((n, 2)) * [size[1], size[0]]).astype(np.float32)


@given(
    seed=st.integers(0, 10_000),
    others=st.integers(0, 60),
    count=st.integers(1, 80),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    radius=st.floats(0.01, 15),
    rounds=st.integers(1, 8),
    batch=st.integers(1, 50),
)
def test_equals_the_rule_by_brute_force(part, seed, others, count, height, width, radius, rounds, batch):
    """Also the quirk: rounds look at the number of batches before them."""
    size, known = (height, width), scattered(seed + 1, others, (height, width))
    found, crowded = part("uniform").uniform_samples(
        known, count, size, radius, rounds, batch, False, np.random.default_rng(seed)
    )
    expected, expected_crowded = brute_force(known, count, size, radius, rounds, batch, np.random.default_rng(seed))
    assert np.array_equal(found, expected)
    assert crowded == expected_crowded


def test_distances_hold_exactly(part):
    """One candidate a round: every sample keeps away from all before it."""
    size, radius = (120, 90), 3.7
    known = np.rint(scattered(3, 200, size))
    found, _ = part("uniform").uniform_samples(known, 400, size, radius, 2000, 1, False, np.random.default_rng(0))
    points = np.concatenate([known, found]).astype(np.float64)
    squares = np.square(points[:, None] - points[None]).sum(2) + np.diag(np.full(len(points), np.inf))
    assert 50 < len(found) < 400
    assert squares[len(known) :].min() > radius**2
    assert squares[len(known) :].min() < (1.1 * radius) ** 2


def test_points_on_the_far_border_count(part):
    """Rounding puts a coordinate at W or H."""
    known = np.array([[64, 48], [64, 0], [0, 48]], np.float32)
    found, _ = part("uniform").uniform_samples(known, 5000, (48, 64), 8.0, 30, 100, False, np.random.default_rng(0))
    assert len(found) > 10
    assert np.sqrt(np.square(found[:, None] - known[None]).sum(2)).min() > 8


def test_shortage_is_topped_up(part):
    uniform, size = part("uniform"), (30, 30)
    none = np.empty((0, 2), np.float32)
    few, crowded = uniform.uniform_samples(none, 300, size, 2.0, 3, 20, False, np.random.default_rng(0))
    assert 3 <= len(few) <= 60
    assert crowded == 0
    full, crowded = uniform.uniform_samples(none, 300, size, 2.0, 3, 20, True, np.random.default_rng(0))
    assert len(full) == 300
    assert np.array_equal(full[: len(few)], few)
    squares = np.square(full[:, None] - full[None]).sum(2) + np.diag(np.full(300, np.inf))
    assert 100 < crowded < 300 - len(few)
    # of the last ones many are near others; before them only candidates of one round are
    assert (squares.min(1) < 4).sum() >= crowded / 2
    assert (full >= 0).all() and (full <= 30).all()


def test_top_up_prefers_free_places(part):
    """Room for all is left after the rounds: nobody is put near another."""
    none = np.empty((0, 2), np.float32)
    found, crowded = part("uniform").uniform_samples(none, 60, (100, 100), 3.0, 20, 1, True, np.random.default_rng(0))
    assert crowded == 0
    squares = np.square(found[:, None] - found[None]).sum(2) + np.diag(np.full(60, np.inf))
    assert len(found) == 60
    assert squares.min() > 9


def test_no_room_at_all_gives_free_points(part):
    found, crowded = part("uniform").uniform_samples(
        np.zeros((1, 2), np.float32), 7, (4, 4), 100.0, 50, 10, False, np.random.default_rng(0)
    )
    assert found.shape == (7, 2)
    assert crowded == 7


def test_few_candidates_suffice_where_few_are_wanted(part):
    """A picture of 16K at CR 20 or 50 runs out of rounds; a count far below 50 x 10 000 does not."""
    none = np.empty((0, 2), np.float32)
    found, _ = part("uniform").uniform_samples(
        none, 20_000, (4000, 4000), 2.0, 50, 10_000, False, np.random.default_rng(0)
    )
    assert len(found) == 20_000


@given(seed=st.integers(0, 10_000), n=st.integers(3, 60), first=st.integers(0, 60), lattice=st.booleans())
def test_scales_equal_brute_force(part, seed, n, first, lattice):
    points = scattered(seed, n, (25, 40))
    points = np.rint(points / 3) if lattice else points  # many duplicates
    first = min(first, n)
    squares = np.sort(np.square(points[first:, None].astype(np.float64) - points[None]).sum(2), 1)
    for include, columns in ((True, slice(0, 3)), (False, slice(1, 4))):
        if n < columns.stop:
            continue
        found = part("uniform").neighbour_scales(points, first, include, typical=-1.0)
        expected = np.sqrt(np.maximum(squares[:, columns].mean(1), 1e-6))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert found.dtype == np.float32


@pytest.mark.parametrize(("n", "include"), [(1, True), (2, True), (3, False)])
def test_too_few_points_have_the_typical_scale(part, n, include):
    found = part("uniform").neighbour_scales(scattered(0, n, (9, 9)), 0, include, typical=4.5)
    assert (found == 4.5).all() and len(found) == n

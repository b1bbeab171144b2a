from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from splatbench.method import MethodError


def brute_force(means, size):
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    distances = np.sqrt((x[..., None] - means[:, 0]) ** 2 + (y[..., None] - means[:, 1]) ** 2)
    density = 10 / np.sqrt(np.sort(distances, -1)[..., 9])
    mean, spread = density.mean(), density.std(ddof=1)
    high, low = min(mean + 3 * spread, density.max()), max(mean - 3 * spread, density.min())
    return np.clip((density - low) / (high - low), 0, 1)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(10, 200),
    size=st.tuples(st.integers(1, 30), st.integers(2, 30)),
    crowd=st.floats(0.5, 4),
)
def test_equals_all_distances(part, seed, n, size, crowd):
    """Means in a corner's favour, some of them outside."""
    means = np.random.default_rng(seed).random((n, 2)) ** crowd * [size[1] + 2, size[0] + 2] - 1
    label = part("labels").position_probability(means.astype(np.float32), size)
    assert label.dtype == np.float32
    assert label.shape == size
    assert np.allclose(label, brute_force(means.astype(np.float32).astype(np.float64), size), atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1.4, 0.2])
@pytest.mark.parametrize("count", [10, 37, 3000])
def test_nth_nearest_is_that_of_a_tree(part, count, spread):
    """Points inside, beyond and crowded in a corner; the n-th nearest may be most of the picture away."""
    points = np.random.default_rng(count).random((count, 2)) * [90, 61] * spread - [3, 5]
    y, x = np.mgrid[0:61, 0:90] + 0.5
    expected = cKDTree(points).query(np.stack([x, y], -1), k=[10])[0][..., 0]
    assert np.allclose(part("neighbours").nth_nearest(points, (61, 90), 10), expected, atol=1e-5)


def test_ends_are_clipped_at_three_deviations(part):
    """A crowd of Gaussians in a wide field: its pixels are beyond, the field's are not all 0."""
    random = np.random.default_rng(0)
    means = np.concatenate([random.random((200, 2)) * 100, random.normal(50, 0.5, (400, 2))])
    label = part("labels").position_probability(means, (100, 100))
    assert (label == 1).sum() > 10
    assert label.min() == 0
    assert 0 < (label == 0).sum() < 5
    assert label[49, 49] == 1


def test_gaussians_on_one_another_are_no_infinity(part):
    means = np.concatenate([np.full((20, 2), 8.5), np.random.default_rng(0).random((50, 2)) * 32])
    label = part("labels").position_probability(means, (32, 32))
    assert np.isfinite(label).all()
    assert label[8, 8] == 1


@pytest.mark.parametrize(
    ("means", "size", "why"),
    [
        (np.zeros((9, 2)), (8, 8), "got only 9"),
        (np.full((20, 2), np.nan), (8, 8), "NaN"),
        (np.zeros((10, 2)), (1, 1), "equally dense"),
    ],
)
def test_refuses_what_gives_no_label(part, means, size, why):
    with pytest.raises(MethodError, match=why):
        part("labels").position_probability(means, size)


def test_the_label_of_a_quadtree(part, crop):
    """Means in the published pixel frame: the picture's borders at half a pixel before the first and last centre."""
    start = part("quadtree").quad_start(crop)
    means = (start.centres.astype(np.float64) + 1) / 2 * [96, 96] + 0.5
    label = part("labels").pseudo_label(crop, iterations=0)
    assert np.abs(label - part("labels").position_probability(means, (96, 96))).max() < 2e-3


def test_details_are_denser_than_even_areas(part, crop):
    image = crop.copy()
    image[:, :48] = 100
    label = part("labels").pseudo_label(image, iterations=0)
    assert label[8:-8, :40].mean() < 0.3 < 0.6 < label[8:-8, 56:].mean()


def test_refinement_moves_the_label_and_repeats_to_the_bit(part, crop):
    start, first, second = (part("labels").pseudo_label(crop, iterations=i) for i in (0, 20, 20))
    assert np.array_equal(first, second)
    assert 1e-4 < np.abs(first - start).mean() < 0.2


def test_a_flat_picture_has_no_label(part):
    with pytest.raises(MethodError, match="got only"):
        part("labels").pseudo_label(np.full((40, 40, 3), 7, np.uint8), iterations=0)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage


def tap_values(image, position, scale, taps):
    """Bilinear with zeros outside, float64 [taps, C], by scipy."""
    x, y = (position[axis] + taps[:, axis] * scale / 4 for axis in range(2))
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    return np.stack(
        [ndimage.map_coordinates(padded[..., c], [y + 1, x + 1], order=1, cval=0.0) for c in range(image.shape[2])], 1
    )


def test_there_are_69_taps(part):
    taps = part("colours").TAPS
    assert len(taps) == len({tuple(tap) for tap in taps.tolist()}) == 69
    assert np.square(taps).sum(1).max() == 20
    assert (taps.sum(0) == 0).all()


@pytest.mark.parametrize("units", ["lattice", "pixel"])
@pytest.mark.parametrize("scale", [0.001, 0.7, 2.0, 6.4, 40.0])
def test_equals_a_sorted_median_in_float64(part, crop, units, scale):
    colours = part("colours")
    random = np.random.default_rng(int(scale * 1000))
    positions = (random.random((60, 2)) * 110 - 7).astype(np.float32)  # some outside
    positions[:20] = np.rint(positions[:20])
    scales = (scale * (0.8 + 0.4 * random.random(60))).astype(np.float32)
    found = colours.median_colours(crop, positions, scales, units)
    squares = np.square(colours.TAPS).sum(1)
    for p, s, colour in zip(positions.astype(np.float64), scales.astype(np.float64), found, strict=True):
        distances = squares * (s / 4) ** 2 if units == "pixel" else squares
        weights = np.exp(-distances / (2 * (s + 1e-6) ** 2))
        values = tap_values(crop, p, s, colours.TAPS) / 255
        for c in range(3):
            order = np.argsort(values[:, c], kind="stable")
            reached = np.cumsum(weights[order]) / weights.sum()
            # symmetric weights meet 1/2 exactly now and then, where rounding decides: both neighbours are right
            allowed = values[order, c][[np.searchsorted(reached, 0.5 - 1e-9), np.searchsorted(reached, 0.5 + 1e-9)]]
            assert np.abs(allowed - colour[c]).min() < 1e-6


@given(
    values=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    seed=st.integers(0, 1000),
)
def test_weighted_median_is_the_lower_one(part, values, seed):
    """Integer weights, so that sums are exact: the smallest value at which half of the weight is reached."""
    values = np.array(values, np.float64)
    weights = np.random.default_rng(seed).integers(1, 5, len(values)).astype(np.float64)
    order = np.argsort(values)
    expected = values[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)]
    assert part("colours")._weighted_median(values.copy(), weights.copy()) == expected


def test_half_of_the_weight_is_enough(part):
    median = part("colours")._weighted_median
    assert median(np.array([3.0, 1.0]), np.array([1.0, 1.0])) == 1
    assert median(np.array([3.0, 1.0]), np.array([1.1, 1.0])) == 3


def test_constant_image_gives_its_colour(part):
    image = np.empty((50, 60, 3), np.uint8)
    image[:] = [12, 200, 255]
    random = np.random.default_rng(0)
    positions = (10 + random.random((100, 2)) * [39, 29]).astype(np.float32)
    found = part("colours").median_colours(image, positions, np.full(100, 8.0, np.float32), "lattice")
    np.testing.assert_allclose(found, np.tile([12 / 255, 200 / 255, 1.0], (100, 1)), rtol=1e-7)


def test_far_outside_is_black(part, crop):
    positions = np.array([[-100, -100], [500, 40], [40, 1e6]], np.float32)
    assert (part("colours").median_colours(crop, positions, np.ones(3, np.float32), "lattice") == 0).all()


def test_any_number_of_threads(part, crop, monkeypatch):
    colours = part("colours")
    positions = (np.random.default_rng(1).random((101, 2)) * 96).astype(np.float32)
    scales = np.full(101, 2.0, np.float32)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(colours, "thread_count", lambda threads=threads: threads)
        results.append(colours.median_colours(crop, positions, scales, "lattice"))
    assert np.array_equal(*results)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage


@pytest.fixture
def variational(part, monkeypatch):
    """The sampler with tiles of 64 pixels, so that small pictures have many."""
    module = part("variational")
    monkeypatch.setattr(module, "TILE", 64)
    return module


def plain_importance(values, weight, mode):
    """Float64: values [h, w, C] in [0, 1]."""
    grey = values.mean(2)
    gradient = np.hypot(ndimage.sobel(grey, 1, mode=mode), ndimage.sobel(grey, 0, mode=mode))
    total, squares = (ndimage.uniform_filter(v, (5, 5, 0), mode=mode) * 25 for v in (values, values**2))
    variance = ((squares - total**2 / 25) / 24).mean(2)
    gradient, variance = (x / (x.max() + 1e-8) for x in (gradient, variance))
    return np.maximum(weight * gradient + (1 - weight) * variance, 1e-8)


@pytest.mark.parametrize(
    ("length", "starts", "covered"),
    [
        (1, [0], 1),
        (1024, [0], 1024),
        (1025, [0, 1], 1025),
        (2048, [0, 1024], 2048),
        (5376, [0, 870, 1740, 2610, 3480, 4350], 5374),
        (16320, [1019 * i for i in range(16)], 16309),
    ],
)
def test_tiles_overlap_and_may_leave_pixels_at_the_end(part, length, starts, covered):
    """16320 columns: step 1019, coverage ends at column 16308; up to (tiles - 2) are left."""
    found = part("variational").tile_starts(length)
    assert found == starts
    assert found[-1] + min(1024, length) == covered
    assert 0 <= length - covered <= max(0, len(starts) - 2)


@pytest.mark.parametrize("weight", [0.9, 0.0, 1.0])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_importance_equals_a_float64_reference(variational, crop, weight, channels):
    image = np.ascontiguousarray(np.concatenate([crop, crop[::-1]], 2)[..., :channels])
    tile = image[20:84, 30:94].astype(np.float64) / 255
    found = variational.importance(image, 20, 30, "zero", weight)
    np.testing.assert_allclose(found, plain_importance(tile, weight, "constant"), rtol=2e-6, atol=2e-8)


def test_halo_is_the_picture_around_the_tile(variational, crop):
    found = variational.importance(crop, 0, 32, "halo", 0.9)
    whole = crop.astype(np.float64) / 255
    inner = np.s_[0:64, 32:96]
    grey = whole.mean(2)
    gradient = np.hypot(ndimage.sobel(grey, 1, mode="nearest"), ndimage.sobel(grey, 0, mode="nearest"))[inner]
    total, squares = (ndimage.uniform_filter(v, (5, 5, 0), mode="nearest") * 25 for v in (whole, whole**2))
    variance = ((squares - total**2 / 25) / 24).mean(2)[inner]
    expected = 0.9 * gradient / gradient.max() + 0.1 * variance / variance.max()
    np.testing.assert_allclose(found, np.maximum(expected, 1e-8), rtol=2e-6, atol=2e-8)


def test_zero_padding_makes_edges_of_tile_borders(variational):
    """On a flat picture only the border of the tile has a gradient; that is what the released code does."""
    flat = np.full((64, 64, 3), 200, np.uint8)
    weights = variational.importance(flat, 0, 0, "zero", 0.9)
    assert (weights[2:-2, 2:-2] == np.float32(1e-8)).all()
    assert weights[0].min() > 0.5
    assert (variational.importance(flat, 0, 0, "halo", 0.9) == np.float32(1e-8)).all()


def test_black_picture_has_equal_weights(variational):
    weights = variational.importance(np.zeros((10, 7, 3), np.uint8), 0, 0, "zero", 0.9)
    assert weights.shape == (10, 7)
    assert (weights == np.float32(1e-8)).all()


def tiles_of(module, image):
    return [(r, c) for r in module.tile_starts(image.shape[0]) for c in module.tile_starts(image.shape[1])]


@pytest.mark.parametrize("count", [0, 1, 20, 21, 1500])
def test_every_tile_gets_its_quota_and_no_pixel_twice(variational, photograph, count):
    image = np.ascontiguousarray(photograph[:250, :300])
    positions, scales = variational.variational_samples(image, count, 2.5, "zero", 0.9, seed=1)
    assert positions.shape == (count, 2)
    tiles, begin = tiles_of(variational, image), 0
    for i, (row, column) in enumerate(tiles):
        quota = count // len(tiles) + (i < count % len(tiles))
        mine = positions[begin : begin + quota]
        begin += quota
        assert (mine >= [column, row]).all() and (mine < [column + 64, row + 64]).all()
        assert len(np.unique(mine, axis=0)) == quota
    assert begin == count
    assert (positions == np.rint(positions)).all()
    assert ((scales <= 2.5) & (scales >= 2.5 * np.exp(-0.5) * (1 - 1e-6))).all()


def test_scale_is_the_weight_at_the_pixel(variational, photograph):
    """s = s_base exp(-w / 2), with the weight before it is divided by the sum."""
    image = np.ascontiguousarray(photograph[:64, :64])
    positions, scales = variational.variational_samples(image, 200, 3.0, "zero", 0.9, seed=4)
    weights = plain_importance(image.astype(np.float64) / 255, 0.9, "constant")
    x, y = positions.astype(int).T
    np.testing.assert_allclose(scales, 3.0 * np.exp(-0.5 * weights[y, x]), rtol=1e-6)


def test_all_pixels_can_be_drawn(variational, crop):
    image = np.ascontiguousarray(crop[:20, :30])
    positions, _ = variational.variational_samples(image, 600, 1.0, "zero", 0.9, seed=1)
    assert len(np.unique(positions, axis=0)) == 600


def test_first_draw_is_proportional_to_the_weight(variational):
    weights = np.array([1.0, 2.0, 4.0, 1.0, 8.0])
    first = np.zeros(5)
    for seed in range(8000):
        first[variational.draw_pixels(weights, 2, np.random.default_rng(seed))[0]] += 1
    # four standard deviations of the largest probability are 0.022
    np.testing.assert_allclose(first / 8000, weights / weights.sum(), atol=0.022)


def test_second_draw_is_proportional_among_the_rest(variational):
    """Without replacement: P(2 then 0) = w2 / W * w0 / (W - w2)."""
    weights = np.array([1.0, 2.0, 5.0])
    pairs = [tuple(variational.draw_pixels(weights, 2, np.random.default_rng(seed))) for seed in range(8000)]
    assert pairs.count((2, 0)) / 8000 == pytest.approx(5 / 8 * 1 / 3, abs=0.02)
    assert pairs.count((0, 2)) / 8000 == pytest.approx(1 / 8 * 5 / 7, abs=0.015)


@given(n=st.integers(1, 300), share=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_draws_are_the_smallest_keys_in_order(part, n, share, seed):
    count = max(1, int(share * n))
    weights = np.random.default_rng(seed + 1).random(n) + 1e-8
    keys = np.random.default_rng(seed).standard_exponential(n) / weights
    found = part("variational").draw_pixels(weights, count, np.random.default_rng(seed))
    assert found.tolist() == np.argsort(keys)[:count].tolist()


def test_detail_attracts_samples(part, photograph):
    """The share of samples in the half of the pixels with the larger weights."""
    image = np.ascontiguousarray(photograph[:256, :256])
    positions, _ = part("variational").variational_samples(image, 3000, 2.0, "zero", 0.9, seed=1)
    weights = part("variational").importance(image, 0, 0, "zero", 0.9)
    x, y = positions.astype(int).T
    heavy = weights[y, x] > np.median(weights)
    expected = weights[weights > np.median(weights)].sum() / weights.sum()
    assert heavy.mean() == pytest.approx(expected, abs=0.04)
    assert expected > 0.7


def test_threads_and_seeds(variational, photograph, monkeypatch):
    def sample(seed):
        return variational.variational_samples(photograph, 700, 2.0, "zero", 0.9, seed)

    monkeypatch.setattr(variational, "thread_count", lambda: 1)
    one = sample(1)
    monkeypatch.setattr(variational, "thread_count", lambda: 3)
    three, other = sample(1), sample(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))
    assert not np.array_equal(one[0], other[0])

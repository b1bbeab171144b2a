"""Pixels drawn from heat: probabilities, distinctness, evenness, and maps of all kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.ndimage import gaussian_filter

from splatbench.method import MethodError
from splatbench.trace import Diverged

WAYS = ("replacement", "distinct", "topk", "dither")


@pytest.fixture(scope="module")
def sampling(part):
    return part("sampling")


def rng(seed=0):
    return np.random.default_rng(seed)


def smooth_heat(height, width, seed=0):
    return np.exp(2 * gaussian_filter(rng(seed).standard_normal((height, width)), 4) * 6).astype(np.float32)


def test_probabilities_are_heat_above_a_floor(sampling):
    p = sampling.probabilities(np.array([[3.0, -2.0], [1.0, 0.0]], np.float32))
    np.testing.assert_allclose(p, np.array([[3, 1e-8], [1, 1e-8]]) / (4 + 2e-8), rtol=1e-14)
    assert p.dtype == np.float64


def test_draws_with_replacement_follow_the_heat(sampling):
    """Chi-square against the probabilities; independent draws, so repeats are allowed."""
    heat = np.array([[4.0, 1.0, 2.0], [0.5, -1.0, 3.0]], np.float32)
    drawn = sampling.sample(heat, 50_000, "replacement", rng(1))
    p = np.maximum(heat, 1e-8).reshape(-1).astype(float) / np.maximum(heat, 1e-8).sum()
    seen = np.bincount(drawn, minlength=6)
    keep = p > 1e-6
    assert seen[~keep].sum() == 0
    assert stats.chisquare(seen[keep], 50_000 * p[keep] / p[keep].sum()).pvalue > 0.01
    pairs = np.bincount(drawn[::2] * 6 + drawn[1::2], minlength=36).reshape(6, 6)[np.ix_(keep, keep)]
    assert stats.chi2_contingency(pairs).pvalue > 0.01


def test_share_of_distinct_draws(sampling):
    """M (1 - (1 - 1 / M)^K) / K of a flat map: 0.91 for 50 000 of 512 x 512."""
    drawn = sampling.sample(np.ones((512, 512), np.float32), 50_000, "replacement", rng(2))
    pixels, count = 512 * 512, 50_000
    expected = pixels * (1 - (1 - 1 / pixels) ** count) / count
    assert expected == pytest.approx(0.91, abs=0.002)
    assert sampling.distinct_share(drawn) == pytest.approx(expected, abs=0.003)
    assert sampling.distinct_share(np.array([3, 3, 5, 7])) == 0.75


def test_more_pixels_than_torch_can_draw_from(sampling):
    heat = np.full((4097, 4096), -1.0, np.float32)  # 2^24 is 4096 x 4096
    heat[4096, 100:104] = 1.0
    drawn = sampling.sample(heat, 400, "replacement", rng(3))
    inside = drawn[drawn >= 4096 * 4096]
    assert len(inside) > 370 and set(inside - 4096 * 4096) == {100, 101, 102, 103}  # the floor has 0.17 in all


@pytest.mark.parametrize("how", ["distinct", "topk", "dither"])
@given(data=st.data())
def test_distinct_ways_give_as_many_different_pixels_as_asked_for(sampling, how, data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    values = st.sampled_from([-1.0, 0.0, 1e-6, 0.3, 1.0, 1e6])
    cells = data.draw(st.lists(values, min_size=height * width, max_size=height * width))
    count = data.draw(st.integers(1, height * width))
    drawn = sampling.sample(np.array(cells, np.float32).reshape(height, width), count, how, rng())
    assert drawn.dtype == np.int64 and drawn.shape == (count,)
    assert len(set(drawn.tolist())) == count
    assert drawn.min() >= 0 and drawn.max() < height * width


def test_topk_takes_the_largest(sampling):
    heat = smooth_heat(20, 31)
    drawn = sampling.sample(heat, 50, "topk", rng())
    rest = np.delete(heat.reshape(-1), drawn)
    assert heat.reshape(-1)[drawn].min() >= rest.max()
    flat = sampling.sample(np.zeros((4, 5), np.float32), 3, "topk", rng())
    assert flat.tolist() == [0, 1, 2]


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=30), st.data())
def test_capped_density(sampling, weights, data):
    p = np.array([weights]) / np.sum(weights)
    count = data.draw(st.integers(1, p.size))
    density = sampling.capped_density(p, count)
    assert density.sum() == pytest.approx(count, rel=1e-9)
    assert density.max() <= 1 and density.min() > 0
    below = density[density < 1]
    ratio = below / p[density < 1]
    assert below.size == 0 or ratio == pytest.approx(np.full(below.size, ratio[0]), rel=1e-9)
    full = p[density == 1]
    assert full.size == 0 or below.size == 0 or (full * ratio[0]).min() >= 1 - 1e-9


def test_diffusion_against_a_plain_one(sampling):
    """Every error to its neighbours one by one, with weights 7, 3, 5, 1; sideways nothing is lost, downwards it is."""
    density = rng(5).random((9, 7))
    start = rng(6).random(7) - 0.5
    value = {(i, j): density[i, j] + (start[j] if i == 0 else 0) for i in range(9) for j in range(7)}
    chosen = np.zeros((9, 7), bool)
    for i in range(9):
        turn = 1 if i % 2 == 0 else -1
        for j in range(7)[::turn]:
            chosen[i, j] = value[i, j] >= 0.5
            error = value[i, j] - chosen[i, j]
            to = {(i, j + turn): 7, (i + 1, j - turn): 3, (i + 1, j): 5, (i + 1, j + turn): 1}
            to = {at: weight for at, weight in to.items() if 0 <= at[1] < 7}
            for at in to.keys() & value.keys():
                value[at] += error * to[at] / sum(to.values())
    got_value, got_chosen = sampling.diffuse(density, start)
    np.testing.assert_array_equal(got_chosen, chosen)
    np.testing.assert_allclose(got_value.reshape(-1), [value[i, j] for i in range(9) for j in range(7)], atol=1e-12)


def test_dithering_follows_the_density_and_is_even(sampling):
    """Of blocks of 16 x 16 pixels the counts are far nearer to their expectations than those of independent draws."""
    heat = smooth_heat(128, 160)
    count = 2500
    expected = sampling.capped_density(sampling.probabilities(heat), count).reshape(8, 16, 10, 16).sum((1, 3))

    def error(how):
        picked = np.zeros(128 * 160)
        np.add.at(picked, sampling.sample(heat, count, how, rng(4)), 1)
        return np.square(picked.reshape(8, 16, 10, 16).sum((1, 3)) - expected).mean() / expected.mean()

    assert error("distinct") > 0.5  # 1 for Poisson counts
    assert error("dither") < 0.1


@pytest.mark.parametrize("share", [30, 8, 3])
def test_dithering_is_even_at_the_edges_too(sampling, share):
    """Plain diffusion leaves the first rows empty, which get no errors from above."""
    drawn = [sampling.sample(np.ones((96, 96), np.float32), 96 * 96 // share, "dither", rng(s)) for s in range(30)]
    rows = np.mean([np.bincount(d // 96, minlength=96) for d in drawn], 0)
    columns = np.mean([np.bincount(d % 96, minlength=96) for d in drawn], 0)
    for ends in (rows[:4], rows[-4:], columns[:4], columns[-4:]):
        assert ends.mean() == pytest.approx(96 / share, rel=0.15)


@pytest.mark.parametrize("how", WAYS)
def test_the_seed_decides(sampling, how):
    heat = smooth_heat(24, 40)
    first, again, other = (sampling.sample(torch.from_numpy(heat), 200, how, rng(s)) for s in (7, 7, 8))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (how == "topk")


@pytest.mark.parametrize("how", WAYS)
def test_one_pixel_and_flat_maps(sampling, how):
    assert sampling.sample(np.zeros((1, 1), np.float32), 1, how, rng()).tolist() == [0]
    peak = np.zeros((9, 9), np.float32)
    peak[4, 5] = 1
    assert sampling.sample(peak, 1, how, rng()).tolist() == [41]


def test_refusals(sampling):
    for how in ("distinct", "topk", "dither"):
        with pytest.raises(MethodError, match="7 Gaussians cannot sit on different pixels of 3x2"):
            sampling.sample(np.ones((2, 3), np.float32), 7, how, rng())
    assert len(sampling.sample(np.ones((2, 3), np.float32), 7, "replacement", rng())) == 7
    for bad in (np.nan, np.inf):
        with pytest.raises(Diverged, match="heat map holds NaN or infinity"):
            sampling.sample(np.array([[1.0, bad]], np.float32), 1, "dither", rng())
    with pytest.raises(ValueError, match="none of replacement, distinct, topk, dither"):
        sampling.sample(np.ones((2, 3), np.float32), 1, "poisson", rng())

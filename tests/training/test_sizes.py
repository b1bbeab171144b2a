"""Crops and stretches: sizes within their ranges, pixels from where they should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.training.errors import TrainingError
from splatbench.training.picture_rules import Crop, Stretch
from splatbench.training.sizes import cut, draw_size, middle, resample


def ramp(height: int, width: int) -> np.ndarray:
    """A picture whose pixel says where it is: row and column in the first two channels."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.mgrid[0:height, 0:width]
    return picture


@given(
    low=st.integers(8, 40),
    more=st.integers(0, 60),
    multiple=st.integers(1, 8),
    square=st.booleans(),
    seed=st.integers(0, 99),
)
def test_sides_are_multiples_within_the_range(low, more, multiple, square, seed):
    side = (low, low + more + multiple)
    height, width = draw_size(Crop(side=side, multiple=multiple, square=square), np.random.default_rng(seed))
    for length in (height, width):
        assert side[0] <= length <= side[1] and length % multiple == 0
    assert height == width or not square


def test_all_sides_are_drawn():
    rule, rng = Crop(side=(16, 32), multiple=8, square=False), np.random.default_rng(0)
    assert {draw_size(rule, rng) for _ in range(200)} == {(a, b) for a in (16, 24, 32) for b in (16, 24, 32)}


def test_stretched_sizes_are_airs():
    """Area and aspect uniform in their ranges; the shares of quarters of each range are near a quarter."""
    rule, rng = Stretch(), np.random.default_rng(1)
    sizes = np.array([draw_size(rule, rng) for _ in range(4000)], float)
    area, aspect = sizes.prod(1), sizes[:, 1] / sizes[:, 0]
    assert area.min() > 160_000 - 2000 and area.max() <= 640_000
    assert aspect.min() > 0.495 and aspect.max() < 2.01
    for values, (low, high) in [(area, rule.area), (aspect, rule.aspect)]:
        counts, _ = np.histogram(values, np.linspace(low, high, 5))
        assert np.abs(counts / 4000 - 0.25).max() < 0.03


def test_a_crop_without_scaling_is_a_part_of_the_picture(rng):
    picture, rule = ramp(50, 70), Crop(side=(16, 16))
    corners = set()
    for _ in range(300):
        part = cut(picture, (16, 16), rule, rng, "x")
        top, left = part[0, 0, :2]
        assert np.array_equal(part, picture[top : top + 16, left : left + 16])
        corners.add((int(top), int(left)))
    assert {0, 34} <= {top for top, _ in corners} and {0, 54} <= {left for _, left in corners}


@settings(max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    scales=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    seed=st.integers(0, 99),
)
def test_any_picture_gives_the_size(height, width, size, scales, seed):
    rule = Crop(side=(1, 64), scales=tuple(sorted(scales)))
    part = cut(np.full((height, width, 3), 77, np.uint8), size, rule, np.random.default_rng(seed), "x")
    assert part.shape == (*size, 3)
    assert (part == 77).all()  # no border is made up


def test_scales_reduce_before_cropping(rng):
    """The spacing of a ramp tells by how much the picture was reduced."""
    rule = Crop(side=(16, 16), scales=(0.25, 0.5))
    steps = []
    for _ in range(100):
        part = cut(ramp(200, 200), (16, 16), rule, rng, "x").astype(float)
        steps.append((part[-1, 0, 0] - part[0, 0, 0]) / 15)
    assert 1.95 <= min(steps) < 2.3 and 3.6 < max(steps) <= 4.05


def test_small_pictures(rng):
    with pytest.raises(TrainingError, match=r"tiny\.png: 20x12 pixels are less than the crop of 16x16"):
        cut(ramp(12, 20), (16, 16), Crop(side=(16, 16), small="refuse"), rng, "tiny.png")
    part = cut(ramp(12, 20), (16, 16), Crop(side=(16, 16)), rng, "tiny.png")
    assert part[0, 0, 0] == 0 and part[-1, 0, 0] == 11  # all rows: enlarged to the least that is needed


def test_stretch_takes_the_whole_picture(rng):
    part = cut(ramp(40, 80), (80, 20), Stretch(), rng, "x")
    assert part.shape == (80, 20, 3)
    assert part[0, 0, 0] == 0 and part[-1, 0, 0] == 39
    assert np.allclose(part[0, :, 1], 4 * np.arange(20) + 1.5, atol=0.51)  # means of four columns


def test_shrinking_is_area_averaging_and_growing_bilinear(rng):
    picture = rng.integers(0, 256, (24, 36, 3), np.uint8)
    means = picture.reshape(12, 2, 12, 3, 3).mean((1, 3))
    assert np.abs(resample(picture, (12, 12)) - means).max() <= 1.01  # rounded once per axis
    row = np.array([[[0, 0, 0], [100, 100, 100]]], np.uint8)
    assert resample(row, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]
    assert np.array_equal(resample(picture, (24, 36)), picture)


def test_middle():
    assert np.array_equal(middle(ramp(50, 20), 30), ramp(50, 20)[10:40])
    assert middle(ramp(9, 7), 30).shape == (9, 7, 3)

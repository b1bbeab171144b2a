from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from splatbench.budget import Budget


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ((5376, 5760), {20: 663_552, 50: 265_420, 100: 132_710, 200: 66_355, 500: 26_542, 1000: 13_271, 3000: 4_423}),
        (
            (12288, 16320),
            {50: 1_718_915, 100: 859_457, 200: 429_728, 500: 171_891, 1000: 85_945, 2000: 42_972, 3000: 28_648,
             5000: 17_189},
        ),
        ((1920, 2880), {3000: 789}),
    ],
)  # fmt: skip
def test_counts_of_the_published_runs(size, counts):
    for ratio, expected in counts.items():
        assert Budget(compression_ratio=ratio).count(*size) == expected


@pytest.mark.parametrize(("ratio", "expected"), [(20, 1.285), (50, 2.031), (500, 6.4236), (5000, 20.31)])
def test_base_scale_depends_on_the_ratio_alone(part, ratio, expected):
    for size in ((5376, 5760), (12288, 16320)):
        count = Budget(compression_ratio=ratio).count(*size)
        assert part("initialise").base_scale(count, size) == pytest.approx(expected, abs=6e-4 * expected)


@pytest.mark.parametrize(("count", "variational"), [(171_891, 120_323), (789, 552), (10, 7), (1, 0), (2, 1)])
def test_split_between_the_samplers(method, part, monkeypatch, count, variational):
    """The published runs split 171 891 into 120 323 and 51 568, and 789 into 552 and 237."""
    seen = {}
    module = part("initialise")
    monkeypatch.setattr(
        module, "variational_samples", lambda image, n, *_: (np.zeros((n, 2), np.float32), np.ones(n, np.float32))
    )
    monkeypatch.setattr(
        module, "uniform_samples", lambda known, n, *_: seen.update(uniform=n) or (np.zeros((n, 2), np.float32), 0)
    )
    monkeypatch.setattr(module, "neighbour_scales", lambda points, first, *_, **__: np.ones(len(points) - first))
    monkeypatch.setattr(module, "median_colours", lambda image, positions, *_: np.zeros((len(positions), 3)))
    start = module.initialise(np.zeros((4, 4, 3), np.uint8), count, method.make_config({}), 1)
    assert (start.variational, seen["uniform"]) == (variational, count - variational)


def test_parts_fit_together(method, part, photograph):
    """Order, exclusion by s_base, neighbours among all samples, colours at the scale: on a real photograph."""
    config, size = method.make_config({}), photograph.shape[:2]
    start = part("initialise").initialise(photograph, 2000, config, 1)
    base = part("initialise").base_scale(2000, size)
    drawn, uniform = start.positions[: start.variational], start.positions[start.variational :]
    assert (start.variational, len(start)) == (1400, 2000)
    assert (drawn == np.rint(drawn)).all() and not (uniform == np.rint(uniform)).all()
    squares = np.square(uniform[:, None].astype(np.float64) - drawn[None]).sum(2)
    assert squares.min() > base**2

    everything = np.square(uniform[:, None].astype(np.float64) - start.positions[None]).sum(2)
    nearest = np.sort(everything, 1)[:, :3]
    np.testing.assert_allclose(start.scales[1400:], np.sqrt(np.maximum(nearest.mean(1), 1e-6)), rtol=1e-6)
    assert (start.scales[:1400] <= np.float32(base)).all()
    # The released code's logs show medians of 0.75 to 0.99 s_base for variational samples, about 3 for uniform ones.
    assert 0.75 < np.median(start.scales[:1400]) / base < 1
    assert 2 < np.median(start.scales[1400:]) / base < 4.5

    expected = part("colours").median_colours(photograph, start.positions, start.scales, "lattice")
    assert np.array_equal(start.colours, expected)


def test_settings_reach_their_samplers(method, part, crop):
    def start(**settings):
        return part("initialise").initialise(crop, 300, method.make_config(settings), 1)

    plain = start()
    assert not np.array_equal(start(tile_padding="halo").positions, plain.positions)
    assert not np.array_equal(start(gradient_weight=0.0).positions, plain.positions)
    assert start(variational_share=0.5).variational == 150
    assert start(variational_share=1.0).variational == 300
    wider = start(knn_include_self=False)
    assert np.array_equal(wider.positions, plain.positions)
    assert (wider.scales[210:] > plain.scales[210:]).all()
    other = start(colour_weight_units="pixel")
    assert np.array_equal(other.scales, plain.scales) and not np.array_equal(other.colours, plain.colours)
    assert len(start(uniform_rounds=1, uniform_batch=20)) < 300
    assert len(start(uniform_rounds=1, uniform_batch=20, top_up=True)) == 300


def test_same_seed_same_start(method, part, crop):
    make = lambda seed: part("initialise").initialise(crop, 300, method.make_config({}), seed)  # noqa: E731
    first, again, other = make(5), make(5), make(6)
    for name in ("positions", "scales", "colours"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_memory_does_not_follow_the_picture(method, part, monkeypatch):
    """The picture is never converted as a whole (as float32 this one would take 192 MiB): beside it there is a tile."""
    monkeypatch.setattr(part("variational"), "thread_count", lambda: 1)
    image = np.zeros((4096, 4096, 3), np.uint8)
    image[::7] = 90
    tracemalloc.start()
    try:
        part("initialise").initialise(image, 3000, method.make_config({}), 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ratio", "median"),
    [("0001", 500, 6.002), ("0138", 500, 4.878), ("0536", 500, 5.759), ("1404", 500, 6.333),
     ("0001", 20, 1.208), ("0138", 20, 1.244), ("0536", 20, 1.152), ("1404", 20, 1.268)],
)  # fmt: skip
def test_variational_scales_of_the_published_runs(part, div8k, name, ratio, median):
    """Medians in the authors' run logs: tiling, gradient, variance, padding and normalisation together."""
    image = div8k(name)
    size = image.shape[:2]
    count = Budget(compression_ratio=ratio).count(*size)
    base = part("initialise").base_scale(count, size)
    _, scales = part("variational").variational_samples(image, math.floor(0.7 * count), base, "zero", 0.9, 1)
    assert np.median(scales) == pytest.approx(median, abs=0.002 * median)

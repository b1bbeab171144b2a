from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import decode
from splatbench.losses import Objective
from splatbench.method import MethodError
from splatbench.render import render
from splatbench.runner.encoding import encode_image, warm_up
from splatbench.trace import Diverged, Trace


def encode(method, image, n=900, iterations=600, trace=None, seed=1, **settings):
    instance = method(method.make_config(settings))
    budget = Budget(gaussians=n, iterations=iterations)
    return instance, instance.encode(image, budget, trace if trace is not None else Trace(), seed)


def psnr(encoding, image):
    picture = render(encoding.picture).clamp(0, 1).double()
    return float(-10 * torch.log10((picture - torch.from_numpy(image).double() / 255).square().mean()))


def test_first_step_moves_colours_alone(method, part, crop):
    """By lr g / (|g| + eps): colours start at 0, so nothing else has a gradient."""
    levels, fit = part("levels"), part("fit")
    config = method.make_config({"preset": "published"})
    start = levels.start(levels.Share(crop.shape[:2], 300), config, torch.Generator().manual_seed(1))
    target = torch.from_numpy(crop).float() / 255
    leaf = replace(start, colors=start.colors.clone().requires_grad_())
    Objective(l2=1.0, clamp=True)(leaf.draw(), target).backward()
    step = fit.Part(before=0, steps=1, total=1, gain=1.0, late=lambda: False)
    moved = fit.fit_level(start, 1.0, target, 0.018, step, Trace(), lambda level: None)
    assert torch.equal(moved.means, start.means) and torch.equal(moved.shape, start.shape)
    gradient = leaf.colors.grad
    torch.testing.assert_close(moved.colors, -0.018 * gradient / (gradient.abs() + 1e-8), atol=1e-6, rtol=0)
    assert (moved.colors > 0.0179).float().mean() > 0.5


@pytest.mark.parametrize(("preset", "least"), [("published", 16.0), ("corrected", 22.0)])
def test_a_short_fit(method, crop, preset, least):
    trace = Trace()
    _, encoding = encode(method, crop, trace=trace, preset=preset)
    reached = psnr(encoding, crop)
    assert reached > least and len(encoding) == 900 and trace.steps == 600
    # the curve knows the picture before its clamp, and before the last step
    assert reached - 1.5 < trace.curve[-1][2]["psnr"] < reached + 0.1
    assert "psnr" not in trace.curve[0][2] and set(trace.stages) == {"level 0", "level 1"}


def test_what_the_presets_and_the_footprint_are_worth(method, crop):
    """Few Gaussians: the published start covers a part of the picture, the rest goes black."""
    reached = {}
    for preset in ("published", "corrected"):
        for footprint in ("published", "budget"):
            _, encoding = encode(method, crop, n=60, iterations=400, preset=preset, footprint=footprint)
            reached[preset, footprint] = psnr(encoding, crop)
    assert reached["published", "published"] < 14
    for preset in ("published", "corrected"):
        assert reached[preset, "budget"] > reached[preset, "published"] + 4


def test_iterations_are_split_or_not(method, crop):
    for settings, total in (({}, 31), ({"split_iterations": False}, 62), ({"levels": 1}, 31)):
        trace = Trace()
        encode(method, crop, n=50, iterations=31, trace=trace, **settings)
        assert trace.steps == total


def test_same_seed_same_bits_other_seed_other_bits(method, crop):
    instance, first = encode(method, crop, n=200, iterations=20)
    _, second = encode(method, crop, n=200, iterations=20)
    _, other = encode(method, crop, n=200, iterations=20, seed=2)
    assert instance.to_bytes(first) == instance.to_bytes(second) != instance.to_bytes(other)


def test_snapshots(method, crop):
    """In the last level the picture as it is then; before it, what the levels so far show."""
    taken = {}
    trace = Trace(snapshots=[8, 25], on_snapshot=lambda name, encoding: taken.update({name: encoding}))
    instance, final = encode(method, crop, n=200, iterations=30, trace=trace)
    assert len(taken["8"]) == 25 and len(taken["25"]) == len(final) == 200
    _, coarse = encode(method, crop, n=200, iterations=16)  # level 0 has 8 steps here
    assert torch.equal(taken["8"].picture.levels[0].colors, coarse.picture.levels[0].colors)
    for encoding in taken.values():
        assert render(decode(instance.to_bytes(encoding))).shape == crop.shape


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_pictures(method, value):
    """Black is met exactly by the first level, and leaves nothing to stretch."""
    image = np.full((30, 40, 3), value, np.uint8)
    instance, encoding = encode(method, image, n=100, iterations=200, footprint="budget")
    picture = render(decode(instance.to_bytes(encoding)))
    assert torch.isfinite(picture).all()
    assert psnr(encoding, image) > (99 if value == 0 else 20)


@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 200, 3), (97, 33, 3)])
@pytest.mark.parametrize("preset", ["published", "corrected"])
def test_odd_sizes(method, shape, preset):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    instance, encoding = encode(method, image, n=8, iterations=4, preset=preset)
    assert render(decode(instance.to_bytes(encoding))).shape == shape


def test_nan_is_noticed(method, crop, monkeypatch):
    start = method.encode.__globals__["start"]

    def broken(*args):
        level = start(*args)
        level.colors[3, 1] = float("nan")
        return level

    monkeypatch.setitem(method.encode.__globals__, "start", broken)
    with pytest.raises(Diverged, match="step 1 of 10"):
        encode(method, crop, n=50, iterations=10)


def test_time_is_shared_by_the_levels(method, crop):
    trace = Trace(seconds=0.6)
    trace.start()
    instance = method(method.make_config({}))
    encoding = instance.encode(crop, Budget(gaussians=300, iterations=10**7, seconds=0.6), trace)
    assert len(encoding.picture.levels) == 2 and 2 < trace.steps < 10**7
    assert 0.1 < trace.stages["level 0"] < 0.5


def test_needs_a_count(method, crop):
    with pytest.raises(MethodError, match="takes one of gaussians, compression_ratio"):
        method(method.make_config({})).encode(crop, Budget(native=True), Trace())


def test_the_harness_counts_the_gaussians_of_all_levels(method, crop):
    instance = method(method.make_config({}))
    warm_up(instance, Budget(compression_ratio=20))
    encoded = encode_image(instance, crop, Budget(compression_ratio=20, iterations=6))
    n = 3 * 96 * 96 // (7 * 20)
    assert encoded.files[-1].n_actual == n and encoded.files[-1].nominal_bits == 56 * n
    decode(encoded.files[-1].data).check_finite()

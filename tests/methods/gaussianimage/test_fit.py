from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.method import MethodError
from splatbench.render import render
from splatbench.trace import Diverged, Trace


def encode(method, image, n=1500, iterations=800, trace=None, seed=1, **settings):
    instance = method(method.make_config(settings))
    return instance, instance.encode(
        image, Budget(gaussians=n, iterations=iterations), trace if trace is not None else Trace(), seed
    )


def psnr(gaussians, image):
    picture = render(gaussians).clamp(0, 1).double()
    return float(-10 * torch.log10((picture - torch.from_numpy(image).double() / 255).square().mean()))


@pytest.mark.parametrize("variant", ["cholesky", "rs"])
def test_a_short_fit_reaches_a_good_picture(method, crop, variant):
    trace = Trace()
    _, encoding = encode(method, crop, trace=trace, variant=variant)
    reached = psnr(encoding.gaussians, crop)
    assert reached > 27
    # The curve's last point is the loss before the last step; one step changes little.
    assert trace.curve[-1][2]["psnr"] == pytest.approx(reached, abs=0.2)
    assert trace.curve[0][2]["psnr"] < 15
    assert trace.steps == 800


def test_exact_gradient_is_no_worse_than_the_published_one(method, crop):
    _, exact = encode(method, crop, preset="corrected")
    _, published = encode(method, crop, preset="published")
    assert psnr(exact.gaussians, crop) > psnr(published.gaussians, crop)


def test_same_seed_same_bits_other_seed_other_bits(method, crop):
    instance, first = encode(method, crop, n=200, iterations=20)
    _, second = encode(method, crop, n=200, iterations=20)
    _, other = encode(method, crop, n=200, iterations=20, seed=2)
    assert instance.to_bytes(first) == instance.to_bytes(second)
    assert instance.to_bytes(first) != instance.to_bytes(other)


def test_snapshots_are_the_shorter_runs(method, crop):
    """A snapshot at step k is what a run of k steps gives: one long run serves for all rows."""
    taken = {}
    trace = Trace(snapshots=[10, 25], on_snapshot=lambda name, encoding: taken.update({name: encoding}))
    instance, _ = encode(method, crop, n=200, iterations=30, trace=trace)
    assert list(taken) == ["10", "25"]
    for name, encoding in taken.items():
        _, short = encode(method, crop, n=200, iterations=int(name))
        assert instance.to_bytes(encoding) == instance.to_bytes(short)


def test_nan_is_noticed(method, crop, part, monkeypatch):
    start = part("model").initial_parameters

    def broken(*args, **kwargs):
        parameters = start(*args, **kwargs)
        parameters["features"][7, 1] = float("nan")
        return parameters

    monkeypatch.setitem(method.encode.__globals__, "initial_parameters", broken)
    with pytest.raises(Diverged, match="step 1"):
        encode(method, crop, n=50, iterations=5)


def test_time_limit_stops_early(method, crop):
    instance = method(method.make_config({}))
    trace = Trace(seconds=0.2)
    trace.start()
    encoding = instance.encode(crop, Budget(gaussians=300, iterations=10**6, seconds=0.2), trace)
    assert 0 < trace.steps < 10**6
    assert len(encoding) == 300


def test_needs_a_count(method, crop):
    with pytest.raises(MethodError, match="takes one of gaussians, compression_ratio"):
        method(method.make_config({})).encode(crop, Budget(native=True), Trace())


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (97, 33, 3)])
def test_odd_sizes(method, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    instance, encoding = encode(method, image, n=min(7, shape[0] * shape[1]), iterations=3)
    assert render(method.from_bytes(instance.to_bytes(encoding))).shape == shape


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("kodim03", "cholesky", 28.54),
        ("kodim03", "rs", 28.75),
        ("kodim08", "cholesky", 24.50),
        ("kodim19", "rs", 27.13),
    ],
)
def test_kodak_anchors(method, kodak, name, variant, expected):
    """PSNR that an independent implementation measured: N = 28000, 800 iterations, published gradient."""
    from splatbench.datasets import load_image

    image = load_image(kodak / f"{name}.png").pixels
    _, encoding = encode(method, image, n=28_000, iterations=800, variant=variant, preset="published")
    assert psnr(encoding.gaussians, image) == pytest.approx(expected, abs=0.10)

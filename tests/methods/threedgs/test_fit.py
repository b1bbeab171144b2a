from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import BitstreamError, decode, read, write
from splatbench.method import MethodError
from splatbench.render import rasterize_alpha, render
from splatbench.runner.encoding import encode_image, warm_up
from splatbench.trace import Diverged, Trace


def encode(method, image, n=300, iterations=200, trace=None, seed=1, **settings):
    instance = method(method.make_config(settings))
    budget = Budget(gaussians=n, iterations=iterations)
    return instance, instance.encode(image, budget, trace if trace is not None else Trace(), seed)


def psnr(gaussians, image):
    picture = render(gaussians).clamp(0, 1).double()
    return float(-10 * torch.log10((picture - torch.from_numpy(image).double() / 255).square().mean()))


@pytest.fixture(scope="module")
def eye(crop):
    return np.ascontiguousarray(crop[24:72, 24:72])


@pytest.mark.parametrize("loss", ["mse", "l1_ssim"])
def test_a_short_fit(method, eye, loss):
    trace = Trace()
    _, gaussians = encode(method, eye, n=100, iterations=300, trace=trace, loss=loss, learning_rate=1e-2)
    reached = psnr(gaussians, eye)
    assert reached > 20 and trace.steps == 300 and not trace.notes
    assert trace.curve[0][2]["psnr"] < 10
    assert trace.curve[-1][2]["psnr"] == pytest.approx(reached, abs=0.3)


def test_clamped_colours_get_stuck(method, eye):
    """Before white all colours darken first; at 0 they lose their gradient."""
    reached = {}
    for preset in ("published", "corrected"):
        trace = Trace()
        _, gaussians = encode(method, eye, n=30, iterations=250, trace=trace, preset=preset, learning_rate=1e-2)
        reached[preset] = psnr(gaussians, eye)
        stuck = float((gaussians.colors == 0).float().mean())
        if preset == "published":
            assert stuck > 0.3 and trace.notes[0].startswith(f"{100 * stuck:.0f} % of the colours are stuck")
            assert gaussians.colors.min() == 0
        else:
            assert stuck == 0 and not trace.notes
    assert reached["corrected"] > reached["published"] + 2


def test_nothing_visible_is_white(method, part, crop):
    fit, model = part("fit"), part("model")
    parameters = model.initial_parameters(20, 3, seed=1)
    parameters["means"][:, 2] -= 10
    flattened = method.encode.__globals__["_flatten"](parameters, (12, 30), True)
    assert torch.equal(render(flattened), torch.ones(12, 30, 3)) and fit.BACKGROUND == 1
    flattened.check_finite()


def test_file_holds_every_bit_in_order(method, crop):
    instance, gaussians = encode(method, crop, iterations=20)
    back = decode(instance.to_bytes(gaussians))
    assert (back.blend, back.background, back.size) == ("alpha", 1.0, (96, 96))
    for name, value in gaussians.tensors().items():
        assert torch.equal(back.tensors()[name], value), name
    assert torch.equal(render(back), render(gaussians))
    assert sum(array.size for array in read(instance.to_bytes(gaussians)).arrays.values()) == 9 * 300


def test_decoded_picture_is_what_was_fitted(method, part):
    model = part("model")
    parameters = model.initial_parameters(200, 3, seed=3)
    parameters["opacities"] += 2
    parameters["bands"] = torch.randn(200, 15, 3, generator=torch.Generator().manual_seed(1)) * 0.2
    seen = model.project(parameters, (48, 64), False)
    fitted = rasterize_alpha(seen.means, seen.covariance, seen.colors, seen.opacities, (48, 64), torch.ones(3))
    torch.testing.assert_close(
        render(method.encode.__globals__["_flatten"](parameters, (48, 64), False)), fitted, atol=1e-4, rtol=0
    )


def test_same_seed_same_bits_and_snapshots(method, crop):
    taken = {}
    trace = Trace(snapshots=[10], on_snapshot=lambda name, encoding: taken.update({name: encoding}))
    instance, first = encode(method, crop, iterations=20, trace=trace)
    _, second = encode(method, crop, iterations=20)
    _, short = encode(method, crop, iterations=10)
    _, other = encode(method, crop, iterations=20, seed=2)
    assert instance.to_bytes(first) == instance.to_bytes(second) != instance.to_bytes(other)
    assert instance.to_bytes(taken["10"]) == instance.to_bytes(short)


def test_learning_rate_falls_at_its_step(method, part, crop, monkeypatch):
    seen = []
    step = part("fit").Adan.step
    monkeypatch.setattr(part("fit").Adan, "step", lambda self: (seen.append(self.param_groups[0]["lr"]), step(self))[1])
    encode(method, crop, n=20, iterations=5, learning_rate_step=2)
    assert seen == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4])


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (97, 33, 3)])
@pytest.mark.parametrize("n", [1, 7])
def test_odd_sizes_and_few_gaussians(method, shape, n):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    n = min(n, shape[0] * shape[1])
    instance, gaussians = encode(method, image, n=n, iterations=3, sh_degree=1)
    back = decode(instance.to_bytes(gaussians))
    assert render(back).shape == shape and len(back) == n and instance.nominal_bits(gaussians) == 56 * n


def test_nan_is_noticed(method, crop, monkeypatch):
    start = method.encode.__globals__["initial_parameters"]

    def broken(*args):
        parameters = start(*args)
        parameters["base"][3, 0, 1] = float("nan")
        return parameters

    monkeypatch.setitem(method.encode.__globals__, "initial_parameters", broken)
    with pytest.raises(Diverged, match="step 1 of 10"):
        encode(method, crop, n=50, iterations=10)


def test_time_limit_stops_early(method, crop):
    trace = Trace(seconds=0.3)
    trace.start()
    gaussians = method(method.make_config({})).encode(crop, Budget(gaussians=100, iterations=10**6, seconds=0.3), trace)
    assert 0 < trace.steps < 10**6 and len(gaussians) == 100


def test_needs_a_count(method, crop):
    with pytest.raises(MethodError, match="takes one of gaussians, compression_ratio"):
        method(method.make_config({})).encode(crop, Budget(native=True), Trace())


def test_the_harness_takes_counts_and_rates(method, crop):
    instance = method(method.make_config({}))
    warm_up(instance, Budget(compression_ratio=20))
    encoded = encode_image(instance, crop, Budget(bpp=6.0, iterations=5))
    assert 8 * len(encoded.files[-1].data) / (96 * 96) == pytest.approx(6.0, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "positive"),
        ({"sh_degree": 4}, "sh_degree"),
        ({"loss": "ssim"}, "loss"),
    ],
)
def test_bad_settings_are_named(method, settings, message):
    with pytest.raises(MethodError, match=message):
        method.make_config(settings)


def test_file_of_another_method_is_refused(method):
    with pytest.raises(BitstreamError, match="made by method 'other'"):
        method.from_bytes(write("other", (4, 4), "alpha", frozenset(), [], {}))

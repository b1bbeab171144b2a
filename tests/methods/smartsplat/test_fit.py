from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.method import MethodError
from splatbench.render import render
from splatbench.trace import Diverged, Trace


def encode(method, image, n=400, iterations=300, trace=None, seed=1, **settings):
    instance = method(method.make_config(settings))
    budget = Budget(gaussians=n, iterations=iterations)
    return instance, instance.encode(image, budget, trace if trace is not None else Trace(), seed)


def psnr(gaussians, image):
    picture = render(gaussians).clamp(0, 1).double()
    return float(-10 * torch.log10((picture - torch.from_numpy(image).double() / 255).square().mean()))


def test_a_short_fit_reaches_a_good_picture(method, crop):
    trace = Trace()
    _, encoding = encode(method, crop, trace=trace)
    reached = psnr(encoding.gaussians, crop)
    assert reached > 28
    assert trace.curve[0][2]["psnr"] < 14  # the start is dark
    assert trace.curve[-1][2]["psnr"] == pytest.approx(reached, abs=0.3)  # measured before the last step
    assert trace.steps == 300
    assert set(trace.stages) == {"initialise", "fit"}


def test_presets_differ_in_gradient_and_support_alone(method, crop):
    _, corrected = encode(method, crop, iterations=1)
    _, published = encode(method, crop, iterations=1, preset="published")
    assert corrected.gaussians.compat == frozenset()
    assert published.gaussians.compat == {"tiles_3sigma", "tile_cap_256"}
    _, corrected = encode(method, crop)
    _, published = encode(method, crop, preset="published")
    assert psnr(published.gaussians, crop) > 27
    assert psnr(corrected.gaussians, crop) != pytest.approx(psnr(published.gaussians, crop), abs=1e-3)


def test_the_cap_keeps_the_order_of_the_samplers(method, part, crop):
    """Under it the first 256 of a tile are drawn: variational samples tile by tile, then uniform ones."""
    instance, encoding = encode(method, crop, iterations=1, preset="published", mean_lr=1e-12)
    start = part("initialise").initialise(crop, 400, instance.config, 1)
    for gaussians in (encoding.gaussians, method.from_bytes(instance.to_bytes(encoding))):
        np.testing.assert_allclose(gaussians.means.numpy(), start.positions + 0.5, atol=1e-4)


def test_same_seed_same_bits_other_seed_other_bits(method, crop):
    instance, first = encode(method, crop, n=200, iterations=10)
    _, second = encode(method, crop, n=200, iterations=10)
    _, other = encode(method, crop, n=200, iterations=10, seed=2)
    assert instance.to_bytes(first) == instance.to_bytes(second)
    assert instance.to_bytes(first) != instance.to_bytes(other)


def test_snapshots_are_the_shorter_runs(method, crop):
    taken = {}
    trace = Trace(snapshots=[10, 25], on_snapshot=lambda name, encoding: taken.update({name: encoding}))
    instance, _ = encode(method, crop, n=200, iterations=30, trace=trace)
    assert list(taken) == ["10", "25"]
    for name, encoding in taken.items():
        _, short = encode(method, crop, n=200, iterations=int(name))
        assert instance.to_bytes(encoding) == instance.to_bytes(short)


@pytest.mark.parametrize(("reference", "factor"), [(None, 1.0), (16_320, 170.0), (48, 0.5)])
def test_learning_rates(method, part, reference, factor):
    """Four, as published; that of the means can be scaled to the step in pixels of a picture of another width."""
    config = method.make_config({} if reference is None else {"mean_lr_reference": reference})
    parameters = {name: torch.zeros(3, 2) for name in ("xyz", "scaling", "rotation", "features")}
    optimiser = part("fit").make_optimiser(parameters, config, 96)
    rates = {id(group["params"][0]): group["lr"] for group in optimiser.param_groups}
    found = [rates[id(value)] for value in parameters.values()]
    assert found == pytest.approx([1e-4 * factor, 5e-2, 1e-3, 5e-3])
    assert all(group["eps"] == 1e-15 and group["betas"] == (0.9, 0.999) for group in optimiser.param_groups)


def test_first_step_moves_each_parameter_by_its_rate(method, part, crop):
    """Adam's first step is the learning rate times the sign, however small the gradient: epsilon is 1e-15."""
    config = method.make_config({})
    model, size = part("model"), crop.shape[:2]
    start = part("initialise").initialise(crop, 100, config, 1)
    before = model.initial_parameters(start, size, config, 1)
    after = {name: value.clone() for name, value in before.items()}
    part("fit").fit(after, model.Activation(config, size), torch.from_numpy(crop), 1, Trace(), lambda p: None)
    for name, rate in {"xyz": 1e-4, "scaling": 5e-2, "features": 5e-3}.items():
        moved = (after[name].detach() - before[name]).abs()
        assert moved.max() <= rate * 1.001
        assert (moved > 0.99 * rate).float().mean() > 0.9
    # isotropic at the start, so turning changes nothing
    assert (after["rotation"].detach().abs() <= 1.001e-3).all()


def test_nan_is_noticed(method, crop, monkeypatch):
    start = method.encode.__globals__["initial_parameters"]

    def broken(*args):
        parameters = start(*args)
        parameters["features"][7, 1] = float("nan")
        return parameters

    monkeypatch.setitem(method.encode.__globals__, "initial_parameters", broken)
    with pytest.raises(Diverged, match="step 1"):
        encode(method, crop, n=50, iterations=5)


def test_time_limit_stops_early(method, crop):
    trace = Trace(seconds=0.2)
    trace.start()
    _, encoding = encode(method, crop, n=300, iterations=10**6, trace=trace, quantise=True)
    assert 0 < trace.steps < 10**6
    assert len(encoding) == 300


def test_needs_a_count(method, crop):
    with pytest.raises(MethodError, match="takes one of gaussians, compression_ratio"):
        method(method.make_config({})).encode(crop, Budget(native=True), Trace())


def test_missing_samples_are_noted(method, crop):
    settings = {"uniform_rounds": 1, "uniform_batch": 20, "iterations": 1}
    trace, full = Trace(), Trace()
    _, encoding = encode(method, crop, trace=trace, **settings)
    missing = 400 - len(encoding)
    assert 100 <= missing < 120
    assert trace.notes[0].startswith(f"{missing} of 120 uniform samples found no place")
    assert "top_up: true adds them" in trace.notes[0]
    _, encoding = encode(method, crop, trace=full, top_up=True, **settings)
    assert len(encoding) == 400


def test_a_rate_is_met(method, crop):
    """Number and bit depths are searched; the file is within 2 % of the wanted length."""
    instance = method(method.make_config({"quantise": True, "qat_iterations": 20}))
    trace = Trace()
    trace.start()
    encoding = instance.encode(crop, Budget(bpp=1.5, iterations=60), trace)
    assert 8 * len(instance.to_bytes(encoding)) / 96**2 == pytest.approx(1.5, rel=0.02)
    assert {"search", "fit", "quantise"} <= set(trace.stages)
    assert "colour_bits" in trace.notes[-1]


def test_more_gaussians_than_pixels_are_refused(method, crop):
    image = np.ascontiguousarray(crop[:5, :7])
    with pytest.raises(MethodError, match="36 Gaussians are more than the 7x5 pixels of the picture"):
        encode(method, image, n=36, iterations=1)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(method, image):
    with pytest.raises(MethodError, match="uint8"):
        encode(method, image, n=2)


def test_too_many_channels_are_refused(method):
    with pytest.raises(MethodError, match="1 to 12 channels, the picture has 13"):
        encode(method, np.zeros((8, 8, 13), np.uint8), n=2)


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize(
    ("shape", "n"), [((1, 1, 3), 1), ((1, 2, 3), 2), ((1, 200, 3), 9), ((200, 1, 3), 200), ((3, 5, 3), 15),
                     ((7, 9, 3), 2), ((97, 33, 3), 40), ((16, 16, 1), 20), ((16, 16, 12), 20)]
)  # fmt: skip
def test_odd_sizes(method, shape, n, quantise):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    instance, encoding = encode(method, image, n=n, iterations=3, quantise=quantise, qat_iterations=3)
    decoded = method.from_bytes(instance.to_bytes(encoding))
    decoded.check_finite()
    assert render(decoded).shape == shape
    assert len(decoded) == len(encoding) <= n


@pytest.mark.parametrize("level", [0, 90, 255])
def test_flat_pictures(method, level):
    image = np.full((40, 50, 3), level, np.uint8)
    _, encoding = encode(method, image, n=60, iterations=200)
    encoding.gaussians.check_finite()
    assert psnr(encoding.gaussians, image) > 30


def test_a_picture_that_may_not_be_written_to(method, crop):
    image = crop.copy()
    instance, expected = encode(method, image, n=50, iterations=2)
    image.flags.writeable = False
    _, found = encode(method, image, n=50, iterations=2)
    assert instance.to_bytes(found) == instance.to_bytes(expected)


def test_strided_pictures_are_read_right(method, crop):
    instance, expected = encode(method, np.ascontiguousarray(crop[::2, ::-1]), n=50, iterations=2)
    _, found = encode(method, crop[::2, ::-1], n=50, iterations=2)
    assert instance.to_bytes(found) == instance.to_bytes(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ratio"), [("kodim03", 50), ("kodim15", 200)])
def test_kodak(method, kodak, name, ratio):
    """After 2000 iterations, well above what the start and 200 iterations reach; the presets within 1 dB."""
    from splatbench.datasets import load_image

    image = load_image(kodak / f"{name}.png").pixels
    reached = {}
    for preset in ("corrected", "published"):
        instance = method(method.make_config({"preset": preset}))
        encoding = instance.encode(image, Budget(compression_ratio=ratio, iterations=2000), Trace())
        reached[preset] = psnr(encoding.gaussians, image)
    assert reached["corrected"] == pytest.approx({"kodim03": 33.05, "kodim15": 28.14}[name], abs=0.15)
    assert reached["published"] == pytest.approx(reached["corrected"], abs=1)

"""Whole fits: what they reach, that they repeat, stop, and survive pictures of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from splatbench.budget import Budget
from splatbench.losses import Objective
from splatbench.method import MethodError
from splatbench.render import render
from splatbench.trace import Diverged, Trace

#: The density of 28 000 Gaussians on a Kodak image.
DENSITY = 28_000 / (768 * 512)


@pytest.fixture(scope="module")
def fits(encode, psnr, crop):
    """PSNR of 600 steps with one addition at Kodak's density, by settings; each is run once."""
    known: dict[tuple, float] = {}

    def run(**settings):
        key = tuple(sorted(settings.items()))
        if key not in known:
            _, encoding = encode(crop, round(DENSITY * crop.size / 3), preset="air600", **settings)
            known[key] = psnr(encoding.gaussians, crop)
        return known[key]

    return run


@pytest.mark.slow
def test_exact_gradients_and_target_colours_gain(fits):
    """The published errors cost 0.7 to 0.9 dB and residual colours 0.6 to 1.7 dB on crops of Kodak (128 x 128)."""
    assert fits() > fits(kernels="published") + 0.4
    assert fits(added_colors="target") > fits() + 0.4
    assert fits(kernels="published", added_colors="target") > fits(kernels="published") + 0.4


def test_ablations_lose(fits):
    """Of the paper's ablations those that show on a small picture (start colours are soon forgotten here)."""
    assert fits() > fits(start="random") > 20
    assert fits() > fits(blend="sum") > 20


def test_psnr_rises_and_falls_back_at_additions(encode, psnr, crop):
    taken = {}
    measured = lambda name, encoding: taken.update({name: (len(encoding), psnr(encoding.gaussians, crop))})  # noqa: E731
    trace = Trace(snapshots=[100, 300], on_snapshot=measured)
    _, encoding = encode(crop, 600, trace=trace, preset="air600")
    curve = {i: values["psnr"] for i, _, values in trace.curve}
    assert curve[1] < curve[10] < taken["100"][1] < taken["300"][1]
    assert (taken["100"][0], taken["300"][0], len(encoding)) == (300, 300, 600)
    assert trace.steps == 600
    assert trace.stages.keys() == {"initialise", "fit"}
    drop = min(value for i, value in curve.items() if 300 < i < 330)
    assert drop < taken["300"][1] - 1 < psnr(encoding.gaussians, crop)


def test_same_seed_same_bits_other_seed_other_bits(encode, crop):
    instance, first = encode(crop, 300, 30)
    data = instance.to_bytes(first)
    assert data == instance.to_bytes(encode(crop, 300, 30)[1])
    assert data != instance.to_bytes(encode(crop, 300, 30, seed=2)[1])


def test_a_constant_picture_is_met_up_to_epsilon(encode):
    """Weights sum to S / (S + epsilon), S being the sum of the ten largest responses."""
    image = np.full((48, 40, 3), 200, np.uint8)
    _, encoding = encode(image, 60, 1, color_rate=1e-12, position_rate=1e-12, scale_rate=1e-12)
    y, x = np.mgrid[:48, :40] + 0.5
    means = encoding.gaussians.means.double().numpy()
    squared = (x - means[:, 0, None, None]) ** 2 + (y - means[:, 1, None, None]) ** 2
    s = np.sort(np.exp(-squared / 50), 0)[-10:].sum(0)
    expected = np.repeat((200 / 255 * s / (s + 1e-4))[..., None], 3, 2)
    assert s.min() < 1 < s.max()
    np.testing.assert_allclose(render(encoding.gaussians).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (3, 200, 1), (97, 33, 12), (300, 5, 2)])
def test_odd_sizes_and_channels(method, encode, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    n = min(7, shape[0] * shape[1])
    instance, encoding = encode(image, n, 4)
    back = method.from_bytes(instance.to_bytes(encoding))
    assert (len(back), tuple(render(back).shape)) == (n, shape)
    assert torch.isfinite(render(back)).all()


def test_as_many_gaussians_as_pixels(encode, psnr, crop):
    image = crop[:16, :16].copy()
    _, encoding = encode(image, 256, 60)
    assert len(encoding) == 256 and psnr(encoding.gaussians, image) > 25


def test_grey_and_stacks_are_fitted_like_colours(encode, psnr, crop):
    """Four textures of 10 channels together, and one alone."""
    stack = np.concatenate([crop, crop[::-1], 255 - crop, crop[..., :1]], 2)
    assert psnr(encode(stack, 900, preset="quick")[1].gaussians, stack) > 24
    grey = np.ascontiguousarray(crop[..., :1])
    assert psnr(encode(grey, 900, preset="quick")[1].gaussians, grey) > 28


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 13), np.uint8), "1 to 12 channels, the picture has 13"),
        (np.zeros((8, 8), np.uint8), r"takes uint8 \[H, W, C\]"),
        (np.zeros((8, 8, 3), np.float32), "got float32"),
        (np.zeros((8, 0, 3), np.uint8), r"\[8, 0, 3\]"),
    ],
)
def test_pictures_that_it_cannot_take(encode, image, message):
    with pytest.raises(MethodError, match=message):
        encode(image, 4, 2)


def test_budgets_that_it_cannot_meet(method, encode, crop):
    with pytest.raises(MethodError, match="takes one of gaussians, compression_ratio"):
        method(method.make_config({})).encode(crop, Budget(native=True), Trace())
    with pytest.raises(MethodError, match="96x96 pixels of the picture; ask for fewer"):
        encode(crop, 96 * 96 + 1, 2)


def test_iterations_of_a_budget_are_a_hard_limit_and_meet_the_count(encode, crop):
    for limit in (1, 3, 40):
        trace = Trace()
        _, encoding = encode(crop, 101, limit, trace=trace)
        assert (trace.steps, len(encoding)) == (limit, 101)


def test_time_limit_stops_early(method, crop):
    trace = Trace(seconds=0.2)
    trace.start()
    encoding = method(method.make_config({})).encode(crop, Budget(gaussians=300, seconds=0.2), trace)
    assert 0 < trace.steps < 10_000
    assert len(encoding) in (150, 188, 226, 264, 300)


def test_nan_is_noticed(method, encode, crop, monkeypatch):
    start = method.encode.__globals__["start"]

    def broken(*args):
        parameters = start(*args)
        parameters["colors"][7, 1] = float("nan")
        return parameters

    monkeypatch.setitem(method.encode.__globals__, "start", broken)
    with pytest.raises(Diverged, match="step 1"):
        encode(crop, 50, 5)


def test_scales_that_cross_infinity_do_no_harm(part, encode, psnr, crop, monkeypatch):
    """Large steps of the inverse scales: many change their sign, the fit goes on."""
    model, negative = part("model").Model, []
    call = model.__call__

    def watched(self, parameters):
        negative.append(float((parameters["scales"] < 0).float().mean()))
        return call(self, parameters)

    monkeypatch.setattr(model, "__call__", watched)
    _, encoding = encode(crop, 600, 120, preset="air600", scale_rate=5e-2)
    assert max(negative) > 0.01
    encoding.gaussians.check_finite()
    assert psnr(encoding.gaussians, crop) > 18


def test_the_guard_keeps_scales_from_crossing(encode, crop):
    _, encoding = encode(crop, 600, 120, scale_rate=5e-2, min_inverse_scale=1e-2)
    assert encoding.gaussians.scales.max() <= 100.001
    assert (encoding.gaussians.scales > 99).any()


def test_direct_scales(encode, psnr, crop):
    _, encoding = encode(crop, 600, preset="quick", inverse_scale=False)
    assert psnr(encoding.gaussians, crop) > 20
    assert encoding.gaussians.scales.max() < 6  # steps of 2e-3 px go nowhere far from 5 px


def test_gamma_fits_another_power_of_the_same_picture(method, encode, psnr):
    """A night picture: fitted in its root or its square, shown as it is."""
    image = np.ascontiguousarray(data.astronaut()[100:180, 150:230])
    for gamma in (0.5, 2.0):
        instance, encoding = encode(image, 500, preset="quick", gamma=gamma)
        back = method.from_bytes(instance.to_bytes(encoding))
        assert back.gamma == gamma
        assert psnr(back, image) == psnr(encoding.gaussians, image) > 24


class Optimiser:
    def __init__(self):
        self.param_groups = [{"lr": 1.0}]


def test_early_stop_drops_the_rates_then_ends(method, part):
    stop, optimiser = part("fit").EarlyStop(method.make_config({})), Optimiser()
    stop.take(30.0, 0.8, optimiser)
    looks = 0
    for quality, ssim in [(30.1, 0.9), (30.2, 0.801)] * 100:  # PSNR not above + 0.1, or SSIM not above + 0.001
        stop.take(quality, ssim, optimiser)
        looks += 1
        if looks == 9:
            assert optimiser.param_groups[0]["lr"] == 1.0
        if looks == 10:
            assert optimiser.param_groups[0]["lr"] == 0.1 and not stop.over
        if stop.over:
            break
    assert looks == 20 and optimiser.param_groups[0]["lr"] == 0.1


def test_a_gain_of_both_starts_the_patience_anew(method, part):
    stop, optimiser = part("fit").EarlyStop(method.make_config({})), Optimiser()
    for i in range(200):
        stop.take(30 + 0.2 * (i // 9), 0.5 + 0.002 * (i // 9), optimiser)
    assert optimiser.param_groups[0]["lr"] == 1.0 and not stop.over


def test_early_stop_waits_for_the_last_addition_and_ends_the_fit(encode, crop):
    image = np.full((40, 40, 3), 128, np.uint8)
    trace = Trace()
    settings = {"preset": "quick", "post_min_steps": 5000, "evaluate_every": 10, "patience": 50, "min_psnr_gain": 1e3}
    encode(image, 100, trace=trace, **settings)
    # The last addition is after step 100; five looks without a gain lower the rates, five more end the fit.
    assert trace.steps == 200
    trace = Trace()
    encode(image, 100, 230, trace=trace, **settings | {"early_stop": False})
    assert trace.steps == 230


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("kodim03", {}, 35.89),
        ("kodim03", {"kernels": "published"}, 34.76),
        ("kodim01", {}, 27.56),
        ("kodim01", {"kernels": "published"}, 27.04),
    ],
)
def test_kodak(encode, psnr, kodak, name, settings, expected):
    """N = 28 000, 600 steps: what this code measured when it was written; roundings alone move it by 0.1 dB."""
    from splatbench.datasets import load_image

    image = load_image(kodak / f"{name}.png").pixels
    _, encoding = encode(image, 28_000, preset="air600", **settings)
    assert psnr(encoding.gaussians, image) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("gamma", [1.0, 2.2])
def test_early_stop_looks_at_what_is_shown(method, gamma):
    """PSNR and SSIM of the picture as a decoder draws it, also where another power of it is fitted."""
    names = method.encode.__globals__
    image = np.ascontiguousarray(data.astronaut()[100:148, 200:264])
    config = method.make_config({"gamma": gamma}).resolved()
    model = names["Model"](config, (48, 64))
    parameters = names["start"](image, 120, config, np.random.default_rng(0))
    quality, ssim = names["fit"].__globals__["Look"](model, image, "cpu")(parameters)
    shown = render(model.gaussians(parameters)).clamp(0, 1)
    assert quality == pytest.approx(-10 * np.log10(np.square(shown.numpy() - image / 255).mean()), abs=1e-3)
    assert ssim == pytest.approx(1 - Objective(ssim=1.0)(shown, torch.from_numpy(image)).item(), abs=1e-5)

"""Whole encodings: starts, fine-tuning, snapshots, limits, files."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.codec import BitstreamError
from splatbench.method import MethodError
from splatbench.render import render
from splatbench.trace import Diverged, Trace


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values(), strict=True))


def test_feed_forward_is_the_chain_of_its_parts(method, part, encode, crop, small_weights):
    """Networks, sampling, gathering: put together here again."""
    _, made = encode(crop, 300, weights=str(small_weights), sampling="distinct", min_scale=0.0, seed=5)
    model = part("model").load_small(small_weights)
    image = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        count = torch.tensor([[300 * 512 * 512 / 96**2]])
        heat, maps = model.heat(image, count)[0, 0], model.attributes(image, count)
        pixels = part("sampling").sample(heat, 300, "distinct", np.random.default_rng(5))
        p = part("gather").gather(maps, torch.from_numpy(pixels), "exact")
    expected = render(part("gather").Blending().gaussians(p, (96, 96)))
    assert len(made) == 300 and made.blend == "topk" and not made.compat
    torch.testing.assert_close(render(made), expected, atol=1e-6, rtol=0)


def test_the_condition(method, part, encode, crop, small_weights, monkeypatch):
    seen = []
    propose = part("start")
    monkeypatch.setattr(propose, "sample", lambda *_: np.arange(100))
    original = part("unet").HeatNet.forward
    monkeypatch.setattr(
        part("unet").HeatNet, "forward", lambda self, x, k: (seen.append(k.item()), original(self, x, k))[1]
    )
    for condition in ("plain", "equivalent"):
        encode(crop, 100, weights=str(small_weights), condition=condition)
    assert seen == [100.0, pytest.approx(100 * 512 * 512 / 96**2)]


def test_fine_tuning_from_gradients(encode, psnr, crop):
    trace = Trace(snapshots=["init", 30], on_snapshot=lambda name, made: made_at.update({name: made}))
    made_at = {}
    _, made = encode(crop, 700, 60, start="gradient", trace=trace)
    qualities = [psnr(g, crop) for g in (made_at["init"], made_at["30"], made)]
    assert qualities[0] > 18 and qualities[1] > qualities[0] + 4 and qualities[2] > qualities[1] + 0.5
    assert trace.steps == 60 and set(trace.stages) == {"initialise", "fit"}
    assert float(made.scales.min()) >= 0.05 - 1e-6
    one_step = encode(crop, 700, 1, start="gradient")[1]
    curve = {step: values["psnr"] for step, _, values in trace.curve}
    assert psnr(made_at["init"], crop) == pytest.approx(curve[1], abs=0.7)  # the curve is of unclamped pictures
    assert not same(one_step, made_at["init"])


def test_the_published_recipe_decays_weights_and_plateaus(method, part, crop):
    """AdamW shrinks by lr times decay in every step; a parameter without gradient shows it alone."""
    config = method.make_config({"preset": "paper512"}).resolved()
    parameters = part("gather").Parameters(torch.rand(3, 2), torch.rand(3, 2), torch.rand(3, 3), torch.rand(3))
    leaves = part("fit").leaves(parameters)
    optimiser = part("fit").make_optimiser(leaves, config)
    before = [value.detach().clone() for value in leaves]
    for value in leaves:
        value.grad = torch.zeros_like(value)
    optimiser.step()
    for value, old in zip(leaves, before, strict=True):
        torch.testing.assert_close(value.detach(), old * (1 - 2e-3 * 0.05), rtol=1e-6, atol=0)
    assert (config.iterations, config.gradient, config.tiles_3sigma, config.sampling) == (
        3000, "published", True, "replacement",
    )  # fmt: skip


def test_rates_fall_when_nothing_is_gained(method, part, encode, crop, monkeypatch):
    rates = []
    original = part("fit").make_optimiser

    def spied(*args):
        optimiser = original(*args)
        step = optimiser.step
        optimiser.step = lambda *a: (rates.append(optimiser.param_groups[2]["lr"]), step(*a))[1]
        return optimiser

    monkeypatch.setattr(part("fit"), "make_optimiser", spied)
    encode(crop[:24, :24], 20, 12, start="gradient", plateau_patience=3, plateau_threshold=0.9)
    assert rates[:5] == [5e-3] * 5 and rates[5] == pytest.approx(5e-3 * 0.7) and rates[9] == pytest.approx(5e-3 * 0.49)


@pytest.mark.parametrize("start", ["gradient", "random", "network"])
def test_the_seed_decides(encode, crop, small_weights, start):
    settings = {"start": start} | ({"weights": str(small_weights)} if start == "network" else {})
    first, again, other = (encode(crop, 200, 3, seed=s, **settings)[1] for s in (4, 4, 5))
    assert same(first, again) and not same(first, other)


def test_random_start_is_the_published_control(encode, crop):
    made = encode(crop, 4000, start="random", min_scale=0.0)[1]
    for values, top in ((made.means, 96), (made.scales, 1), (made.colors, 1), (made.angles, 1)):
        assert 0 <= float(values.min()) < 0.02 * top and 0.98 * top < float(values.max()) <= top
        assert float(values.mean()) == pytest.approx(top / 2, rel=0.04)


@pytest.mark.parametrize("start", ["gradient", "network"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 5), (33, 50)])
def test_pictures_of_any_size(encode, photograph, small_weights, start, size):
    image = np.ascontiguousarray(photograph[: size[0], : size[1]])
    settings = {"start": start} | ({"weights": str(small_weights)} if start == "network" else {})
    for count in {1, size[0] * size[1]}:
        _, made = encode(image, count, 2, **settings)
        assert len(made) == count and made.size == size
        made.check_finite()


def test_flat_pictures(encode, psnr, small_weights):
    flat = np.full((40, 32, 3), 90, np.uint8)
    assert psnr(encode(flat, 60, 40, start="gradient")[1], flat) > 30
    encode(flat, 60, 5, weights=str(small_weights))[1].check_finite()


def test_replacement_says_how_many_are_different(encode, crop, small_weights):
    trace = Trace()
    _, made = encode(crop, 3000, weights=str(small_weights), sampling="replacement", trace=trace)
    share = len({tuple(row) for row in torch.cat([made.means, made.colors], 1).tolist()}) / 3000
    assert f"{100 * share:.1f} % of the draws are different pixels" in " ".join(trace.notes)
    assert 0.6 < share < 0.95
    assert set(trace.stages) == {"networks", "sampling", "gathering"}


def test_time_limit_stops_early(method, crop):
    trace = Trace(seconds=0.2)
    trace.start()
    budget = Budget(gaussians=300, iterations=100_000, seconds=0.2)
    made = method(method.make_config({"start": "gradient"})).encode(crop, budget, trace)
    assert trace.steps < 100_000 and len(made) == 300


def test_nan_is_noticed(method, part, encode, crop, small_weights, tmp_path):
    model = part("model").load_small(small_weights)
    with torch.no_grad():
        model.attributes.out_conv[4].bias.fill_(100.0)
        model.attributes.out_conv[6].weight[8:12] = 3e38  # of a scale, finite in the file
    path = tmp_path / "broken.safetensors"
    part("model").save_small(path, model)
    with pytest.raises(Diverged, match="NaN or infinite"):
        encode(crop, 50, weights=str(path))


def test_files_hold_the_gaussians_bit_for_bit(method, encode, crop):
    instance, made = encode(crop, 400, 5, start="gradient", tiles_3sigma=True, k=7, epsilon=1e-3)
    read = method.from_bytes(instance.to_bytes(made))
    assert same(made, read) and read.topk == dataclasses.replace(made.topk, k=7, epsilon=1e-3)
    assert read.compat == {"tiles_3sigma"} and read.blend == "topk" and read.size == (96, 96)
    assert instance.nominal_bits(made) == 400 * 8 * 32
    with pytest.raises(BitstreamError):
        method.from_bytes(instance.to_bytes(made)[:-9])


def test_the_published_protocol_notes_other_sizes(encode, crop):
    trace = Trace()
    encode(crop, 50, 1, preset="paper512", start="random", trace=trace)
    assert "this one has 96x96" in " ".join(trace.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": -1}, "iterations must not be negative"),
        ({"weight_decay": float("nan")}, "weight_decay must not be negative, got nan"),
        ({"color_rate": 0.0}, "color_rate must be positive"),
        ({"plateau_factor": 1.0}, "plateau_factor must be between 0 and 1"),
        ({"random_fraction": 1.5}, r"random_fraction must be in \[0, 1\]"),
        ({"heat_weights": "a.pth"}, "use weights"),
        ({"preset": "official", "weights": "a"}, "use heat_weights and attribute_weights"),
        ({"k": 0}, "k must be at least 1"),
        ({"sampling": "grid"}, "sampling"),
    ],
)
def test_settings_are_checked(method, settings, message):
    with pytest.raises(MethodError, match=message):
        method.make_config(settings)


def test_budgets_that_it_cannot_meet(encode, method, crop):
    with pytest.raises(MethodError, match="takes one of gaussians, compression_ratio"):
        method(method.make_config({"start": "random"})).encode(crop, Budget(native=True), Trace())
    with pytest.raises(MethodError, match="ask for fewer"):
        encode(crop, 96 * 96 + 1, start="random")

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch.nn import functional

#: What the released constants give without an offset of the network: step, range, and the steps at its largest offsets.
PUBLISHED = {
    "dx": (0.046603, (-6.796, 5.088), (0.0285, 0.0757)),
    "dy": (0.048483, (-6.048, 6.316), (0.0297, 0.0787)),
    "s1": (0.050753, (0.493, 6.939), (0.0311, 0.0824)),
    "s2": (0.038473, (0.503, 5.389), (0.0235, 0.0627)),
    "angle": (0.035543, (1.016, 5.529), (0.0217, 0.0579)),
    "Y": (0.004655, (-0.255, 0.932), (0.0028, 0.0077)),
    "Cr": (0.017012, (-0.069, 0.186), (0.0104, 0.0279)),
    "Cb": (0.012094, (-0.127, 0.054), (0.0074, 0.0199)),
}


@pytest.fixture(scope="module")
def quantiser(part):
    return part("quantiser")


@pytest.fixture(scope="module")
def predicted(part):
    """Values of n Gaussians as a network might say them, float32."""

    def make(n: int, seed: int = 1, patch: int = 7):
        generator = torch.Generator().manual_seed(seed)
        return part("patches").activate(torch.randn(n, 8, generator=generator), patch)

    return make


def with_offsets(codec, scale: float, shift: float):
    """The codec with a layer that says 0.5 tanh(scale), 0.5 tanh(shift) for every picture."""
    for group in codec.groups:
        torch.nn.init.zeros_(group.offset_net.weight)
        group.offset_net.bias.data.copy_(torch.tensor([scale, shift]).repeat(len(group.bits_per_channel)))
    return codec


def test_published_constants_give_the_published_ranges(quantiser, predicted):
    codec = with_offsets(quantiser.Codec(), 0, 0)
    step, low = (value.detach() for value in codec.ranges(predicted(3), torch.randn(768)))
    levels = torch.cat([group.qmax_per_channel for group in codec.groups])
    assert levels.tolist() == [255, 255, 127, 127, 127, 255, 15, 15]
    for j, (expected, ends, _) in enumerate(PUBLISHED.values()):
        assert float(step[j]) == pytest.approx(expected, abs=1e-6)
        assert (float(low[j]), float(low[j] + levels[j] * step[j])) == pytest.approx(ends, abs=1e-3)


def test_the_network_moves_step_and_shift_by_less_than_a_half(quantiser, predicted):
    summary = torch.randn(2, 768)
    still = with_offsets(quantiser.Codec(), 0, 0).ranges(predicted(3), summary)
    for sign, end in ((-1, 0), (1, 1)):
        step, low = with_offsets(quantiser.Codec(), 50.0 * sign, -50.0 * sign).ranges(predicted(3), summary)
        assert step.shape == low.shape == (2, 8)
        assert step[0].tolist() == pytest.approx([steps[end] for _, _, steps in PUBLISHED.values()], abs=6e-5)
        torch.testing.assert_close(low, still.low - 0.5 * sign, atol=1e-6, rtol=0)


def test_pairs_of_the_layer_belong_to_channels(quantiser, predicted):
    """Output 2c of a group moves the raw scale of its channel c, output 2c + 1 its shift."""
    codec = with_offsets(quantiser.Codec(), 0, 0)
    still = codec.ranges(predicted(3), torch.zeros(768))
    codec.color_quantizer.offset_net.bias.data[2] = 1.0
    codec.scaling_quantizer.offset_net.bias.data[1] = 1.0
    step, low = (value.detach() for value in codec.ranges(predicted(3), torch.zeros(768)))
    assert (step != still.step).nonzero().flatten().tolist() == [6]
    assert (low != still.low).nonzero().flatten().tolist() == [2]
    assert float(low[2] - still.low.detach()[2]) == pytest.approx(0.5 * np.tanh(1.0), abs=1e-6)


def test_weights_hold_what_the_released_ones_do(quantiser):
    names = {"xy_quantizer": 2, "scaling_quantizer": 2, "rotation_quantizer": 1, "color_quantizer": 3}
    expected = {}
    for name, c in names.items():
        expected |= {
            f"{name}.{buffer}": (c,) for buffer in ("bits_per_channel", "qmin_per_channel", "qmax_per_channel")
        }
        expected |= {f"{name}.offset_net.weight": (2 * c, 768), f"{name}.offset_net.bias": (2 * c,)}
    state = quantiser.Codec().state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == expected
    assert {str(v.dtype) for n, v in state.items() if n.endswith("bits_per_channel")} == {"torch.int32"}


@pytest.mark.parametrize("kind", ["adaptive", "global", "per_image"])
def test_training_sees_what_is_decoded_to_the_bit(quantiser, part, predicted, kind):
    torch.manual_seed(3)
    codec, values = quantiser.Codec(16, kind=kind), predicted(700)
    ranges = codec.ranges(values, torch.randn(16))
    codes = codec.quantise(values, ranges)
    seen, _ = codec.straight_through(values, ranges)
    for name, decoded in part("channels").dequantise(codes, ranges)._asdict().items():
        assert torch.equal(getattr(seen, name), decoded), name


def test_halves_are_rounded_to_even(quantiser, part):
    ranges = part("channels").Ranges(torch.full((8,), 0.25), torch.zeros(8))
    positions = torch.tensor([0.5, 1.5, 2.5, 3.5, -0.5, 99.5])
    values = part("patches").Values(*(torch.zeros(6, 2), torch.zeros(6, 2), positions * 0.25, torch.zeros(6, 3)))
    assert quantiser.Codec(4).quantise(values, ranges)[:, 4].tolist() == [0, 2, 2, 4, 0, 100]


@given(n=st.integers(1, 60), seed=st.integers(0, 2**31), kind=st.sampled_from(["adaptive", "global", "per_image"]))
def test_error_is_at_most_half_a_step_and_what_is_outside_goes_to_the_end(quantiser, part, predicted, n, seed, kind):
    torch.manual_seed(seed)
    codec, values = quantiser.Codec(8, kind=kind), predicted(n, seed)
    ranges = codec.ranges(values, torch.randn(8))
    codes = codec.quantise(values, ranges)
    x = part("channels").to_channels(values).detach().double()
    step, low = (value.detach().double() for value in ranges)
    high = low + step * torch.cat([group.qmax_per_channel for group in codec.groups])
    decoded = torch.from_numpy(codes.astype(np.float64)) * step + low
    assert ((decoded - x.clamp(low, high)).abs() <= 0.5 * step * (1 + 1e-4) + 1e-6).all()
    if kind == "per_image":
        assert (x >= low).all() and (x <= high + 1e-6).all()


def test_range_of_the_image_is_its_minimum_and_maximum(quantiser, part, predicted):
    codec, values = quantiser.Codec(kind="per_image"), predicted(200)
    step, low = codec.ranges(values, torch.zeros(0))
    x = part("channels").to_channels(values).numpy()
    levels = 2.0 ** np.array([8, 8, 7, 7, 7, 8, 4, 4]) - 1
    np.testing.assert_array_equal(low.numpy(), x.min(0))
    np.testing.assert_allclose(step.numpy(), (x.max(0) - x.min(0)) / levels, rtol=1e-6)
    assert not list(codec.parameters())


@pytest.mark.parametrize("n", [0, 1, 5])
def test_constant_channels_and_few_gaussians(quantiser, part, n):
    """A channel without a range is coded exactly; none at all gives ranges that can be stored."""
    one = part("patches").activate(torch.linspace(-1, 1, 8), 7)
    values = part("patches").Values(*(value.expand(n, *value.shape) for value in one))
    codec = quantiser.Codec(kind="per_image")
    ranges = codec.ranges(values, torch.zeros(0))
    codes = codec.quantise(values, ranges)
    assert codes.shape == (n, 8) and not codes.any()
    assert (ranges.step == 1e-8).all() and all(value.isfinite().all() for value in ranges)
    for name, decoded in part("channels").dequantise(codes, ranges)._asdict().items():
        torch.testing.assert_close(decoded, getattr(values, name), atol=1e-6, rtol=0)
    seen, penalty = codec.straight_through(values, ranges)
    assert seen.angles.shape == (n,) and float(penalty) == pytest.approx(0, abs=1e-7)


def reference(x: torch.Tensor, summary: torch.Tensor, codec, base) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(decoded channels, penalty, codes before rounding) in float64, gradients by autograd from the formulas."""
    bits = torch.tensor(base.bits, dtype=torch.float64)
    weight = torch.cat([group.offset_net.weight for group in codec.groups]).double()
    bias = torch.cat([group.offset_net.bias for group in codec.groups]).double()
    moved = 0.5 * torch.tanh(weight @ summary.double() + bias)
    step = torch.log1p(torch.exp(torch.tensor(base.raw_scale, dtype=torch.float64) + moved[0::2])) + 1e-8
    low = torch.tensor(base.shift, dtype=torch.float64) + moved[1::2]
    position = torch.minimum(torch.relu((x.double() - low) / step), 2**bits - 1)
    decoded = (torch.round(position.detach()) - position.detach() + position) * step + low
    groups = ([0, 1], [2, 3], [4], [5, 6, 7])
    return decoded, 0.01 * sum((decoded[:, g] - x.double()[:, g]).abs().mean() for g in groups), position


def test_gradients_equal_those_of_a_float64_reference(quantiser, part, predicted):
    """Of decoded values and penalty, with respect to values and the offset layers."""
    torch.manual_seed(5)
    codec, channels = quantiser.Codec(12), part("channels")
    summary, x = torch.randn(12), channels.to_channels(predicted(400))
    _, _, position = reference(x, summary, codec, quantiser.PUBLISHED)
    levels = 2.0 ** torch.tensor(quantiser.PUBLISHED.bits) - 1
    # A rounding or a clamp that float32 decides otherwise is no error of a gradient.
    clear = (((position % 1) - 0.5).abs() > 1e-3).all(1)
    x = x[clear].detach().requires_grad_()
    outside = (position[clear] <= 0) | (position[clear] >= levels)
    assert 0.02 < float(outside.float().mean()) < 0.9  # both sides of the clamp are tried
    weights = torch.randn(8, dtype=torch.float64)
    layers = [p for group in codec.groups for p in group.parameters()]

    decoded, penalty, _ = reference(x, summary, codec, quantiser.PUBLISHED)
    rgb = torch.cat([decoded[:, :5], channels.to_rgb(decoded[:, 5:])], 1)
    expected = torch.autograd.grad((rgb * weights).sum() + 300 * penalty, [x, *layers])
    values = channels.from_channels(x)
    seen, lost = codec.straight_through(values, codec.ranges(values, summary))
    assert lost.item() == pytest.approx(penalty.item(), rel=1e-4)
    found = torch.cat([seen.offsets, seen.scales, seen.angles[:, None], seen.colors], 1)
    total = (found * weights.float()).sum() + 300 * lost
    for one, other in zip(torch.autograd.grad(total, [x, *layers]), expected, strict=True):
        torch.testing.assert_close(one, other.float(), atol=2e-3, rtol=1e-3)


def test_steps_receive_the_rounding_error(quantiser, part, predicted):
    """In closed form: dx^/dx 1 inside and 0 outside, dx^/dstep the rounding error and the end, dx^/dlow 0 and 1."""
    codec, channels = quantiser.Codec(4), part("channels")
    x = channels.to_channels(predicted(50)).detach()
    step, low = torch.full((8,), 0.125), torch.full((8,), 0.25)
    leaves = [tensor.requires_grad_() for tensor in (x, step, low)]
    values = part("patches").Values(x[:, :2], x[:, 2:4], x[:, 4], torch.zeros(50, 3))
    seen, _ = codec.straight_through(values, channels.Ranges(step, low))
    dx, dstep, dlow = torch.autograd.grad(seen.offsets.sum() + seen.angles.sum(), leaves)
    position = ((x - low) / step).detach()
    levels = torch.tensor([255.0, 255, 127, 127, 127])
    inside = (position[:, :5] > 0) & (position[:, :5] < levels)
    columns = [0, 1, 4]
    assert torch.equal(dx[:, columns], inside[:, columns].float())
    per_row = torch.where(
        inside, torch.round(position[:, :5]) - position[:, :5], position[:, :5].clamp_min(0).minimum(levels)
    )
    torch.testing.assert_close(dstep[columns], per_row.sum(0)[columns], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(dlow[columns], (~inside).sum(0).float()[columns])


def test_ranges_have_the_slope_that_finite_differences_see(quantiser, predicted):
    torch.manual_seed(2)
    codec, values, summary = quantiser.Codec(6), predicted(3), torch.randn(6)
    factors = torch.randn(2, 8)

    def total() -> torch.Tensor:
        step, low = codec.ranges(values, summary)
        return (step.double() * factors[0]).sum() * 20 + (low.double() * factors[1]).sum()

    for group in codec.groups:
        total().backward()
        for parameter in group.parameters():
            at, h = parameter.data.view(-1), 2e-2
            kept = float(at[1])
            at[1] = kept + h
            above = total().item()
            at[1] = kept - h
            below = total().item()
            at[1] = kept
            assert float(parameter.grad.view(-1)[1]) == pytest.approx((above - below) / (2 * h), rel=5e-3, abs=1e-4)
        codec.zero_grad()


def test_global_ranges_are_parameters_that_start_at_the_base(quantiser, predicted):
    codec, values = quantiser.Codec(16, kind="global"), predicted(300)
    step, low = codec.ranges(values, torch.full((16,), float("nan")))  # the summary is not looked at
    expected = functional.softplus(torch.tensor(quantiser.PUBLISHED.raw_scale)) + 1e-8
    torch.testing.assert_close(step, expected)
    assert low.tolist() == pytest.approx(quantiser.PUBLISHED.shift)
    _, penalty = codec.straight_through(values, codec.ranges(values, torch.zeros(16)))
    penalty.backward()
    assert all(bool(p.grad.any()) for p in codec.parameters()) and len(list(codec.parameters())) == 8


def test_base_from_predictions_covers_its_percentiles(quantiser, part, predicted):
    values = predicted(5000)
    base = quantiser.Base.estimate(values, percentiles=(1, 99), bits=(6, 6, 5, 5, 5, 6, 3, 3))
    x = part("channels").to_channels(values).numpy()
    codec = quantiser.Codec(4, base, "global")
    step, low = codec.ranges(values, torch.zeros(4))
    low_end, high_end = np.percentile(x, (1, 99), axis=0)
    levels = 2.0 ** np.array(base.bits) - 1
    np.testing.assert_allclose(low.detach().numpy(), low_end, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((low + step * torch.from_numpy(levels).float()).detach().numpy(), high_end, rtol=1e-4)
    codes = codec.quantise(values, codec.ranges(values, torch.zeros(4)))
    assert codes.max(0).tolist() == levels.tolist()
    assert quantiser.Base.from_dict(base.as_dict()) == base


def test_base_says_what_is_wrong(quantiser, predicted):
    numbers = quantiser.PUBLISHED.as_dict()
    for change, message in (
        ({"shift": [0.0] * 7}, "shift must be 8"),
        ({"raw_scale": [float("nan")] * 8}, "raw_scale must be 8 finite"),
        ({"bits": [9] * 8}, "1 to 8"),
        ({"bits": [7.5] * 8}, "whole numbers"),
        ({"shift": ["a"] * 8}, "lists of numbers"),
        ({"step": [1.0] * 8}, "lists of numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            quantiser.Base.from_dict(numbers | change)
    with pytest.raises(ValueError, match="at least one Gaussian"):
        quantiser.Base.estimate(predicted(0))
    flat = quantiser.Base.estimate(predicted(1))  # every channel has one value: the smallest step, still finite
    assert torch.isfinite(torch.tensor(flat.raw_scale)).all()


@pytest.mark.parametrize("kind", ["adaptive", "global", "per_image"])
def test_other_ranges_to_start_from(quantiser, predicted, kind):
    """As if the codec had been made with them; learned layers stay."""
    torch.manual_seed(6)
    base, values, summary = quantiser.Base.estimate(predicted(900, seed=2)), predicted(30), torch.randn(5)
    changed, made = quantiser.Codec(5, kind=kind), quantiser.Codec(5, base, kind)
    layers = {name: value.clone() for name, value in changed.state_dict().items() if "offset_net" in name}
    changed.rebase(base)
    made.load_state_dict(layers, strict=False)
    for one, other in zip(changed.ranges(values, summary), made.ranges(values, summary), strict=True):
        assert torch.equal(one, other)
    assert changed.base == base
    with pytest.raises(ValueError, match="not for"):
        changed.rebase(quantiser.Base(base.raw_scale, base.shift, (4,) * 8))


def test_unknown_kinds_of_range_are_refused(quantiser):
    with pytest.raises(ValueError, match="one of .*got 'fixed'"):
        quantiser.Codec(5, kind="fixed")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(quantiser, predicted, bad):
    codec, values = quantiser.Codec(8, kind="global"), predicted(4)
    ranges = codec.ranges(values, torch.zeros(8))
    values.scales[2, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        codec.quantise(values, ranges)


def test_weights_with_other_levels_than_a_byte_are_refused(quantiser, predicted):
    codec, values = quantiser.Codec(8, kind="global"), predicted(40)
    codec.rotation_quantizer.qmax_per_channel.fill_(1000)
    codec.rotation_quantizer.raw_scale.data.fill_(-9)
    with pytest.raises(ValueError, match="outside 0 to 255"):
        codec.quantise(values, codec.ranges(values, torch.zeros(8)))

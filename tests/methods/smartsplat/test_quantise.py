from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st


def grids_of(part, bits=(12, 7, 7, 9), side=768):
    return part("quantise").Grids(side, *bits)


def random_values(part, seed, n=500, side=768, channels=3):
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    return part("model").Activated(
        means=uniform(n, 2) * side,
        scales=torch.exp2(uniform(n, 2) * 9 - 3),
        theta=uniform(n) * 2 * math.pi,
        colors=uniform(n, channels) * 3 - 1,
    )


def covariance(values):
    v1, v2 = values.scales.double().square().unbind(1)
    cos, sin = torch.cos(values.theta.double()), -torch.sin(values.theta.double())
    return torch.stack([cos * cos * v1 + sin * sin * v2, cos * sin * (v1 - v2), sin * sin * v1 + cos * cos * v2], 1)


@given(
    bits=st.tuples(*[st.integers(1, 16)] * 4),
    seed=st.integers(0, 1000),
    side=st.sampled_from([1, 768, 16_320]),
    channels=st.integers(1, 4),
)
def test_codes_of_values_of_codes_are_the_codes(part, bits, seed, side, channels):
    """Whatever a file can hold comes back; the larger scale is first, and circles have no angle."""
    random = np.random.default_rng(seed)
    draw = lambda width, *shape: torch.from_numpy(random.integers(0, 2**width, shape, dtype=np.int32))  # noqa: E731
    scales = draw(bits[1], 40, 2).sort(1, descending=True).values
    angles = torch.where(scales[:, 0] == scales[:, 1], 0, draw(bits[2], 40))
    codes = part("quantise").Codes(draw(bits[0], 40, 2), scales, angles, draw(bits[3], 40, channels))
    grids = grids_of(part, bits, side)
    again = grids.codes(grids.values(codes))
    for name, value in vars(codes).items():
        assert torch.equal(getattr(again, name), value), name


def test_rounding_moves_nothing_by_more_than_half_a_step(part):
    grids = grids_of(part)
    values = random_values(part, 0)
    rounded = grids.values(grids.codes(values))
    assert (rounded.means - values.means).abs().max() <= 0.5 * 960 / 4096 * 1.001
    larger, smaller = values.scales.amax(1), values.scales.amin(1)
    for found, expected in ((rounded.scales[:, 0], larger), (rounded.scales[:, 1], smaller)):
        assert torch.log2(found / expected).abs().max() <= 0.5 / 8 * 1.001
    to_luma = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.0, -0.5], [-0.25, 0.5, -0.25]])
    assert ((rounded.colors - values.colors) @ to_luma.T).abs().max() <= 0.5 / 64 * 1.001
    # the angle of the larger axis, modulo half a turn
    axis = torch.where(values.scales[:, 0] < values.scales[:, 1], values.theta - math.pi / 2, values.theta)
    off = torch.remainder(rounded.theta - axis + math.pi / 2, math.pi) - math.pi / 2
    anisotropic = rounded.scales[:, 0] != rounded.scales[:, 1]
    assert off[anisotropic].abs().max() <= 0.5 * math.pi / 128 * 1.01


def test_fine_codes_keep_the_covariance(part):
    """The exchange of axes and half turns are free: the covariance is the same."""
    values = random_values(part, 1)
    grids = grids_of(part, (16, 16, 16, 16))
    difference = covariance(grids.values(grids.codes(values))) - covariance(values)
    trace = covariance(values)[:, [0, 2]].sum(1, keepdim=True)
    assert (difference.abs() / trace).max() < 5e-4


def test_equal_gaussians_have_equal_codes(part):
    values = random_values(part, 2)
    turned = part("model").Activated(
        values.means, values.scales.flip(1), values.theta + math.pi / 2 + math.pi, values.colors
    )
    first, second = (grids_of(part).codes(v) for v in (values, turned))
    for name in ("positions", "scales", "colours"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    off = (first.angles - second.angles).abs()
    assert (torch.minimum(off, 128 - off) <= 1).all()  # rounding of theta may fall on either side
    assert (off == 0).float().mean() > 0.99


def test_beyond_a_grid_is_its_end(part):
    values = part("model").Activated(
        means=torch.tensor([[-500.0, 2000.0]]),
        scales=torch.tensor([[0.0, 1e9]]),
        theta=torch.tensor([0.3]),
        colors=torch.tensor([[9.0, 9.0, 9.0]]),
    )
    codes = grids_of(part).codes(values)
    assert codes.positions.tolist() == [[0, 4095]]
    assert codes.scales.tolist() == [[127, 0]]
    assert codes.colours[0, 0] == 511
    back = grids_of(part).values(codes)
    assert back.means[0].tolist() == pytest.approx([-96, 864 - 960 / 4096])
    assert back.scales[0, 1] == 2**-4


@pytest.mark.parametrize(
    ("size", "ratio", "bits"), [((512, 768), 50, 12), ((512, 768), 200, 11), ((12288, 16320), 50, 16), ((1, 1), 1, 6)]
)
def test_positions_are_as_fine_as_the_base_scale_asks(method, part, size, ratio, bits):
    count = max(1, int(3 * size[0] * size[1] / (7 * ratio)))
    grids = part("quantise").Grids.of(method.make_config({}), size, count)
    step, base = 1.25 * max(size) / 2**grids.position_bits, part("initialise").base_scale(count, size)
    assert grids.position_bits == bits
    assert grids.position_bits == 16 or base / 16 < step <= base / 8
    fixed = part("quantise").Grids.of(method.make_config({"position_bits": 9}), size, count)
    assert fixed.bits == (9, 7, 7, 9)

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given


@pytest.fixture(scope="module")
def channels(part):
    return part("channels")


def test_luma_and_chroma_are_those_of_bt601(channels):
    """Grey has no chroma; each primary against the definition Cr = (R - Y) / 1.402, Cb = (B - Y) / 1.772."""
    rgb = torch.tensor([[0.4, 0.4, 0.4], [1, 0, 0], [0, 1, 0], [0, 0, 1], [-0.3, 0.9, 0.2]], dtype=torch.float64)
    y = rgb @ torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    expected = torch.stack([y, (rgb[:, 0] - y) / 1.402, (rgb[:, 2] - y) / 1.772], 1)
    torch.testing.assert_close(channels.to_ycrcb(rgb), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(channels.to_rgb(expected), rgb, atol=2e-6, rtol=0)


@given(rgb=arrays.arrays(np.float32, (7, 3), elements=st.floats(-1, 1, width=32)))
def test_colours_come_back_without_a_clamp(channels, rgb):
    there = channels.to_ycrcb(torch.from_numpy(rgb) * 3)
    torch.testing.assert_close(channels.to_rgb(there), torch.from_numpy(rgb) * 3, atol=6e-6, rtol=0)


def test_order_of_the_channels(channels, part):
    values = part("patches").Values(
        torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([5.0]), torch.tensor([[0.5, 0.5, 0.5]])
    )
    x = channels.to_channels(values)
    torch.testing.assert_close(x, torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 0.5, 0.0, 0.0]]), atol=1e-6, rtol=0)
    for back, value in zip(channels.from_channels(x), values, strict=True):
        torch.testing.assert_close(back, value, atol=1e-6, rtol=0)


def test_dequantised_values_are_one_rounding_per_operation(channels):
    """Against numpy float32 by hand, to the bit; a library that fuses multiplication and addition would differ."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 256, (500, 8), np.uint8)
    step = rng.uniform(1e-3, 0.1, 8).astype(np.float32)
    low = rng.uniform(-7, 1, 8).astype(np.float32)
    values = channels.dequantise(codes, channels.Ranges(torch.from_numpy(step), torch.from_numpy(low)))
    x = [np.float32(c) * step[j] + low[j] for j, c in enumerate(codes.T.astype(np.float32))]
    green = (x[5] - np.float32(0.344136) * x[7]) - np.float32(0.714136) * x[6]
    assert np.array_equal(values.offsets[:, 0].numpy(), x[0])
    assert np.array_equal(values.angles.numpy(), x[4])
    assert np.array_equal(values.colors[:, 1].numpy(), green)

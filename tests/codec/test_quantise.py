"""Quantisers against float64 arithmetic and float32 tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.codec import BitstreamError, to_float16, uniform_codes, uniform_values, vector_values


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(1, 16), scale=st.floats(1e-3, 1e3))
def test_uniform_error_is_half_a_step(seed: int, bits: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(200, 3)) * scale).astype(np.float32)
    offset = values.min(0)
    step = np.maximum((values.max(0) - offset) / np.float32(2**bits - 1), np.float32(1e-6) * np.float32(scale))
    codes = uniform_codes(values, step, offset, bits)
    assert codes.dtype == (np.uint8 if bits <= 8 else np.uint16) and codes.max() < 2**bits
    error = np.abs(uniform_values(codes, step, offset).astype(np.float64) - values)
    assert (error <= 0.5 * step.astype(np.float64) + 1e-6 * np.abs(values).max()).all()


def test_uniform_is_what_float32_tensors_compute() -> None:
    """Bit for bit: a fit in torch and a decoder in numpy must agree."""
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(20000, 3)) * 3).astype(np.float32)
    step, offset = np.float32([0.11, 0.037, 0.9]), np.float32([-2, -1.3, 0.7])
    x, gamma, beta = map(torch.from_numpy, (values, step, offset))
    codes = torch.round(((x - beta) / gamma).clamp(0, 63))
    np.testing.assert_array_equal(uniform_codes(values, step, offset, 6), codes.numpy())
    mine = uniform_values(codes.to(torch.uint8).numpy(), step, offset)
    assert mine.tobytes() == (codes * gamma + beta).numpy().tobytes()


def test_uniform_rounds_half_to_even_and_clips() -> None:
    values = np.float32([[-9], [0.5], [1.5], [2.5], [99]])
    assert uniform_codes(values, np.float32([1]), np.float32([0]), 2).ravel().tolist() == [0, 0, 2, 2, 3]
    for step, value in ((0.0, 1.0), (-1.0, 1.0), (np.nan, 1.0), (1.0, np.nan), (1.0, np.inf)):
        with pytest.raises(ValueError):
            uniform_codes(np.float32([[value]]), np.float32([step]), np.float32([0]), 6)
    with pytest.raises(ValueError, match="bits"):
        uniform_codes(values, np.float32([1]), np.float32([0]), 17)


def test_float16() -> None:
    values = np.float32([1 + 2**-11, 1 + 3 * 2**-11, 65504, 2**-24, 0, -0.0])
    expected = np.float16([1, 1 + 2**-9, 65504, 2**-24, 0, -0.0])
    assert to_float16(values).tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match="65504"):
        to_float16(np.float32([70000]))


def test_vector_values_add_stage_by_stage() -> None:
    rng = np.random.default_rng(1)
    codebooks = rng.normal(size=(3, 8, 3)).astype(np.float32)
    indices = rng.integers(0, 8, (500, 3)).astype(np.uint8)
    first, second, third = (codebooks[s][indices[:, s]] for s in range(3))
    assert vector_values(indices, codebooks).tobytes() == ((first + second) + third).tobytes()
    assert vector_values(indices[:0], codebooks).shape == (0, 3)
    indices[7, 1] = 8
    with pytest.raises(BitstreamError, match="index 8"):
        vector_values(indices, codebooks)
    with pytest.raises(BitstreamError, match="fit"):
        vector_values(indices[:, :2], codebooks)

"""`straight_through` and `codec.Grid` are one quantiser: bit for bit, with the identity as gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from splatbench.codec import Grid
from splatbench.fitting import straight_through

FLOATS = st.floats(-1e4, 1e4, width=32)


@given(arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(1, 4)), elements=FLOATS), st.integers(1, 16),
       st.booleans())  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_a_fit_sees_what_the_file_holds(values, bits, per_channel):
    grid = Grid.of(values, bits, per_channel)
    codes = grid.codes(values)
    back = grid.values(codes)
    x = torch.from_numpy(values).requires_grad_()
    seen = straight_through(x, bits, per_channel)
    assert np.array_equal(seen.detach().numpy(), back)
    seen.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert codes.max() < 2**bits
    slack = 1e-6 * np.abs(values).max()
    assert (np.abs(back - values) <= grid.step / 2 + slack).all()


def test_the_ends_of_the_range_are_kept():
    values = np.float32([[-3.0, 10.0], [1.1, 20.0], [5.0, 40.0]])
    grid = Grid.of(values, 8, per_channel=True)
    assert grid.codes(values).tolist() == [[0, 0], [131, 85], [255, 255]]
    assert grid.offset.tolist() == [-3.0, 10.0]
    np.testing.assert_allclose(grid.step, [8 / 255, 30 / 255], rtol=1e-6)
    assert Grid.of(values, 8).offset.tolist() == [-3.0]


def test_a_constant_is_its_offset():
    values = np.full((4, 2), 0.3, np.float32)
    grid = Grid.of(values, 6)
    assert grid.values(grid.codes(values)).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("values", "bits", "words"),
    [
        (np.ones((2, 2), np.float32), 0, "1 to 16"),
        (np.ones((2, 2), np.float32), 17, "1 to 16"),
        (np.ones((0, 2), np.float32), 8, "at least one"),
        (np.float32([[np.nan, 1]]), 8, "finite"),
    ],
)
def test_what_cannot_be_quantised(values, bits, words):
    with pytest.raises(ValueError, match=words):
        Grid.of(values, bits)

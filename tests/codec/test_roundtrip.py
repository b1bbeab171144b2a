"""Every array comes back bit for bit, and small where it can be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splatbench.codec import Attribute, read, read_header, spatial_order, write
from splatbench.codec.entropy import SMOOTHINGS, Decoder, Encoder, adaptive_bits
from splatbench.codec.symbols import DTYPES

ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
        elements=hnp.from_dtype(dtype, allow_nan=True, allow_infinity=True),
    )
)


def through(values: np.ndarray, coder: str = "auto") -> np.ndarray:
    return read(write("m", (2, 3), "sum", (), [Attribute("a", values, coder)])).arrays["a"]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@settings(max_examples=300, deadline=None)
@given(values=ARRAYS, coder=st.sampled_from(["auto", "raw", "entropy"]))
def test_any_array(values: np.ndarray, coder: str) -> None:
    assert same_bits(through(values, coder), values)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 3000),
    columns=st.integers(1, 5),
    bits=st.integers(1, 32),
    skew=st.floats(0.05, 6),
    coder=st.sampled_from(["raw", "entropy"]),
)
def test_skewed_codes(seed: int, rows: int, columns: int, bits: int, skew: float, coder: str) -> None:
    """Sizes that span several blocks, from uniform to nearly constant."""
    values = (np.random.default_rng(seed).random((rows, columns)) ** skew * (2**bits - 1)).astype(np.uint32)
    assert same_bits(through(values, coder), values)


@pytest.mark.parametrize("coder", ["auto", "raw", "entropy"])
def test_all_65536_values(coder: str) -> None:
    every = np.arange(65536, dtype=np.uint16)
    for values in (every, every.view(np.float16), every.view(np.int16), np.random.default_rng(0).permutation(every)):
        assert same_bits(through(values, coder), values)


def test_nan_payloads_and_negative_zero() -> None:
    bits = np.array([0x7FC00001, 0xFFA5A5A5, 0x7F800001, 0x80000000, 0, 1, 0x7F800000], np.uint32)
    assert same_bits(through(bits.view(np.float32)), bits.view(np.float32))
    pairs = np.array([[0x7FC00001, 5], [0xFFA5A5A5, 9], [0x80000000, 0]], np.uint32).view(np.float32)
    pairs = pairs[spatial_order(pairs)]
    assert same_bits(through(pairs), pairs)


def test_strided_and_big_endian_arrays() -> None:
    values = np.arange(60, dtype=np.int32).reshape(6, 10)
    assert same_bits(through(values[::2, ::-3]), values[::2, ::-3].copy())
    with pytest.raises(ValueError, match="cannot be stored"):
        Attribute("a", np.arange(3, dtype=np.float64))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_constant_costs_a_few_bytes(dtype: np.dtype) -> None:
    values = np.full((5000, 3), 7, dtype)
    file = write("m", (2, 3), "sum", (), [Attribute("a", values)])
    assert read_header(file).entries[0].length <= 1 + 3 * dtype.itemsize
    assert same_bits(read(file).arrays["a"], values)


def test_columns_get_models_of_their_own_where_that_pays() -> None:
    rng = np.random.default_rng(1)
    apart = np.stack([rng.integers(0, 4, 4000), rng.integers(60, 64, 4000)], 1).astype(np.uint8)
    mixed = rng.permuted(apart, axis=1)
    length = [read_header(write("m", (1, 1), "", (), [Attribute("a", v)])).entries[0].length for v in (apart, mixed)]
    assert length[0] < 2 * 4000 * 2 / 8 + 100 < 2 * 4000 * 3 / 8 < length[1] + 100


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000, 30000])
def test_coded_size_is_the_models_estimate(smoothing: int, count: int) -> None:
    """The estimate decides between coders, so it must be the truth to a few bytes."""
    symbols = np.random.default_rng(2).binomial(63, 0.3, count)
    coder = Encoder()
    coder.encode(symbols, 6, smoothing)
    data = coder.finish()
    assert abs(len(data) - adaptive_bits(symbols, 6, smoothing) / 8) <= 5
    decoder = Decoder(data)
    assert np.concatenate([block for _, block in decoder.decode(count, 6, smoothing)]).tolist() == symbols.tolist()
    decoder.finish()


@pytest.mark.parametrize(("bits", "spread", "overhead"), [(6, 9.0, 25), (3, 1.0, 10), (8, 20.0, 90)])
def test_entropy_coding_approaches_the_empirical_entropy(bits: int, spread: float, overhead: int) -> None:
    """Learning the model costs less than a table of it would."""
    rng = np.random.default_rng(3)
    codes = np.clip(np.rint(rng.normal(2 ** (bits - 1), spread, 9000)), 0, 2**bits - 1).astype(np.uint8)
    p = np.bincount(codes) / len(codes)
    entropy = -sum(q * math.log2(q) for q in p if q) * len(codes) / 8
    length = read_header(write("m", (1, 1), "", (), [Attribute("a", codes)])).entries[0].length
    assert entropy - 5 < length < entropy + overhead


@settings(max_examples=100, deadline=None)
@given(
    values=st.sampled_from(["<f2", "<f4", "<u2", "<i2", "<u4", "<i4"]).flatmap(
        lambda d: hnp.arrays(d, st.tuples(st.integers(0, 40), st.just(2)), elements=hnp.from_dtype(np.dtype(d)))
    )
)
def test_positions_in_morton_order(values: np.ndarray) -> None:
    order = spatial_order(values)
    assert sorted(order.tolist()) == list(range(len(values)))
    assert same_bits(through(values[order]), values[order])


def test_morton_order_by_hand() -> None:
    grid = np.array([[x, y] for y in range(4) for x in range(4)], np.uint16)
    z_curve = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert spatial_order(grid).tolist() == z_curve
    signed = grid.astype(np.int16) - 2
    assert spatial_order(signed).tolist() == z_curve
    below, above = np.array([[-0.5, -2.0]], np.float16), np.array([[0.5, 2.0]], np.float16)
    assert spatial_order(np.concatenate([above, below])).tolist() == [1, 0]
    with pytest.raises(ValueError, match="positions"):
        spatial_order(np.zeros((3, 3), np.float32))


@pytest.mark.parametrize("n", [800, 9000, 28000])
def test_order_saves_the_bits_of_a_permutation(n: int) -> None:
    """Uniform 16-bit positions: 32 bits each, less log2(n!) for the order, to 1 %."""
    positions = np.random.default_rng(4).integers(0, 65536, (n, 2)).astype(np.uint16)
    sizes = [
        read_header(write("m", (1, 1), "", (), [Attribute("xyz", p)])).entries[0].length
        for p in (positions, positions[spatial_order(positions)])
    ]
    saved = math.lgamma(n + 1) / math.log(2) / 8
    assert sizes[0] == 4 * n + 1
    assert sizes[0] - saved <= sizes[1] <= 1.01 * (sizes[0] - saved) + 60

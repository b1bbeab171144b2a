"""The vector functions that blend `topk` ranks with."""

from __future__ import annotations

import numpy as np
import pytest

from splatbench.render.f32x16 import load, response, splat, splat_at, store
from splatbench.render.f32x16_rank import any_equal, capped, if_below, if_equal, larger, smaller
from splatbench.render.jit import kernel


@kernel(cache=False)
def responses(t, out, cut):
    for i in range(0, len(t), 16):
        store(out, i, response(load(t, i), splat(cut)))


@kernel(cache=False)
def compare(a, b, n, out):
    x, y = load(a, 0), load(b, 0)
    store(out, 0, smaller(x, y))
    store(out, 16, larger(x, y))
    store(out, 32, if_equal(x, y, splat(n), x))
    store(out, 48, if_below(x, y, splat(n), x))
    store(out, 64, splat_at(a, 3))
    return any_equal(x, y)


@kernel(cache=False)
def cap(a, b, out):
    store(out, 0, capped(load(a, 0), load(b, 0)))


@pytest.mark.parametrize(("bits", "relative"), [(8, 1e-6), (20, 2e-6), (125, 1e-5)])
def test_response_is_two_to_the_minus_eight_t(bits, relative):
    cut = np.float32(bits / 8)
    t = np.linspace(0, cut, 1 << 18, dtype=np.float32)
    out = np.empty_like(t)
    responses(t, out, cut)
    assert out[0] == 1 and np.abs(out / np.exp2(-8 * t.astype(np.float64)) - 1).max() < relative
    assert (np.diff(out) <= 0).mean() > 0.999 and out.min() >= np.float32(2.0**-bits) * (1 - relative)


def test_response_ends_at_the_cut():
    cut = np.float32(125 / 8)
    t = np.array([np.nextafter(cut, np.float32(99)), cut, 20, 1e30, np.inf, np.nan, -0.0, 1] * 2, np.float32)
    out = np.empty_like(t)
    responses(t, out, cut)
    assert (out[:8] > 0).tolist() == [False, True, False, False, False, False, True, True]
    assert out[6] == 1 and np.isfinite(out).all()


def test_comparisons():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 16), np.float32)
    b[:4] = a[:4]
    out = np.empty(80, np.float32)
    assert compare(a, b, np.float32(6), out)
    assert np.array_equal(out[:16], np.minimum(a, b)) and np.array_equal(out[16:32], np.maximum(a, b))
    assert np.array_equal(out[32:48], np.where(a == b, 6, a)) and np.array_equal(out[48:64], np.where(a < b, 6, a))
    assert (out[64:] == a[3]).all()
    b[:4] += 0.5
    assert not compare(a, b, np.float32(6), out)


def test_capped_lets_no_nan_through():
    a, b = np.float32([1, 3, np.nan, np.inf] * 4), np.full(16, 2, np.float32)
    out = np.empty(16, np.float32)
    cap(a, b, out)
    assert out.tolist() == [1, 2, 2, 2] * 4

"""The vector functions that blend `topk` ranks with."""

from __future__ import annotations

import numpy as np
import pytest

from splatbench.render.f32x16 import load, response, splat, splat_at, store
from splatbench.render.f32x16_rank import any_tie, chosen, if_below, if_equal, larger, reaching, smaller
from splatbench.render.jit import kernel


@kernel(cache=False)
def responses(t, out, cut):
    for i in range(0, len(t), 16):
        store(out, i, response(load(t, i), splat(cut)))


@kernel(cache=False)
def compare(a, b, n, last, out):
    x, y = load(a, 0), load(b, 0)
    store(out, 0, smaller(x, y))
    store(out, 16, larger(x, y))
    store(out, 32, reaching(x, y))
    store(out, 48, chosen(x, y, splat(n), load(last, 0)))
    store(out, 64, splat_at(a, 3))
    store(out, 80, if_equal(x, y, splat(n), x))
    store(out, 96, if_below(x, y, splat(n), x))
    return any_tie(x, y)


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
    last = np.array([5, 6, 7, np.inf] * 4, np.float32)
    out = np.empty(112, np.float32)
    assert compare(a, b, np.float32(6), last, out)
    assert np.array_equal(out[:16], np.minimum(a, b)) and np.array_equal(out[16:32], np.maximum(a, b))
    assert np.array_equal(out[32:48], np.where(a >= b, a, 0))
    assert np.array_equal(out[48:64], np.where((a > b) | ((a == b) & (last >= 6)), a, 0))
    assert (out[64:80] == a[3]).all()
    assert np.array_equal(out[80:96], np.where(a == b, 6, a)) and np.array_equal(out[96:], np.where(a < b, 6, a))
    b[:4] += 0.5
    assert not compare(a, b, np.float32(6), last, out)
    a[7] = b[7] = 0
    assert not compare(a, b, np.float32(6), last, out)  # nothing is not tied with nothing

"""L1 and L2 with their gradients, value by value (CPU kernel): what is left of the objective without SSIM."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numpy as np

from splatbench.render.f32x16 import LANES, fma, load, splat, store
from splatbench.render.jit import kernel

from .lanes import absolute, clamped, load_bytes, sign, total, zero_outside

BLOCK = 1024  # values summed in float32 before they go on in float64; fixed: the number of threads changes no bit


@kernel(forceinline=True)
def _gradient(value, t, clamp, by_sign, by_difference):
    """(d, gradient) of sixteen values."""
    d = (clamped(value) if clamp else value) - t
    g = fma(by_sign, sign(d), by_difference * d)
    return d, (zero_outside(value, g) if clamp else g)


@kernel
def compare(t, threads, x, whole, floats, clamp, weights, out, sums, edges):
    """Gradient of flat values, and their sums.

    Args:
        x: [n] float32, the picture; whole, floats: the target as uint8 or float32, the other one empty.
        weights: factors (float32) of sign(d) and d in the gradient, d = x - target.
        out: [n] float32, written.
        sums: [2, blocks] float64, written: |d| and d^2 of every BLOCK values.
        edges: [threads, 32] float32, scratch.
    """
    n, blocks = len(x), sums.shape[1]
    by_sign, by_difference = splat(weights[0]), splat(weights[1])
    edge = edges[t]
    for block in range(blocks * t // threads, blocks * (t + 1) // threads):
        ones = squares = splat(np.float32(0))
        end = min(n, (block + 1) * BLOCK)
        for i in range(block * BLOCK, end, LANES):
            if i + LANES <= end:
                wanted = load(floats, i) if len(floats) else load_bytes(whole, i)
                d, g = _gradient(load(x, i), wanted, clamp, by_sign, by_difference)
                store(out, i, g)
            else:
                for k in range(LANES):
                    edge[k] = edge[LANES + k] = np.float32(0)
                for k in range(end - i):
                    edge[k] = x[i + k]
                    edge[LANES + k] = floats[i + k] if len(floats) else np.float32(whole[i + k]) / np.float32(255)
                d, g = _gradient(load(edge, 0), load(edge, LANES), clamp, by_sign, by_difference)
                store(edge, 0, g)
                for k in range(end - i):
                    out[i + k] = edge[k]
            ones, squares = ones + absolute(d), fma(d, d, squares)
        sums[0, block], sums[1, block] = total(ones), total(squares)

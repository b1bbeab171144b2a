"""Activation of all parameters in one launch, and the way back for gradients in another (Triton, float64 inside).

What is activated is rounded to float32, as it is in a file, before a covariance is made of it.
"""

# mypy: disallow-untyped-defs=False
import triton
import triton.language as tl

from splatbench.render.gpu.covariance import (
    from_cholesky,
    from_cholesky_back,
    from_scales,
    from_scales_back,
    load3,
    load_row,
    store3,
    store_row,
)

#: Positions in `splatbench.fitting.parameters.FUNCTIONS`.
_TANH, _SIGMOID, _ABS, _RELU, _INVERSE = (tl.constexpr(k) for k in range(1, 6))


@triton.jit
def _function(x, F: tl.constexpr):
    """f(x) and f'(x)."""
    y, slope = x, 0.0 * x + 1.0
    if F == _TANH:
        y = 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)
        slope = 1.0 - y * y
    elif F == _SIGMOID:
        y = 1.0 / (1.0 + tl.exp(-x))
        slope = y * (1.0 - y)
    elif F == _ABS:
        y = tl.abs(x)
        slope = tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0 * x))
    elif F == _RELU:
        y = tl.where(x < 0, 0.0, x)
        slope = tl.where(x > 0, 1.0, 0.0 * x)
    elif F == _INVERSE:
        y = 1.0 / x
        slope = -y * y
    return y, slope


@triton.jit
def _value(x, table, F: tl.constexpr):
    """y = offset + gain f(x + shift), as float32 has it; table: shift, gain, offset."""
    y, _ = _function(x + tl.load(table), F)
    return (tl.load(table + 2) + tl.load(table + 1) * y).to(tl.float32)


@triton.jit
def _pulled(x, grad, table, F: tl.constexpr):
    """Gradient by x from that by y."""
    _, slope = _function(x + tl.load(table), F)
    return grad * tl.load(table + 1) * slope


@triton.jit
def _shape(first, third, table, i, inside, SCALES: tl.constexpr, FUNCTIONS: tl.constexpr):
    """Raw values of the shape, and what they become, in float64."""
    a, b, c = load3(first, third, i, inside, SCALES)
    a1 = _value(a, table + 6, FUNCTIONS[2]).to(tl.float64)
    b1 = _value(b, table + 9, FUNCTIONS[3]).to(tl.float64)
    return a, b, c, a1, b1, _value(c, table + 12, FUNCTIONS[4]).to(tl.float64)


@triton.jit
def activate(
    xy, first, third, table, means, covariance, n,
    SCALES: tl.constexpr, FUNCTIONS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """means [n, 2] float32 and covariance [n, 3] float64 from raw parameters.

    Args:
        xy: [n, 2] float32; first, third: the shape, as `load3` reads it.
        table: [5, 3] float64: shift, gain and offset of x, y and the three values of the shape.
        FUNCTIONS: their functions.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(xy + 2 * i, mask=inside, other=0.0).to(tl.float64)
    y = tl.load(xy + 2 * i + 1, mask=inside, other=0.0).to(tl.float64)
    tl.store(means + 2 * i, _value(x, table, FUNCTIONS[0]), mask=inside)
    tl.store(means + 2 * i + 1, _value(y, table + 3, FUNCTIONS[1]), mask=inside)
    _, _, _, a, b, c = _shape(first, third, table, i, inside, SCALES, FUNCTIONS)
    if SCALES:
        xx, xy_, yy = from_scales(a, b, c)
    else:
        xx, xy_, yy = from_cholesky(a, b, c)
    store_row(covariance, i, inside, xx, xy_, yy)


@triton.jit
def pull_back(
    xy, first, third, table, d_means, d_covariance, d_xy, d_first, d_third, double, n,
    SCALES: tl.constexpr, FUNCTIONS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients by the raw parameters from those by means [n, 2] float32 and covariance [n, 3] float64.

    Args:
        double: multiplies the gradient by Sxy. The other arguments are those of `activate`.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    for k in tl.static_range(2):
        x = tl.load(xy + 2 * i + k, mask=inside, other=0.0).to(tl.float64)
        grad = tl.load(d_means + 2 * i + k, mask=inside, other=0.0).to(tl.float64)
        pulled = _pulled(x, grad, table + 3 * k, FUNCTIONS[k])
        tl.store(d_xy + 2 * i + k, pulled.to(tl.float32), mask=inside)
    raw_a, raw_b, raw_c, a, b, c = _shape(first, third, table, i, inside, SCALES, FUNCTIONS)
    xx, xy_, yy = load_row(d_covariance, i, inside)
    if SCALES:
        a, b, c = from_scales_back(a, b, c, xx, xy_ * double, yy)
    else:
        a, b, c = from_cholesky_back(a, b, c, xx, xy_ * double, yy)
    a, b = _pulled(raw_a, a, table + 6, FUNCTIONS[2]), _pulled(raw_b, b, table + 9, FUNCTIONS[3])
    c = _pulled(raw_c, c, table + 12, FUNCTIONS[4])
    drawn = (xx != 0) | (xy_ != 0) | (yy != 0)  # what is not drawn may be infinite, and 0 times infinity NaN
    a, b, c = tl.where(drawn, a, 0.0), tl.where(drawn, b, 0.0), tl.where(drawn, c, 0.0)
    store3(d_first, d_third, i, inside, a, b, c, SCALES)

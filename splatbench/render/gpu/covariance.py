"""From the parameters of a Gaussian to its covariance, and back with gradients, on a GPU (Triton, float64 inside).

`splatbench.render.covariance` explains the maps and their arguments; `splatbench.fitting` uses the parts.
"""

# mypy: disallow-untyped-defs=False
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from .launch import require_device

_BLOCK = 128


@triton.jit
def from_cholesky(a, b, c):
    """(Sxx, Sxy, Syy) of the lower factor (l11, l21, l22)."""
    return a * a, a * b, b * b + c * c


@triton.jit
def from_cholesky_back(a, b, c, xx, xy, yy):
    """Gradients by the factor from those by (Sxx, Sxy, Syy)."""
    return 2 * a * xx + b * xy, a * xy + 2 * b * yy, 2 * c * yy


@triton.jit
def from_scales(s1, s2, angle):
    """(Sxx, Sxy, Syy) of R diag(s1^2, s2^2) R^T."""
    v1, v2, c, s = s1 * s1, s2 * s2, tl.cos(angle), tl.sin(angle)
    return c * c * v1 + s * s * v2, c * s * (v1 - v2), s * s * v1 + c * c * v2


@triton.jit
def from_scales_back(s1, s2, angle, xx, xy, yy):
    """Gradients by (s1, s2, angle) from those by (Sxx, Sxy, Syy)."""
    c, s = tl.cos(angle), tl.sin(angle)
    by_s1 = 2 * s1 * (c * c * xx + c * s * xy + s * s * yy)
    by_s2 = 2 * s2 * (s * s * xx - c * s * xy + c * c * yy)
    return by_s1, by_s2, (s1 * s1 - s2 * s2) * (2 * c * s * (yy - xx) + (c * c - s * s) * xy)


@triton.jit
def load3(first, third, i, inside, SCALES: tl.constexpr):
    """Parameters i in float64: of `first` [n, 3], or of `first` [n, 2] and `third` [n] where SCALES; 1 beyond."""
    COLUMNS: tl.constexpr = 2 if SCALES else 3
    a = tl.load(first + i * COLUMNS, mask=inside, other=1.0).to(tl.float64)
    b = tl.load(first + i * COLUMNS + 1, mask=inside, other=1.0).to(tl.float64)
    place = third + i if SCALES else first + i * COLUMNS + 2
    return a, b, tl.load(place, mask=inside, other=1.0).to(tl.float64)


@triton.jit
def store3(first, third, i, inside, a, b, c, SCALES: tl.constexpr):
    """The other way round, rounded to float32."""
    COLUMNS: tl.constexpr = 2 if SCALES else 3
    tl.store(first + i * COLUMNS, a.to(tl.float32), mask=inside)
    tl.store(first + i * COLUMNS + 1, b.to(tl.float32), mask=inside)
    place = third + i if SCALES else first + i * COLUMNS + 2
    tl.store(place, c.to(tl.float32), mask=inside)


@triton.jit
def load_row(rows, i, inside):
    """Row i of float64 [n, 3]."""
    a, b = tl.load(rows + i * 3, mask=inside, other=0.0), tl.load(rows + i * 3 + 1, mask=inside, other=0.0)
    return a, b, tl.load(rows + i * 3 + 2, mask=inside, other=0.0)


@triton.jit
def store_row(rows, i, inside, a, b, c):
    tl.store(rows + i * 3, a, mask=inside)
    tl.store(rows + i * 3 + 1, b, mask=inside)
    tl.store(rows + i * 3 + 2, c, mask=inside)


@triton.jit
def forward(first, third, out, n, SCALES: tl.constexpr, BLOCK: tl.constexpr):
    """out [n, 3] float64 from `first` and `third`, as `load3` reads them."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    a, b, c = load3(first, third, i, i < n, SCALES)
    if SCALES:
        xx, xy, yy = from_scales(a, b, c)
    else:
        xx, xy, yy = from_cholesky(a, b, c)
    store_row(out, i, i < n, xx, xy, yy)


@triton.jit
def backward(first, third, grad, d_first, d_third, double, n, SCALES: tl.constexpr, BLOCK: tl.constexpr):
    """Gradients by `first` and `third` from `grad` [n, 3] float64, in which that by Sxy is multiplied by `double`."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    a, b, c = load3(first, third, i, i < n, SCALES)
    xx, xy, yy = load_row(grad, i, i < n)
    if SCALES:
        a, b, c = from_scales_back(a, b, c, xx, xy * double, yy)
    else:
        a, b, c = from_cholesky_back(a, b, c, xx, xy * double, yy)
    store3(d_first, d_third, i, i < n, a, b, c, SCALES)


def covariance(first: Tensor, third: Tensor | None, double: float) -> Tensor:
    """[..., 3] float64 of Cholesky factors [..., 3], or of scales [..., 2] and angles [...]; differentiable once.

    Args:
        first: factors or scales, float32.
        third: angles, float32; None for factors.
        double: multiplies the incoming gradient of Sxy.

    Raises:
        ValueError: tensors that are not on a CUDA device.
    """
    result: Tensor = _Covariance.apply(first, third, double)
    return result


class _Covariance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, third: Tensor | None, double: float) -> Tensor:
        require_device(forward, "covariance", first)
        first, third = first.contiguous(), None if third is None else third.contiguous()
        ctx.save_for_backward(first, third)
        ctx.double = double
        out = first.new_empty((*first.shape[:-1], 3), dtype=torch.float64)
        _launch(forward, first, third, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        first, third = ctx.saved_tensors
        grads = torch.empty_like(first), None if third is None else torch.empty_like(third)
        _launch(
            backward, first, third, grad.contiguous(), grads[0], grads[0] if third is None else grads[1], ctx.double
        )
        return *grads, None


def _launch(kernel: Any, first: Tensor, third: Tensor | None, *arguments: Any) -> None:
    n = first.numel() // first.shape[-1]
    if n:
        angles = first if third is None else third  # not read where there are none
        options = {"SCALES": third is not None, "BLOCK": _BLOCK, "num_warps": 4, "enable_fp_fusion": True}
        kernel[(triton.cdiv(n, _BLOCK),)](first, angles, *arguments, n, **options)

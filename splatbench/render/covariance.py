"""Differentiable maps from the parameters of a Gaussian to its covariance, in float64, fused with their derivative.

Float64 because the determinant of a thin Gaussian cancels in float32 and takes pixels with it.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .jit import kernel
from .ops import triton_kernels
from .threads import run, threads_for


def covariance_from_cholesky(cholesky: Tensor, *, double_offdiagonal_gradient: bool = False) -> Tensor:
    """[N, 3] float32 lower factors (l11, l21, l22) in pixels -> [N, 3] float64 (Sxx, Sxy, Syy) in square pixels.

    Args:
        cholesky: the factors; any sign.
        double_offdiagonal_gradient: multiplies the incoming gradient of Sxy by 2, as GaussianImage's published
            renderer does (it counts the off-diagonal element of the symmetric gradient twice, two times).
    """
    _check(cholesky, (len(cholesky), 3), "cholesky")
    factor = 2.0 if double_offdiagonal_gradient else 1.0
    if cholesky.device.type == "cpu":
        return _FromCholesky.apply(cholesky, factor)
    if cholesky.device.type == "cuda" and triton_kernels():
        from .gpu.covariance import covariance

        return covariance(cholesky, None, factor)
    return _plain_cholesky(cholesky, factor)


def covariance_from_scales(scales: Tensor, angles: Tensor, *, double_offdiagonal_gradient: bool = False) -> Tensor:
    """Scales [N, 2] float32 in pixels and angles [N] float32 in radians -> [N, 3] float64 (Sxx, Sxy, Syy).

    R diag(s1^2, s2^2) R^T with R = [[cos, -sin], [sin, cos]]: angles turn +x towards +y.

    Args:
        scales, angles: any sign.
        double_offdiagonal_gradient: as in `covariance_from_cholesky`.
    """
    _check(scales, (len(scales), 2), "scales")
    _check(angles, (len(scales),), "angles")
    factor = 2.0 if double_offdiagonal_gradient else 1.0
    if scales.device.type == "cpu":
        return _FromScales.apply(scales, angles, factor)
    if scales.device.type == "cuda" and triton_kernels():
        from .gpu.covariance import covariance

        return covariance(scales, angles, factor)
    return _plain_scales(scales, angles, factor)


def _check(value: Tensor, shape: tuple[int, ...], name: str) -> None:
    if tuple(value.shape) != shape or value.dtype != torch.float32:
        raise ValueError(f"{name}: expected float32 {list(shape)}, got {value.dtype} {list(value.shape)}")


def _plain_cholesky(cholesky: Tensor, factor: float) -> Tensor:
    """The same of torch operations, for other devices."""
    l11, l21, l22 = cholesky.double().unbind(1)
    return _stack(l11 * l11, l11 * l21, l21 * l21 + l22 * l22, factor)


def _plain_scales(scales: Tensor, angles: Tensor, factor: float) -> Tensor:
    v1, v2 = scales.double().square().unbind(1)
    cos, sin = torch.cos(angles.double()), torch.sin(angles.double())
    return _stack(cos * cos * v1 + sin * sin * v2, cos * sin * (v1 - v2), sin * sin * v1 + cos * cos * v2, factor)


def _stack(xx: Tensor, xy: Tensor, yy: Tensor, factor: float) -> Tensor:
    """[N, 3]; the value of xy stays, its gradient is multiplied."""
    if factor != 1.0:
        xy = factor * xy - ((factor - 1.0) * xy).detach()
    return torch.stack([xx, xy, yy], 1)


@kernel
def _cholesky_forward(t, threads, factors, out):
    n = len(factors)
    for i in range(n * t // threads, n * (t + 1) // threads):
        a, b, c = np.float64(factors[i, 0]), np.float64(factors[i, 1]), np.float64(factors[i, 2])
        out[i, 0], out[i, 1], out[i, 2] = a * a, a * b, b * b + c * c


@kernel
def _cholesky_backward(t, threads, factors, grad, double, out):
    n = len(factors)
    for i in range(n * t // threads, n * (t + 1) // threads):
        a, b, c = np.float64(factors[i, 0]), np.float64(factors[i, 1]), np.float64(factors[i, 2])
        xx, xy, yy = grad[i, 0], double * grad[i, 1], grad[i, 2]
        out[i, 0], out[i, 1], out[i, 2] = 2 * a * xx + b * xy, a * xy + 2 * b * yy, 2 * c * yy


@kernel
def _scales_forward(t, threads, scales, angles, out):
    n = len(scales)
    for i in range(n * t // threads, n * (t + 1) // threads):
        v1, v2 = np.float64(scales[i, 0]) ** 2, np.float64(scales[i, 1]) ** 2
        c, s = math.cos(np.float64(angles[i])), math.sin(np.float64(angles[i]))
        out[i, 0], out[i, 1], out[i, 2] = c * c * v1 + s * s * v2, c * s * (v1 - v2), s * s * v1 + c * c * v2


@kernel
def _scales_backward(t, threads, scales, angles, grad, double, grad_scales, grad_angles):
    n = len(scales)
    for i in range(n * t // threads, n * (t + 1) // threads):
        s1, s2 = np.float64(scales[i, 0]), np.float64(scales[i, 1])
        c, s = math.cos(np.float64(angles[i])), math.sin(np.float64(angles[i]))
        xx, xy, yy = grad[i, 0], double * grad[i, 1], grad[i, 2]
        grad_scales[i, 0] = 2 * s1 * (c * c * xx + c * s * xy + s * s * yy)
        grad_scales[i, 1] = 2 * s2 * (s * s * xx - c * s * xy + c * c * yy)
        grad_angles[i] = (s1 * s1 - s2 * s2) * (2 * c * s * (yy - xx) + (c * c - s * s) * xy)


class _FromCholesky(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cholesky: Tensor, double: float) -> Tensor:
        out = torch.empty((len(cholesky), 3), dtype=torch.float64)
        ctx.save_for_backward(cholesky)
        ctx.double = double
        run(threads_for(len(cholesky)), _cholesky_forward, cholesky.detach().contiguous().numpy(), out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        (cholesky,) = ctx.saved_tensors
        out = torch.empty_like(cholesky, memory_format=torch.contiguous_format)
        factors = cholesky.detach().contiguous().numpy()
        run(threads_for(len(cholesky)), _cholesky_backward, factors, grad.contiguous().numpy(), ctx.double, out.numpy())
        return out, None


class _FromScales(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scales: Tensor, angles: Tensor, double: float) -> Tensor:
        out = torch.empty((len(scales), 3), dtype=torch.float64)
        ctx.save_for_backward(scales, angles)
        ctx.double = double
        arrays = scales.detach().contiguous().numpy(), angles.detach().contiguous().numpy()
        run(threads_for(len(scales)), _scales_forward, *arrays, out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        scales, angles = (value.detach().contiguous() for value in ctx.saved_tensors)
        grads = torch.empty_like(scales), torch.empty_like(angles)
        arrays = scales.numpy(), angles.numpy(), grad.contiguous().numpy()
        run(threads_for(len(scales)), _scales_backward, *arrays, ctx.double, grads[0].numpy(), grads[1].numpy())
        return *grads, None

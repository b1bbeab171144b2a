"""The reciprocal of a scale, with a gradient that stays finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Scales end here (pixels), also where an inverse scale is 0: a file holds no larger values.
LARGEST_SCALE = float(1 << 30)


class _Reciprocal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.reciprocal().clamp_(-LARGEST_SCALE, LARGEST_SCALE)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return -grad * y.square()


def reciprocal(x: Tensor) -> Tensor:
    """1 / x within +-2^30, and its gradient -1 / x^2 likewise: finite for every x, so a scale may cross infinity.

    Args:
        x: float32.
    """
    y: Tensor = _Reciprocal.apply(x)
    return y

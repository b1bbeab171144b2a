"""Uniform quantisation with straight-through gradients, as Image-GS does it; `splatbench.codec.Grid` in torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from splatbench.codec.quantise import SMALLEST_STEP


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        return grad, None


def straight_through(x: Tensor, bits: int, per_channel: bool = False) -> Tensor:
    """x rounded to 2^bits levels between its smallest and its largest value; the gradient passes unchanged.

    The same float32 operations as `splatbench.codec.Grid.of(x, bits, per_channel)` and its codes, so a file holds what
    a fit has seen.

    Args:
        x: [N, C] float32, N >= 1, finite.
        bits: 1 to 16.
        per_channel: a range for each column instead of one for all.
    """
    values = x.detach()
    levels = (1 << bits) - 1
    low, high = (values.amin(0), values.amax(0)) if per_channel else (values.min(), values.max())
    step = ((high - low) / levels).clamp_min(SMALLEST_STEP)
    rounded = torch.round(((values - low) / step).clamp(0, levels)) * step + low
    quantised: Tensor = _StraightThrough.apply(x, rounded)
    return quantised

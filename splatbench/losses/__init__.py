"""Losses between a rendered picture and an image, forward and backward in one pass on the CPU."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatbench.render.jit import kernel
from splatbench.render.threads import run, thread_count

_BLOCK = 8192  # values summed at a time; fixed, so that the number of threads does not change a bit


def mse(image: Tensor, target: Tensor, clamp: bool = True) -> Tensor:
    """Mean squared error over all pixels and channels.

    Args:
        image: [H, W, C] float32, the rendered picture.
        target: the same shape; uint8 (divided by 255) or float32 in [0, 1].
        clamp: clamps the picture to [0, 1] first; the gradient passes at exactly 0 and 1 and is 0 outside.

    Returns:
        A scalar, float32, differentiable with respect to `image`.

    Raises:
        ValueError: shapes or types that do not fit together.
    """
    return _loss(image, target, clamp, squared=True)


def l1(image: Tensor, target: Tensor, clamp: bool = True) -> Tensor:
    """Mean absolute error over all pixels and channels; arguments as for `mse`. The gradient at a tie is 0."""
    return _loss(image, target, clamp, squared=False)


def _loss(image: Tensor, target: Tensor, clamp: bool, squared: bool) -> Tensor:
    if image.shape != target.shape or image.numel() == 0:
        raise ValueError(f"loss: image {list(image.shape)} and target {list(target.shape)} must be alike and not empty")
    if image.dtype != torch.float32 or target.dtype not in (torch.uint8, torch.float32):
        raise ValueError(
            f"loss: expected a float32 image and a uint8 or float32 target, got {image.dtype}, {target.dtype}"
        )
    if image.device.type == "cpu":
        return _Loss.apply(image, target, clamp, squared)
    return _plain_loss(image, target, clamp, squared)


def _plain_loss(image: Tensor, target: Tensor, clamp: bool, squared: bool) -> Tensor:
    """The same of torch operations, for other devices."""
    if clamp:
        # not torch.clamp: whether that passes the gradient at 0 and 1 depends on the version of torch
        image = torch.where((image >= 0) & (image <= 1), image, image.detach().clamp(0, 1))
    difference = image - (target.float() / 255 if target.dtype == torch.uint8 else target)
    return difference.square().mean() if squared else difference.abs().mean()


class _Loss(torch.autograd.Function):
    """The gradient is made with the value, for an incoming gradient of 1."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, clamp: bool, squared: bool) -> Tensor:
        flat, wanted = image.detach().contiguous().view(-1).numpy(), target.detach().contiguous().view(-1).numpy()
        needed = ctx.needs_input_grad[0]
        ctx.grad = torch.empty(image.shape) if needed else None
        grad = ctx.grad.view(-1).numpy() if needed else np.empty(0, np.float32)
        sums = np.empty(-(-len(flat) // _BLOCK))
        scale = 1.0 / 255.0 if target.dtype == torch.uint8 else 1.0
        run(thread_count(), _compare, flat, wanted, np.float32(scale), clamp, squared, needed, grad, sums)
        return torch.tensor(sums.sum() / len(flat), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> Any:  # type: ignore[override]
        if scale.item() != 1.0:
            return ctx.grad * scale, None, None, None
        return ctx.grad, None, None, None


@kernel(fastmath={"contract", "nsz", "reassoc"})  # the order of a block's sum is the same for any number of threads
def _compare_block(x, wanted, scale, clamp, squared, needed, grad, unit):
    """Sum of the errors of a block; its gradient, times `unit`, to grad where `needed`."""
    total = 0.0
    for i in range(len(x)):
        value = x[i]
        inside = True
        if clamp:
            inside = (value >= 0) & (value <= 1)
            # written so that NaN stays NaN
            value = np.float32(0) if value < 0 else (np.float32(1) if value > 1 else value)
        d = value - wanted[i] * scale
        if squared:
            total += np.float64(d) * d
            slope = np.float32(2) * d
        else:
            total += abs(d)
            slope = np.float32(np.sign(d))
        if needed:
            grad[i] = slope * unit if inside else np.float32(0)
    return total


@kernel
def _compare(t, threads, x, wanted, scale, clamp, squared, needed, grad, sums):
    unit = np.float32(1.0 / len(x))
    for block in range(len(sums) * t // threads, len(sums) * (t + 1) // threads):
        a, b = block * _BLOCK, min((block + 1) * _BLOCK, len(x))
        sums[block] = _compare_block(x[a:b], wanted[a:b], scale, clamp, squared, needed, grad[a:b], unit)

"""`render_loss`: the loss of a picture and its gradients strip by strip, so that the picture is never held whole.

A strip is drawn, compared and differentiated while it is in the caches. Losses that look around a pixel (SSIM) get rows
of the neighbouring strips beside it, so the result is that of the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .cpu_bins import TILE_H
from .drawing import Drawing, SumDrawing, TopkDrawing, TopkRule, as_numpy
from .ops import check_arguments, gradients_wanted

HALO = 10  # rows that a gradient looks beyond its own: twice the reach of SSIM's window
_VALUES = 1 << 23  # of a strip, unless `rows` says otherwise


class RowLoss(Protocol):
    """What a loss against one image has to offer, `splatbench.losses.TargetLoss` for one."""

    @property
    def target(self) -> Tensor | np.ndarray:
        """The image, [H, W, C]."""
        ...

    def rows(self, window: np.ndarray, window_row0: int, row0: int, row1: int, grad: np.ndarray) -> np.ndarray:
        """Sums of rows row0 .. row1 - 1, and dL/dpicture of these rows to `grad`.

        window: the picture's rows window_row0 ..., at least HALO rows more on both sides where the picture has them.
        """
        ...

    def value(self, sums: np.ndarray) -> float:
        """The loss, from the sums over all rows."""
        ...


def render_loss(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    loss: RowLoss,
    *,
    topk: TopkRule | None = None,
    compat: frozenset[str] = frozenset(),
    rows: int | None = None,
    sums: np.ndarray | None = None,
) -> Tensor:
    """The loss of the picture of Gaussians, differentiable, without ever holding the picture.

    The same as `loss(rasterize_sum(means, covariance, colors, size, compat=compat))` but for rounding, or that with
    `rasterize_topk`. On the CPU.

    Args:
        means, covariance, colors: as for `rasterize_sum`.
        topk: the rule of blend `topk`; None for blend `sum`.
        compat: as for `rasterize_sum` (that of blend `topk` is in its rule).
        loss: against the image, which fixes the size.
        rows: height of a strip, rounded up to a multiple of 256; by default a strip has about 8 million values.
        sums: filled with the sums of `loss.rows` over the picture.

    Returns:
        A scalar, float32.

    Raises:
        ValueError: arguments that do not fit, or another device.
    """
    height, width, channels = loss.target.shape
    check_arguments(means, covariance, colors, (height, width), compat)
    if means.ndim != 2:
        raise ValueError("render_loss takes one picture, not a batch")
    if colors.shape[1] != channels:
        raise ValueError(f"colors: the image has {channels} channels, the Gaussians {colors.shape[1]}")
    if means.device.type != "cpu":
        raise ValueError(f"render_loss streams on the CPU; on {means.device} draw the picture and compare it whole")
    if rows is None:
        rows = max(1, _VALUES // (width * channels))
    elif rows < 1:
        raise ValueError(f"rows: expected at least 1, got {rows}")
    step = -(-rows // TILE_H) * TILE_H
    wanted = gradients_wanted(means, covariance, colors)
    total: Tensor = _RenderLoss.apply(means, covariance, colors, loss, topk or compat, step, wanted, sums)
    return total


class _RenderLoss(torch.autograd.Function):
    """The gradients are made with the value, for an incoming gradient of 1."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariance: Tensor,
        colors: Tensor,
        loss: RowLoss,
        blend: TopkRule | frozenset[str],
        step: int,
        differentiate: bool,
        sums: np.ndarray | None,
    ) -> Tensor:
        height, *pixels = loss.target.shape
        arrays, size = (as_numpy(means), as_numpy(covariance), as_numpy(colors)), (height, pixels[0])
        drawing: Drawing
        if isinstance(blend, TopkRule):
            drawing = TopkDrawing(*arrays, size, blend, rows_kept=2 * step)  # gradients come a strip later
        else:
            drawing = SumDrawing(*arrays, size, blend)
        grad = drawing.scratch("stream gradient", (min(step, height), *pixels))
        total = np.zeros(0)
        for row0, row1, window, window_row0 in _windows(drawing, step):
            part = grad[: row1 - row0]
            found = loss.rows(window, window_row0, row0, row1, part)
            total = total + found if len(total) else found
            if differentiate:
                drawing.backward_rows(row0, part)
        if differentiate:
            ctx.save_for_backward(*(torch.from_numpy(g) for g in drawing.gradients()))
        if sums is not None:
            sums[:] = total
        return torch.tensor(loss.value(total), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:  # type: ignore[override]
        grads = ctx.saved_tensors
        return *(grads if scale.item() == 1.0 else (g * scale for g in grads)), None, None, None, None, None


def _windows(drawing: Drawing, step: int) -> Iterator[tuple[int, int, np.ndarray, int]]:
    """(row0, row1, window, first row of the window): each strip, with HALO rows of its neighbours around it.

    Two strips are in memory: the one below is drawn before the one above is given out.
    """
    height, width = drawing.size
    rows = min(step, height)
    strip = rows + 2 * HALO, width, drawing.channels
    here = drawing.scratch("stream here", strip)
    below = drawing.scratch("stream below", strip) if step < height else here
    drawing.draw_rows(0, rows, here[HALO : HALO + rows])
    for row0 in range(0, height, step):
        row1, end = min(row0 + step, height), min(row0 + 2 * step, height)
        if row1 < height:
            drawing.draw_rows(row1, end, below[HALO : HALO + end - row1])
            reach = min(HALO, end - row1)
            here[HALO + row1 - row0 :][:reach] = below[HALO : HALO + reach]
            below[:HALO] = here[row1 - row0 : HALO + row1 - row0]
        first = max(0, row0 - HALO)
        yield row0, row1, here[first - row0 + HALO : min(row1 + HALO, height) - row0 + HALO], first
        here, below = below, here

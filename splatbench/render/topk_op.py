"""The differentiable operation of blend `topk`, on any device; and `TopkDrawing`, which it stands on on the CPU."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from . import ops
from .cpu_tiles import Gradients
from .cpu_topk import TopkRasterizer, check_rule
from .lease import Lease
from .reference_topk import rasterize_topk_reference


class Rule(TypedDict):
    """What decides which Gaussians a pixel averages, and how."""

    k: int
    epsilon: float
    min_response: float
    compat: frozenset[str]


class TopkDrawing:
    """A picture of blend `topk` on the CPU, drawn and differentiated by rows.

    Arguments as for `TopkRasterizer.take`.
    """

    def __init__(
        self,
        means: np.ndarray,
        covariance: np.ndarray,
        colors: np.ndarray,
        size: tuple[int, int],
        rule: Rule,
        rows_kept: int | None = None,
    ) -> None:
        self.size, self.channels = size, colors.shape[1]
        self._lease = Lease(TopkRasterizer)
        self._gradients: Gradients | None = None
        self._lease.rasterizer.take(means, covariance, colors, size, **rule, rows_kept=rows_kept)

    def draw_rows(self, row0: int = 0, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Rows row0 .. row1 - 1, [row1 - row0, W, C] float32, written to `out` if given.

        row0, row1: multiples of 256, or the end of the picture (the default).
        """
        return self._lease.rasterizer.draw_rows(row0, row1, out)

    def backward_rows(self, row0: int, grad: np.ndarray) -> None:
        """Adds to the gradients what comes from rows row0 ..., which must have been drawn and kept.

        grad: [h, W, C] float32, dL/dpicture of these rows. row0 and the end of the rows: as for `draw_rows`.
        """
        if self._gradients is None:
            self._gradients = self._lease.rasterizer.zero_gradients()
        self._lease.rasterizer.backward_rows(row0, grad, self._gradients)

    def gradients(self) -> Gradients:
        """The sums since the last call: means [N, 2] float32, covariance [N, 3] float64, colours [N, C] float32."""
        if self._gradients is None:
            raise RuntimeError("gradients need a `backward_rows` before them")
        gradients, self._gradients = self._gradients, None
        return gradients


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().contiguous().numpy()


class _RasterizeTopk(torch.autograd.Function):
    """On the CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariance: Tensor,
        colors: Tensor,
        size: tuple[int, int],
        rule: Rule,
        out: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(means, covariance, colors)
        if out is not None:
            ctx.mark_dirty(out)
        rows_kept = None if any(ctx.needs_input_grad) else 0
        drawing = TopkDrawing(_numpy(means), _numpy(covariance), _numpy(colors), size, rule, rows_kept)
        image = torch.empty((*size, colors.shape[1])) if out is None else out
        drawing.draw_rows(out=image.detach().numpy())
        ctx.drawing = drawing
        return image

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        _ = ctx.saved_tensors  # raises where an input was changed in place
        ctx.drawing.backward_rows(0, _numpy(grad))
        return *(torch.from_numpy(g) for g in ctx.drawing.gradients()), None, None, None


def rasterize_topk(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    *,
    k: int = 10,
    epsilon: float = 1e-4,
    min_response: float = 1e-6,
    compat: frozenset[str] = frozenset(),
    out: Tensor | None = None,
) -> Tensor:
    """Differentiable picture of blend `topk`: at each pixel the average of the k Gaussians with the largest responses.

    With responses a = exp(-1/2 d^T S^-1 d) >= min_response, and their sum S over these k, a pixel is the sum of
    a colour / (S + epsilon); 0 where there is no Gaussian. Of equal responses the lower index is chosen; the choice has
    no gradient (Zhang et al., "Image-GS", SIGGRAPH 2025; defaults are those of its code, but for min_response: there a
    Gaussian ends with its tiles, see `compat`). Gaussians that cannot be drawn (singular covariance, NaN or infinite
    mean or covariance) are left out and get zero gradients.

    Args:
        means: [N, 2] float32, (x, y) in pixels; the centre of the first pixel is at (0.5, 0.5). Or [B, N, 2] for B
            pictures of one size, and the other arguments alike; fill up short sets with means of NaN.
        covariance: [N, 3] float64, (Sxx, Sxy, Syy) in square pixels. The gradient of Sxy is the true derivative.
        colors: [N, C >= 1] float32.
        size: (H, W), each at least 1.
        k: at least 1.
        epsilon: at least 1e-30.
        min_response: in (0, 1].
        compat: empty, or {"tiles_3sigma"}: a Gaussian is seen in the tiles that this flag names, with any response, and
            nowhere else; min_response is then ignored.
        out: [H, W, C] float32, contiguous, on the same device: written and returned.

    Returns:
        [H, W, C] float32 (or [B, H, W, C]), not clamped.

    Raises:
        ValueError: shapes, types or values that do not fit, or more than 2^24 Gaussians on the CPU.
    """
    ops.check_arguments(means, covariance, colors, size, compat, out)
    check_rule(k, epsilon, min_response, compat)
    rule = Rule(k=k, epsilon=epsilon, min_response=min_response, compat=compat)
    if means.device.type == "cuda":
        try:
            from .gpu import rasterize_topk as on_gpu
        except ImportError:  # no Triton on this platform: the reference draws, in float64
            pass
        else:
            drawn: Tensor = on_gpu(means, covariance, colors, size, **rule, out=out)
            return drawn
    if means.ndim == 3:
        pictures = zip(means, covariance, colors, strict=True)
        images = [rasterize_topk(*picture, size, **rule) for picture in pictures]
        batch = torch.stack(images) if images else colors.new_zeros(0, *size, colors.shape[-1])
        return batch if out is None else out.copy_(batch)
    if means.device.type == "cpu":
        image: Tensor = _RasterizeTopk.apply(means, covariance, colors, size, rule, out)
        return image
    image = rasterize_topk_reference(means, covariance, colors, size, **rule).float()
    return image if out is None else out.copy_(image)

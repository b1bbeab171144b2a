"""`rasterize_sum` and `rasterize_topk` of the GPU kernels, as differentiable operations of PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from splatbench.gaussians import TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE

from .workspace import Workspace


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariance: Tensor,
        colors: Tensor,
        size: tuple[int, int],
        settings: dict[str, Any],
        out: Tensor | None,
    ) -> Tensor:
        *batch, n, channels = colors.shape
        # made for this picture: others may wait for their gradients. The allocator has its buffers at hand.
        workspace = Workspace(n, size, channels, batch=batch[0] if batch else 1, device=means.device, **settings)
        image = torch.empty((*batch, *size, channels), device=means.device) if out is None else out
        if out is not None:
            ctx.mark_dirty(out)
        ctx.inputs = [v.detach().contiguous() for v in (means, covariance, colors)]
        workspace.forward(ctx.inputs[0], ctx.inputs[1], ctx.inputs[2], image)
        ctx.workspace = workspace
        ctx.save_for_backward(means, covariance, colors, image)  # kept so that autograd notices changes in place
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        _ = ctx.saved_tensors
        gradients = [torch.empty_like(v) for v in ctx.inputs]
        ctx.workspace.backward(grad.contiguous(), *gradients)
        return *gradients, None, None, None


def _rasterize(
    inputs: tuple[Tensor, Tensor, Tensor], size: tuple[int, int], settings: dict[str, Any], out: Tensor | None
) -> Tensor:
    means, covariance, colors = inputs
    if colors.ndim not in (2, 3):
        raise ValueError(f"colors: expected [N, C] or [B, N, C], got {list(colors.shape)}")
    for name, value, width in (("means", means, 2), ("covariance", covariance, 3)):
        if value.shape != (*colors.shape[:-1], width):
            raise ValueError(f"{name}: expected {[*colors.shape[:-1], width]}, as colors has, got {list(value.shape)}")
    wanted = (*colors.shape[:-2], *size, colors.shape[-1])
    if out is not None and out.shape != wanted:
        raise ValueError(f"out: expected {list(wanted)}, got {list(out.shape)}")
    if colors.ndim == 3 and not len(colors):
        return colors.new_zeros(wanted) if out is None else out
    image: Tensor = _Rasterize.apply(means, covariance, colors, size, settings, out)
    return image


def rasterize_sum(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    *,
    compat: frozenset[str] = frozenset(),
    out: Tensor | None = None,
) -> Tensor:
    """Differentiable pictures of blend `sum`: the sum of w colour where w = exp(-1/2 d^T S^-1 d) >= 1/255.

    Gaussians that cannot be drawn (singular covariance, NaN or infinite mean or covariance) are left out and get zero
    gradients. The same inputs give the same bits, gradients included.

    Args:
        means: [N, 2] or [B, N, 2] float32, (x, y) in pixels; the centre of the first pixel is at (0.5, 0.5).
        covariance: [..., N, 3] float64, (Sxx, Sxy, Syy) in square pixels. The gradient of Sxy is the true derivative.
        colors: [..., N, C >= 1] float32.
        size: (H, W), each at least 1.
        compat: subset of `splatbench.gaussians.COMPAT_FLAGS`; "tile_cap_256" implies "tiles_3sigma".
        out: [..., H, W, C] float32, contiguous: written and returned.

    Returns:
        [..., H, W, C] float32, not clamped.

    Raises:
        ValueError: shapes, types, devices or flags that do not fit.
    """
    return _rasterize((means, covariance, colors), size, {"blend": "sum", "compat": compat}, out)


def rasterize_topk(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    size: tuple[int, int],
    *,
    k: int = TOP_K,
    epsilon: float = TOPK_EPSILON,
    min_response: float = TOPK_MIN_RESPONSE,
    compat: frozenset[str] = frozenset(),
    out: Tensor | None = None,
) -> Tensor:
    """Differentiable pictures of blend `topk`: the average of the k strongest Gaussians of every pixel.

    With a = exp(-1/2 d^T S^-1 d) a pixel is sum of a colour / (sum of a + epsilon) over the k largest a >= min_response
    (Image-GS, section 3.1 of the paper); the choice is not differentiated, and of equal a the lower index is chosen.

    Args:
        means, covariance, colors, size, out: as for `rasterize_sum`.
        k: 1 to 128.
        epsilon: at least 0.
        min_response: in (0, 1]; values below 2^-125 act as this.
        compat: empty or {"tiles_3sigma"}: a Gaussian is seen in the tiles of 16 x 16 pixels that the square of half
            side ceil(3 sqrt(largest eigenvalue)) around its mean touches, and nowhere else; min_response is ignored.

    Returns:
        [..., H, W, C] float32, not clamped.

    Raises:
        ValueError: shapes, types, devices or settings that do not fit.
    """
    settings = {"blend": "topk", "compat": compat, "k": k, "epsilon": epsilon, "min_response": min_response}
    return _rasterize((means, covariance, colors), size, settings, out)

"""Blends `sum` and `topk` on a GPU: Triton kernels, forward and backward, that need no host synchronisation.

    rasterize_sum(means, covariance, colors, size, *, compat=frozenset(), out=None)
    rasterize_topk(means, covariance, colors, size, *, k=10, epsilon=1e-4, min_response=1e-6, compat=frozenset(),
                   out=None)

are differentiable and mean what the functions of these names in `splatbench.render` mean. All inputs may have a
leading batch dimension: means [B, N, 2] float32, covariance [B, N, 3] float64, colors [B, N, C] float32 give
[B, H, W, C] float32 in the same number of launches as one picture; pad short sets with NaN means.

A fit that wants the launches and nothing else (in a CUDA graph, say) uses what these stand on:

    workspace = Workspace(n, size, channels, batch=1, device="cuda", blend="sum", compat=frozenset(),
                          k=10, epsilon=1e-4, min_response=1e-6)
    workspace.forward(means, covariance, colors, out)
    workspace.backward(grad, d_means, d_covariance, d_colors)

Tensors are contiguous, on one device; shapes as above with B = batch, and without B too where batch = 1. `forward`
writes all of `out` [B, H, W, C]; `backward` writes all of the three gradients (float32, float64, float32, shaped like
the inputs) of the last `forward`, whose inputs must be unchanged; blend `topk` also reads its `out` again, which must
be unchanged too. Neither allocates, synchronises nor reads from the device, so both can be captured: forward is three
launches, backward two. Nothing can overflow: what does not fit in a list is found without it, more slowly, with the
same result. The same inputs give the same bits.

Kernels are interpreted, on CPU tensors, where the environment variable TRITON_INTERPRET is 1 before this package is
imported.
"""

from .ops import rasterize_sum, rasterize_topk
from .workspace import Workspace

__all__ = ["Workspace", "rasterize_sum", "rasterize_topk"]

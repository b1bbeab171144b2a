"""Rendering: from Gaussians to pictures, with gradients."""

from splatbench.render.covariance import covariance_from_cholesky, covariance_from_scales
from splatbench.render.ops import iter_strips, rasterize_sum, render, render_u8
from splatbench.render.stream import render_loss

__all__ = [
    "covariance_from_cholesky",
    "covariance_from_scales",
    "iter_strips",
    "rasterize_sum",
    "render",
    "render_loss",
    "render_u8",
]

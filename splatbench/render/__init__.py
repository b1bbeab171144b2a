"""Rendering: from Gaussians to pictures, with gradients."""

from splatbench.render.covariance import covariance_from_cholesky, covariance_from_scales
from splatbench.render.drawing import TopkRule
from splatbench.render.gsplat import rasterize_alpha
from splatbench.render.ops import rasterize_sum, rasterize_topk
from splatbench.render.pictures import iter_strips, render, render_u8
from splatbench.render.stream import render_loss

__all__ = [
    "TopkRule",
    "covariance_from_cholesky",
    "covariance_from_scales",
    "iter_strips",
    "rasterize_alpha",
    "rasterize_sum",
    "rasterize_topk",
    "render",
    "render_loss",
    "render_u8",
]

"""Rendering: from Gaussians to pictures, with gradients."""

from splatbench.render.covariance import covariance_from_cholesky, covariance_from_scales
from splatbench.render.drawing import TopkRule
from splatbench.render.gsplat import rasterize_alpha
from splatbench.render.layers import LayeredPicture
from splatbench.render.ops import rasterize_sum, rasterize_topk
from splatbench.render.pictures import iter_strips, render, render_u8
from splatbench.render.signed import rasterize_signed
from splatbench.render.stream import render_loss

__all__ = [
    "LayeredPicture",
    "TopkRule",
    "covariance_from_cholesky",
    "covariance_from_scales",
    "iter_strips",
    "rasterize_alpha",
    "rasterize_signed",
    "rasterize_sum",
    "rasterize_topk",
    "render",
    "render_loss",
    "render_u8",
]

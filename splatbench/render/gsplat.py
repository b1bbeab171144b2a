"""Blend `alpha`: front-to-back compositing, own kernels on the CPU, the package gsplat on a CUDA device."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from splatbench.gaussians import MIN_WEIGHT

from .alpha import composite
from .reference import TILE, drawable
from .reference_alpha import rasterize_alpha_reference

_SERIES = "1.5"  # whose constants `reference_alpha` has; others cap alpha elsewhere or take other arguments
_INSTALL = f"""pip install "gsplat=={_SERIES}.*" """.strip()
_FARTHEST = 1 << 24  # pixels: radii are int32


def rasterize_alpha(
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    opacities: Tensor,
    size: tuple[int, int],
    background: Tensor | None = None,
) -> Tensor:
    """Differentiable picture of blend `alpha`; `reference_alpha` has the definition.

    Kernels of the CPU and gsplat, on a CUDA device, work in float32, gsplat with fast exponentials: an alpha near a
    threshold (1/255, 0.999, or a transmittance near 1e-4) may be judged differently there. Elsewhere the reference
    draws. Gaussians that cannot be drawn (singular covariance, NaN or infinite mean or covariance) are left out and get
    zero gradients.

    Args:
        means: [N, 2] float32, (x, y) in pixels, from front to back; the centre of the first pixel is at (0.5, 0.5).
        covariance: [N, 3] float64, (Sxx, Sxy, Syy) in square pixels. The gradient of Sxy is the true derivative.
        colors: [N, C >= 1] float32.
        opacities: [N] float32 in [0, 1].
        size: (H, W), each at least 1.
        background: [C] float32, default black.

    Returns:
        [H, W, C] float32, not clamped.

    Raises:
        ValueError: shapes or types that do not fit.
        RuntimeError: a CUDA device without a gsplat that can be used.
    """
    n, channels = len(means), max(1, colors.shape[-1])
    for name, value, shape, dtype in (
        ("means", means, (n, 2), torch.float32),
        ("covariance", covariance, (n, 3), torch.float64),
        ("colors", colors, (n, channels), torch.float32),
        ("opacities", opacities, (n,), torch.float32),
        ("background", background, (channels,), torch.float32),
    ):
        if value is not None and (tuple(value.shape) != shape or value.dtype != dtype):
            raise ValueError(f"{name}: expected {dtype} {list(shape)}, got {value.dtype} {list(value.shape)}")
    if min(size) < 1:
        raise ValueError(f"size: expected (H, W) of at least 1 x 1, got {size}")
    if means.device.type == "cuda":
        return _draw(load_gsplat(), means, covariance, colors, opacities, size, background)
    if means.device.type == "cpu":
        return composite(means, covariance, colors, opacities, size, background)
    return rasterize_alpha_reference(means, covariance, colors, opacities, size, background).float()


def load_gsplat() -> Any:
    """The package gsplat.

    Raises:
        RuntimeError: it is missing, of another series, or has no compiled kernels; with what to do.
    """
    try:
        found = version("gsplat")
    except PackageNotFoundError:
        raise RuntimeError(f"blend 'alpha' on a CUDA device is drawn by gsplat, not installed: {_INSTALL}") from None
    if not found.startswith(f"{_SERIES}."):
        raise RuntimeError(f"blend 'alpha' needs gsplat {_SERIES}, found {found}: {_INSTALL}")
    gsplat = importlib.import_module("gsplat")
    if importlib.import_module("gsplat.cuda._backend")._C is None:
        raise RuntimeError(
            f"gsplat {found} has no compiled kernels: install the CUDA toolkit (nvcc) of torch's CUDA version "
            f"{torch.version.cuda}, with which it compiles them at first use, or a prebuilt wheel of gsplat"
        )
    return gsplat


def _draw(
    gsplat: Any,
    means: Tensor,
    covariance: Tensor,
    colors: Tensor,
    opacities: Tensor,
    size: tuple[int, int],
    background: Tensor | None,
) -> Tensor:
    """The picture by gsplat's tile lists and pixel loops; the projection, which an image does not need, is left out."""
    height, width = size
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    keep = drawable(means, covariance)
    if len(keep) == 0:
        empty = colors.new_zeros(height, width, colors.shape[1]) + colors[keep].sum()
        return empty if background is None else empty + background
    means, covariance, colors, opacities = means[keep], covariance[keep], colors[keep], opacities[keep]
    sxx, sxy, syy = covariance.unbind(1)
    det = sxx * syy - sxy * sxy
    conics = torch.stack([syy / det, -sxy / det, sxx / det], 1).float()
    with torch.no_grad():
        # alpha is below 1/255 outside this box, whatever the opacity; kernels decide pixel by pixel
        reach = (-2 * torch.log(covariance.new_tensor(MIN_WEIGHT)) * covariance[:, [0, 2]]).sqrt() + 1
        radii = reach.ceil().clamp(max=_FARTHEST).to(torch.int32)
        depths = torch.arange(1, len(keep) + 1, device=means.device, dtype=torch.float32)
        _, tile_ids, ids = gsplat.isect_tiles(means[None], radii[None], depths[None], TILE, tiles_x, tiles_y)
        offsets = gsplat.isect_offset_encode(tile_ids, 1, tiles_x, tiles_y)
    image: Tensor = gsplat.rasterize_to_pixels(
        means[None],
        conics[None],
        colors[None],
        opacities[None],
        width,
        height,
        TILE,
        offsets,
        ids,
        backgrounds=None if background is None else background[None],
    )[0][0]
    return image

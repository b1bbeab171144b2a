"""Where Gaussians begin (paper Sec. 3.2; released code): by image gradients, by a saliency map, or at random."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from splatbench.datasets import load_image
from splatbench.fitting import draw_uniform, draw_weighted, gradient_weights
from splatbench.fitting.warm import axes
from splatbench.gaussians import Gaussians2D
from splatbench.method import MethodError

from .config import Config
from .model import Parameters

#: Pixels; the saliency map is smoothed by a Gaussian of this standard deviation [released code].
_MAP_SIGMA = 20.0
#: Pixels; thinner axes of a given start are widened to it, so that their inverse is finite. Ours.
SMALLEST_SCALE = 1e-3


def start(image: np.ndarray, n: int, config: Config, rng: np.random.Generator) -> Parameters:
    """The first n Gaussians of a fit.

    Args:
        image: uint8 [H, W, C].
        n: at most H W.
        config: resolved settings.

    Raises:
        MethodError: a saliency map that does not fit.
        splatbench.datasets.ImageError: one that cannot be read.
    """
    pixels = start_pixels(image, n, config, rng)
    if config.initial_colors == "random":
        colors = rng.random((n, image.shape[2]), np.float32)
    else:
        colors = colors_at(image, pixels, config.gamma)
    return place(pixels, colors, image.shape[:2], config)


def raw_parameters(gaussians: Gaussians2D, config: Config) -> Parameters:
    """The parameters that stand for Gaussians of the configured blend, on the CPU."""
    height, width = gaussians.size
    scales, angles = axes(gaussians)
    scales = scales.clamp_min(SMALLEST_SCALE)
    return {
        "positions": gaussians.means / torch.tensor([width, height]),
        "scales": scales.reciprocal() if config.inverse_scale else scales,
        "angles": angles[:, None].clone(),
        "colors": gaussians.colors.clone(),
    }


def start_pixels(image: np.ndarray, n: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Flat indices of the pixels that the first n Gaussians begin at, int64 [n].

    A share `random_fraction` is uniform, the rest follows the weights; both draws are without replacement but do not
    know each other, so a pixel may be there twice, as published.
    """
    total = image.shape[0] * image.shape[1]
    if config.start == "random":
        return draw_uniform(total, n, rng)
    uniform = draw_uniform(total, round(config.random_fraction * n), rng)
    if config.start == "map":
        weights = saliency_weights(config.saliency_map, image.shape[:2])
    else:
        weights = gradient_weights(image, config.gradient_power)
    return np.concatenate([uniform, draw_weighted(weights, n - len(uniform), rng)])


def saliency_weights(path: str, size: tuple[int, int]) -> np.ndarray:
    """A user's saliency map as the released code treats its network's: resized (bilinear), smoothed, in [0, 1].

    Args:
        path: a picture; of colours the mean counts.
        size: (H, W).

    Returns:
        float32 [H, W].

    Raises:
        MethodError: a map of one value.
        splatbench.datasets.ImageError: not a picture.
    """
    grey = load_image(path).pixels.mean(2, dtype=np.float32)
    if grey.min() == grey.max():
        raise MethodError(f"saliency map {path}: all pixels are equal, so it says nothing; use start: random")
    resized = Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    smooth = ndimage.gaussian_filter(np.asarray(resized), _MAP_SIGMA)
    low, high = float(smooth.min()), float(smooth.max())
    return (smooth - low) / (high - low) if high > low else np.ones(size, np.float32)


def colors_at(image: np.ndarray, pixels: np.ndarray, gamma: float) -> np.ndarray:
    """float32 [n, C]: the picture's values in [0, 1], to the power gamma, at flat indices."""
    values = image.reshape(-1, image.shape[2])[pixels].astype(np.float32) / np.float32(255)
    return values if gamma == 1 else values ** np.float32(gamma)


def place(pixels: np.ndarray, colors: np.ndarray, size: tuple[int, int], config: Config) -> Parameters:
    """Round Gaussians of `initial_scale` at the centres of pixels, which are flat indices int64 [n]; on the CPU.

    The released code samples pixels at their upper left corners instead of their centres, so its Gaussians begin half a
    pixel right of and below the pixel whose colour they have: `half_pixel_shift`.
    """
    height, width = size
    offset = 1.0 if config.half_pixel_shift else 0.5
    positions = np.stack([(pixels % width + offset) / width, (pixels // width + offset) / height], 1)
    scale = 1 / config.initial_scale if config.inverse_scale else config.initial_scale
    return {
        "positions": torch.from_numpy(positions.astype(np.float32)),
        "scales": torch.full((len(pixels), 2), scale),
        "angles": torch.zeros(len(pixels), 1),
        "colors": torch.from_numpy(np.ascontiguousarray(colors, np.float32)),
    }

"""Warm starts: Gaussians of one method as the start of another's fit, whose blend and form of covariance may differ.

Between the same blends nothing changes. Between others positions and shapes stay, and colours are set anew, so that
each pixel which holds the centre of a Gaussian begins near its own value:

- to `topk`, an average: the colour of that pixel of the image;
- to `sum`: that colour over the sum of all weights there. A Gaussian's own weight at its centre is 1, so where the
  pixel's centre sees less (Gaussians narrower than a pixel), 1 stands for the sum.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from splatbench.gaussians import Blend, Gaussians2D
from splatbench.render import rasterize_sum


def check_start(start: Gaussians2D, image: np.ndarray, count: int) -> None:
    """Raises ValueError unless a start has `count` finite Gaussians for a picture like `image`, uint8 [H, W, C]."""
    height, width, channels = image.shape
    if start.size != (height, width):
        raise ValueError(f"the start is of {start.size[1]}x{start.size[0]} pixels, the picture of {width}x{height}")
    if start.colors.shape[1] != channels:
        raise ValueError(f"the start has {start.colors.shape[1]} channels, the picture {channels}")
    if len(start) != count:
        raise ValueError(f"the start has {len(start)} Gaussians, the budget asks for {count}")
    start.check_finite()


@torch.no_grad()
def converted(start: Gaussians2D, image: np.ndarray, blend: Blend) -> Gaussians2D:
    """A start with the colours that another blend needs; see above.

    Args:
        start: of any blend; of size and channels of the image.
        image: uint8 [H, W, C].
        blend: "sum" or "topk".

    Returns:
        Gaussians of that blend on the CPU, gamma 1 and no compat flags; no opacities.

    Raises:
        ValueError: a start that is shown with a gamma, or a blend that nothing is converted to.
    """
    if blend not in ("sum", "topk"):
        raise ValueError(f"a warm start is converted to blend 'sum' or 'topk', not to {blend!r}")
    if start.gamma != 1:
        raise ValueError(f"a start that is shown with a gamma ({start.gamma:g}) cannot be converted")
    start = dataclasses.replace(start.to("cpu"), compat=frozenset())
    if start.blend == blend:
        return start
    row, column = _pixels(start)
    colors = torch.from_numpy(np.ascontiguousarray(image[row, column])).float() / 255
    if blend == "sum":
        ones = torch.ones(len(start), 1)
        weights = rasterize_sum(start.means, start.covariance(), ones, start.size)[row, column]
        colors = colors / weights.clamp_min(1.0)
    return dataclasses.replace(start, blend=blend, colors=colors, opacities=None, background=0.0)


def _pixels(gaussians: Gaussians2D) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that hold the means; of means outside the picture the nearest ones."""
    height, width = gaussians.size
    x, y = gaussians.means.double().numpy().T
    return np.clip(y, 0, height - 1).astype(np.int64), np.clip(x, 0, width - 1).astype(np.int64)


def moved_inside(gaussians: Gaussians2D, low: Tensor, high: Tensor) -> tuple[Gaussians2D, int]:
    """Gaussians of blend `sum` for a method whose means have ends: means beyond them are moved there, and colours are
    dimmed to what was shown there.

    Args:
        low, high: [2] float64, the least and the largest (x, y) in pixels.

    Returns:
        The Gaussians, and how many were moved.
    """
    means = gaussians.means.double()
    inside = means.clamp(low, high)
    step = inside - means
    moved = (step != 0).any(1)
    if not bool(moved.any()):
        return gaussians, 0
    l11, l21, l22 = factors(gaussians).double().unbind(1)
    first = torch.where(step[:, 0] == 0, 0.0, step[:, 0] / l11)
    rest = step[:, 1] - torch.where(l21 == 0, 0.0, l21 * first)
    second = torch.where(rest == 0, 0.0, rest / l22)
    weights = torch.exp(-(first.square() + second.square()) / 2).float()
    changed = dataclasses.replace(gaussians, means=inside.float(), colors=gaussians.colors * weights[:, None])
    return changed, int(moved.sum())


def factors(gaussians: Gaussians2D) -> Tensor:
    """[N, 3] float32 lower Cholesky factors (l11, l21, l22) of the covariances, in pixels."""
    if gaussians.cholesky is not None:
        return gaussians.cholesky
    sxx, sxy, syy = gaussians.covariance().unbind(1)
    l11 = sxx.sqrt()
    l21 = torch.where(l11 > 0, sxy / l11, 0.0)
    return torch.stack([l11, l21, (syy - l21 * l21).clamp_min(0).sqrt()], 1).float()


def axes(gaussians: Gaussians2D) -> tuple[Tensor, Tensor]:
    """Standard deviations [N, 2] in pixels and angles [N] in radians, float32: covariance = R diag(s^2) R^T.

    Those of the Gaussians where they have them; else the larger axis first, by the eigenvalues of the covariance.
    """
    if gaussians.scales is not None and gaussians.angles is not None:
        return gaussians.scales, gaussians.angles
    assert gaussians.cholesky is not None
    sxx, sxy, syy = gaussians.covariance().unbind(1)
    larger = ((sxx + syy) / 2 + torch.hypot((sxx - syy) / 2, sxy)).sqrt()
    # the product of the axes is that of the factor's diagonal: no difference of large numbers
    area = (gaussians.cholesky[:, 0].double() * gaussians.cholesky[:, 2].double()).abs()
    smaller = torch.where(larger > 0, area / larger, 0.0)
    angles = torch.atan2(2 * sxy, sxx - syy) / 2
    return torch.stack([larger, smaller], 1).float(), angles.float()


def turn_logits(angles: Tensor) -> Tensor:
    """[N, 1] float32 logits whose sigmoid is an equal angle in turns: axes have a period of half a turn, so of all
    equal angles that between a quarter and three quarters of a turn is taken, far from the ends of the sigmoid."""
    turns = torch.remainder(angles.double() / (2 * math.pi) - 0.25, 0.5) + 0.25
    return torch.logit(turns).float()[:, None]

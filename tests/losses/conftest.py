"""The objective by its definition, in float64, and pictures to try it on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d


def _moments(x, y, valid):
    """Means over 11 x 11 Gaussian windows of x, y, xx, yy, xy; x, y: [H, W, C]."""
    offset = torch.arange(-5, 6, dtype=torch.float64)
    taps = torch.exp(-(offset**2) / (2 * 1.5**2))
    window = torch.outer(taps, taps) / taps.sum() ** 2
    planes = torch.stack([x, y, x * x, y * y, x * y]).permute(0, 3, 1, 2).flatten(0, 1)[:, None]
    return conv2d(planes, window[None, None], padding=0 if valid else 5).unflatten(0, (5, -1))


def _definition(image, target, objective):
    x = image.double()
    t = target.double() / 255 if target.dtype == torch.uint8 else target.double()
    if objective.clamp:
        x = x.clamp(0, 1)
    value = objective.l1 * (x - t).abs().mean() + objective.l2 * (x - t).square().mean()
    if objective.ssim:
        mx, mt, xx, tt, xt = _moments(x, t, objective.window == "valid")
        numerator = (2 * mx * mt + 1e-4) * (2 * (xt - mx * mt) + 9e-4)
        ssim = numerator / ((mx**2 + mt**2 + 1e-4) * (xx - mx**2 + tt - mt**2 + 9e-4))
        value = value + objective.ssim * (1 - ssim.mean())
    return value


@pytest.fixture(scope="session")
def definition():
    """definition(image, target, objective) -> scalar float64: Wang et al. 2004, equation 13, term by term."""
    return _definition


@pytest.fixture(scope="session")
def differentiated():
    """The same with its gradient: (value, gradient), float64."""

    def both(image, target, objective):
        x = image.detach().double().requires_grad_()
        value = _definition(x, target, objective)
        return value.detach(), torch.autograd.grad(value, x)[0]

    return both


@pytest.fixture(scope="session")
def pictures():
    """pictures(shape, seed, low, high) -> float32 noise in [low, high) and a uint8 target."""

    def make(shape, seed=0, low=-0.3, high=1.3):
        rng = np.random.default_rng(seed)
        image = torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))
        return image, torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))

    return make


@pytest.fixture(scope="session")
def fitted(photograph):
    """A photograph and what a fit of it may look like: (float32 [H, W, 3], uint8 [H, W, 3])."""
    target = torch.from_numpy(photograph)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.03, photograph.shape))
    blurred = (target.double() / 255 + (target.double() / 255).roll(1, 0) + (target.double() / 255).roll(1, 1)) / 3
    return (blurred + noise).float(), target

"""Scenes, and how pictures of the Triton kernels are compared with the float64 references.

Interpreted kernels take milliseconds for every pair of a tile and a Gaussian: scenes are as small as they can be. They
warn where NumPy divides by zero in lanes whose result is dropped; GPUs do not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:(invalid value|divide by zero):RuntimeWarning"))


Scene = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def covariances(s1, s2, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos**2 * s1**2 + sin**2 * s2**2, cos * sin * (s1**2 - s2**2), sin**2 * s1**2 + cos**2 * s2**2], -1)


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Scene]:
    """make_scene(count, size, long=(lo, hi), short=(lo, hi), channels, seed): log-uniform axes, any angle."""

    def make(count, size, long=(0.5, 5), short=(0.5, 5), channels=3, seed=0) -> Scene:
        rng = np.random.default_rng(seed)
        axes = [np.exp(rng.uniform(*np.log(span), count)) for span in (long, short)]
        means = rng.uniform([-3, -3], [size[1] + 3, size[0] + 3], (count, 2)).astype(np.float32)
        covariance = covariances(*axes, rng.uniform(0, np.pi, count))
        colors = rng.normal(size=(count, channels)).astype(np.float32)
        return torch.from_numpy(means), torch.from_numpy(covariance), torch.from_numpy(colors)

    return make


@pytest.fixture(scope="session")
def error() -> Callable[..., float]:
    """Largest difference, relative to the largest wanted value."""

    def compare(got, want) -> float:
        got, want = (torch.as_tensor(v).detach().double().cpu() for v in (got, want))
        assert got.shape == want.shape
        return 0.0 if want.numel() == 0 else float((got - want).abs().max() / want.abs().max().clamp_min(1e-30))

    return compare


@pytest.fixture(scope="session")
def run(triton_device) -> Callable[..., list[torch.Tensor]]:
    """run(draw, scene, *args, **settings): picture and gradients of a made-up loss, on the CPU."""

    def evaluate(draw, scene: Scene, *args: Any, double: bool = False, **settings: Any) -> list[torch.Tensor]:
        device = "cpu" if double else triton_device
        leaves = [(v.double() if double else v).detach().clone().to(device).requires_grad_() for v in scene]
        image = draw(*leaves, *args, **settings)
        weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
        (image * weights.to(device)).sum().backward()
        return [image.detach().cpu(), *(v.grad.cpu() for v in leaves)]

    return evaluate


@pytest.fixture(scope="session")
def agree(run, error) -> Callable[..., None]:
    """agree(draw, reference, scene, ..., bar): values and gradients of both are the same, up to float32."""

    def compare(draw, reference, scene: Scene, *args: Any, bar: float = 2e-6, **settings: Any) -> None:
        got = run(draw, scene, *args, **settings)
        wanted = run(reference, scene, *args, double=True, **settings)
        for name, mine, truth in zip(("image", "means", "covariance", "colors"), got, wanted, strict=True):
            assert error(mine, truth) < bar, name
        for given, gradient in zip(scene, got[1:], strict=True):
            assert gradient.dtype == given.dtype

    return compare

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch

from splatbench.budget import Budget
from splatbench.method import Method, get_method
from splatbench.render import render
from splatbench.trace import Trace


@pytest.fixture(scope="session")
def method() -> type[Method]:
    return get_method("image_gs")


@pytest.fixture(scope="session")
def part(method):
    """A file of the method's folder by name."""

    def get(name: str) -> ModuleType:
        return importlib.import_module(f"{method.__module__}.{name}")

    return get


@pytest.fixture(scope="session")
def encode(method):
    """A fit with the budget's count: (method object, encoding)."""

    def run(image, n, iterations=None, seed=1, trace=None, **settings):
        instance = method(method.make_config(settings))
        budget = Budget(gaussians=n, iterations=iterations)
        return instance, instance.encode(image, budget, trace if trace is not None else Trace(), seed)

    return run


@pytest.fixture(scope="session")
def psnr():
    """dB of the clamped picture of Gaussians against a uint8 image."""

    def measure(gaussians, image):
        picture = render(gaussians).clamp(0, 1).double()
        return float(-10 * torch.log10((picture - torch.from_numpy(image).double() / 255).square().mean()))

    return measure

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.method import Method, get_method
from splatbench.render import render
from splatbench.trace import Trace


@pytest.fixture(scope="session")
def method() -> type[Method]:
    return get_method("fast_2dgs")


@pytest.fixture(scope="session")
def part(method):
    """A file of the method's folder by name."""

    def get(name: str) -> ModuleType:
        return importlib.import_module(f"{method.__module__}.{name}")

    return get


@pytest.fixture(scope="session")
def randomised():
    """A network whose batch norms and biases are random too, in evaluation mode."""

    def make(net, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                if value.ndim > 1:  # keeps the size of what goes through
                    fan_in = value[0].numel() if "up" not in name else len(value)
                    value.copy_(noise * (2 / fan_in) ** 0.5)
                else:
                    value.copy_(
                        0.2 * noise + (1.0 if name.endswith(("var", "block.1.weight", "block.4.weight")) else 0)
                    )
        return net.eval()

    return make


@pytest.fixture(scope="session")
def small_weights(part, tmp_path_factory):
    """A file of small networks with random weights."""
    torch.manual_seed(3)
    unet, model = part("unet"), part("model")
    shape = unet.Shape(base=4, k_dim=4, unshuffle=2)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model.save_small(path, model.SmallModel(unet.HeatNet(shape), unet.AttributeNet(shape)), {"seed": "3"})
    return path


@pytest.fixture(scope="session")
def encode(method):
    """An encoding with a count: (method object, Gaussians)."""

    def run(image, n, iterations=None, seed=1, trace=None, **settings):
        instance = method(method.make_config(settings))
        budget = Budget(gaussians=n, iterations=iterations)
        return instance, instance.encode(image, budget, trace if trace is not None else Trace(), seed)

    return run


@pytest.fixture(scope="session")
def psnr():
    """dB of the clamped picture of Gaussians against a uint8 image."""

    def measure(gaussians, image):
        picture = render(gaussians).clamp(0, 1).double().numpy()
        return float(-10 * np.log10(np.mean((picture - image / 255) ** 2)))

    return measure

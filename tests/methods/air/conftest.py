from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from splatbench.method import Method, get_method


@pytest.fixture(scope="session")
def method() -> type[Method]:
    return get_method("air")


@pytest.fixture(scope="session")
def part(method):
    """A file of the method's folder by name, e.g. "network.vit"."""

    def get(name: str) -> ModuleType:
        return importlib.import_module(f"{method.__module__}.{name}")

    return get


@pytest.fixture(scope="session")
def tiny_shape(part):
    """A head of the published structure with a few thousand parameters."""
    encoder = part("network.vit").ViTShape(width=32, depth=3, heads=2, taps=(1, 2))
    return part("network.head").HeadShape(encoder=encoder, widths=(24, 16, 12, 8, 6), token=10)

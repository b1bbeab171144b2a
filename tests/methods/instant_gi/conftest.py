from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from splatbench.method import Method, get_method


@pytest.fixture(scope="session")
def method() -> type[Method]:
    return get_method("instant_gi")


@pytest.fixture(scope="session")
def part(method):
    """A file of the method's folder by name."""

    def get(name: str) -> ModuleType:
        return importlib.import_module(f"{method.__module__}.{name}")

    return get

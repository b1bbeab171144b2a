from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from splatbench.method import Method, get_method


@pytest.fixture(scope="session")
def method() -> type[Method]:
    return get_method("smartsplat")


@pytest.fixture(scope="session")
def part(method):
    """A file of the method's folder by name."""

    def get(name: str) -> ModuleType:
        return importlib.import_module(f"{method.__module__}.{name}")

    return get


@pytest.fixture(scope="session")
def div8k() -> Callable[[str], np.ndarray]:
    """A picture of DIV8K by name; the test is skipped where it is not there."""
    from splatbench.datasets import load_image

    def get(name: str) -> np.ndarray:
        for root in os.environ.get("SPLATBENCH_DATA", "").split(os.pathsep):
            if root and (path := Path(root) / "div8k" / f"{name}.png").is_file():
                return load_image(path).pixels
        pytest.skip(f"needs picture {name} of DIV8K: set SPLATBENCH_DATA to a folder with div8k/{name}.png")

    return get

"""Files of named arrays, as other programs write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE = (40, 60)
Write = Callable[..., Path]


def facts(**changes: Any) -> dict[str, Any]:
    """Valid facts for scales and angles in this project's conventions; None takes one away."""
    usual = {
        "version": 1,
        "size": list(SIZE),
        "blend": "sum",
        "coordinates": "pixels",
        "pixel_centers": "half",
        "axes": "xy",
        "colors": "unit",
        "scales": "standard_deviation",
        "angle_unit": "radians",
        "angle_direction": "x_to_y",
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def arrays(n: int = 20, seed: int = 1) -> dict[str, np.ndarray]:
    """float32 arrays that fit `facts`."""
    rng = np.random.default_rng(seed)
    found = {
        "means": rng.random((n, 2)) * SIZE[::-1],
        "scales": rng.uniform(0.3, 9, (n, 2)),
        "angles": rng.uniform(-4, 4, n),
        "colors": rng.normal(0.3, 0.4, (n, 3)),
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


@pytest.fixture
def save(tmp_path: Path) -> Write:
    """Writes arrays and facts as numpy or the safetensors library do."""

    def write(values: dict[str, np.ndarray], told: Any, suffix: str = ".npz") -> Path:
        path = tmp_path / f"made{suffix}"
        text = told if isinstance(told, str) else json.dumps(told)
        if suffix == ".npz":
            np.savez(path, **values, facts=text)
        else:
            from safetensors.numpy import save_file

            whole = {name: np.ascontiguousarray(value) for name, value in values.items()}
            save_file(whole, path, metadata={"facts": text})
        return path

    return write

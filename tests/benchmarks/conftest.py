"""The benchmarks are run from the project's folder; tests may be run from anywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.scenes import Scene, make_scene  # noqa: E402


@pytest.fixture(scope="session")
def scene() -> Scene:
    """60 Gaussians on 36 x 24 pixels."""
    return make_scene("small", 60, 24, 36)

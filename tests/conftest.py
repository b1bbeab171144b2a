"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported: its threads must wait asleep, or a busy machine takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import numpy as np
import pytest


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A real photograph that comes inside scikit-image: uint8 [300, 451, 3]."""
    from skimage import data

    return np.ascontiguousarray(data.chelsea())


@pytest.fixture(scope="session")
def crop(photograph: np.ndarray) -> np.ndarray:
    """96 x 96 pixels of it, with the cat's eye."""
    return np.ascontiguousarray(photograph[80:176, 120:216])


@pytest.fixture(scope="session")
def kodak() -> Path:
    """Folder of the Kodak images in SPLATBENCH_DATA; the test is skipped where there is none."""
    for root in os.environ.get("SPLATBENCH_DATA", "").split(os.pathsep):
        if root and (Path(root) / "kodak" / "kodim01.png").is_file():
            return Path(root) / "kodak"
    pytest.skip("needs the Kodak images: set SPLATBENCH_DATA to a folder with kodak/kodim01.png ...")


# Examples take as long as the machine takes; CI must not fail because it was busy.
hypothesis.settings.register_profile("splatbench", deadline=None, print_blob=True)
hypothesis.settings.load_profile("splatbench")

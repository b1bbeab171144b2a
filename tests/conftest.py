"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Before torch is imported: its threads must wait asleep, or a busy machine takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import numpy as np
import pytest
import torch

# Before a module with Triton kernels is imported: without a GPU they are interpreted, on CPU tensors.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


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


@pytest.fixture(scope="session")
def triton_device() -> str:
    """Where tensors for Triton kernels lie: "cuda", or "cpu" where there is no GPU and kernels are interpreted."""
    pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")
    return "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


@pytest.fixture(scope="session")
def compile_kernels() -> Callable[[list[dict]], list[dict]]:
    """Compiles kernels for GPUs that need not be there: see triton_compile.py for what goes in and what comes out."""
    pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

    def compiled(kernels: list[dict]) -> list[dict]:
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        script = Path(__file__).parent / "triton_compile.py"
        run = subprocess.run(
            [sys.executable, str(script)], input=json.dumps(kernels), env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr[-4000:]
        return json.loads(run.stdout)

    return compiled


# Examples take as long as the machine takes; CI must not fail because it was busy.
hypothesis.settings.register_profile("splatbench", deadline=None, print_blob=True)
hypothesis.settings.load_profile("splatbench")

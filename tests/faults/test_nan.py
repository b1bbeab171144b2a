"""NaN in the middle of a fit: the row says at which step, and the other pictures go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from splatbench.budget import Budget
from splatbench.method import get_method
from splatbench.runner.encoding import encode_image
from splatbench.trace import Diverged

POISONED_STEP = 2

#: Methods that fit by gradients on a CPU, with settings that make them quick.
FITS: dict[str, dict[str, Any]] = {
    "gaussianimage": {},
    "image_gs": {},
    "smartsplat": {},
    "lig": {},
    "threedgs": {},
    "fast_2dgs": {},
}


@pytest.fixture
def poison() -> Iterator[list[int]]:
    """After the second step of any optimiser one of its parameters holds a NaN. Counts steps."""
    steps = [0]

    def hook(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        steps[0] += 1
        if steps[0] == POISONED_STEP:
            with torch.no_grad():
                optimiser.param_groups[0]["params"][0].view(-1)[0] = float("nan")

    handle = register_optimizer_step_post_hook(hook)
    yield steps
    handle.remove()


@pytest.mark.parametrize("name", FITS)
def test_a_nan_in_a_fit_is_divergence(crop: np.ndarray, poison: list[int], name: str) -> None:
    kind = get_method(name)
    method = kind(kind.make_config(FITS[name]), "cpu")
    image = np.ascontiguousarray(crop[:32, :40])
    with pytest.raises(Diverged) as error:
        encode_image(method, image, Budget(gaussians=30, iterations=8))
    assert poison[0] >= POISONED_STEP, "the fit makes no steps"
    # Most see it in the loss of the next step; at the latest the Gaussians of the file are looked at.
    assert re.search(r"at step \d+ of \d+|NaN|infinite", str(error.value)), str(error.value)

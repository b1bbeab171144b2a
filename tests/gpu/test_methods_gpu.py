"""Fits on a CUDA device: the same quality as on the CPU, and files that need no GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.method import available, get_method
from splatbench.metrics import evaluate
from splatbench.render import render
from splatbench.trace import Trace

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ON_REQUEST = [name for name in available() if "cuda" in get_method(name).on_request]


def _psnr(method, device: str, image: np.ndarray, budget: Budget) -> float:
    fitted = method(method.make_config({}), device)
    trace = Trace()
    trace.start()
    data = fitted.to_bytes(fitted.encode(image, budget, trace, seed=1))
    picture = render(method.from_bytes(data)).clamp(0, 1).numpy()
    values, _ = evaluate(["psnr"], picture, image)
    return values["psnr"]


@pytest.mark.parametrize("name", ON_REQUEST)
def test_a_gpu_fits_as_well_as_the_cpu(name):
    from skimage import data

    image = np.ascontiguousarray(data.astronaut()[:192, 160:384])
    method = get_method(name)
    if "gaussians" in method.budgets:
        budget = Budget(gaussians=1500, iterations=300)
    else:  # one that chooses its own number
        budget = Budget(native=True)
    cpu, cuda = (_psnr(method, device, image, budget) for device in ("cpu", "cuda"))
    assert cpu > 18
    assert abs(cuda - cpu) < 0.3  # the order of summation differs, and fits amplify that

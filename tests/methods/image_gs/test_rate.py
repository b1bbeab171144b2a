"""A budget in bytes: the real file meets it, and the depths are chosen with the number of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest

from splatbench.budget import Budget
from splatbench.trace import Trace

PIXELS = 64 * 64


def encode(method, image: np.ndarray, budget: Budget, **settings: object) -> tuple[bytes, Trace]:
    made, trace = method(method.make_config(settings)), Trace()
    trace.start()
    encoding = made.encode(image, budget, trace)
    return made.to_bytes(encoding), trace


def test_quantised_file_meets_the_rate(method, crop: np.ndarray) -> None:
    """And it is the file of a plain budget with what the note says: the count, and 8 bits for steps of 1/4 pixel."""
    settings = {"preset": "air600_q", "patience": 20}
    data, trace = encode(method, crop[:64, :64], Budget(bpp=2.0, iterations=20), **settings)
    assert 8 * len(data) / PIXELS == pytest.approx(2.0, rel=0.02)
    words = trace.notes[0].split(": ", 1)[1].split("; ")[0].replace(" = ", " ").split(", ")
    chosen = {name: int(value) for name, value in (word.split() for word in words)}
    assert set(chosen) == {"N", "position_bits", "scale_bits", "angle_bits", "color_bits"}
    assert chosen["position_bits"] in (7, 8, 9, 16)
    budget = Budget(gaussians=chosen.pop("N"), iterations=20)
    assert encode(method, crop[:64, :64], budget, **settings | chosen)[0] == data


def test_without_quantisation_only_the_count_is_searched(method, crop: np.ndarray) -> None:
    data, trace = encode(method, crop[:64, :64], Budget(bpp=6.0, iterations=10))
    assert 8 * len(data) / PIXELS == pytest.approx(6.0, rel=0.02)
    assert "bits" not in trace.notes[0] and trace.steps == 10

"""A budget in bytes: the real file meets it, and the depths are chosen with the number of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest

from splatbench.budget import Budget
from splatbench.codec import decode, read
from splatbench.method import MethodError
from splatbench.metrics import evaluate
from splatbench.render import render_u8
from splatbench.runner.encoding import encode_image, warm_up
from splatbench.trace import Trace


def encode(method, image: np.ndarray, budget: Budget, **settings: object) -> tuple[bytes, Trace]:
    made, trace = method(method.make_config(settings)), Trace()
    trace.start()
    encoding = made.encode(image, budget, trace)
    trace.stop()
    return made.to_bytes(encoding), trace


@pytest.mark.parametrize(("variant", "bpp"), [("cholesky", 1.5), ("rs", 3.0)])
@pytest.mark.slow
def test_quantised_file_meets_the_rate(method, crop: np.ndarray, variant: str, bpp: float) -> None:
    settings = {"variant": variant, "quantise": True, "iterations": 60, "qat_iterations": 30}
    data, trace = encode(method, crop, Budget(bpp=bpp), **settings)
    assert 8 * len(data) / (96 * 96) == pytest.approx(bpp, rel=0.02)
    (note,) = trace.notes
    # What the note says is what the file holds, and the file is what a plain budget with these settings makes.
    words = note.removesuffix(f"; {note.rsplit('; ', 1)[1]}").split(": ", 1)[1].replace(" = ", " ").split(", ")
    chosen = {name: int(value) for name, value in (word.split() for word in words)}
    again, _ = encode(method, crop, Budget(gaussians=chosen.pop("N")), **settings, **chosen)
    assert again == data
    arrays = read(data).arrays
    assert arrays["codebooks"].shape[1] == chosen["codebook_size"]
    assert int(arrays["covariance"].max()) < 2 ** chosen["covariance_bits"]


def test_iterations_of_the_budget_count(method, crop: np.ndarray) -> None:
    """60 steps, of which a pilot takes all: the fit that is returned has as many, whatever the settings say."""
    _, trace = encode(method, crop, Budget(bpp=2.0, iterations=60), quantise=True, qat_iterations=10)
    assert trace.steps == 70 and set(trace.stages) == {"search", "initialise", "fit", "quantise"}


def test_float32_files_meet_the_rate_with_the_count_alone(method, crop: np.ndarray) -> None:
    data, trace = encode(method, crop, Budget(bpp=8.0), iterations=30)
    assert 8 * len(data) / (96 * 96) == pytest.approx(8.0, rel=0.02)
    assert "bits" not in trace.notes[0] and set(read(data).arrays) == {"means", "cholesky", "colors"}


def test_more_bytes_are_a_better_picture(method, crop: np.ndarray) -> None:
    values = []
    for bpp in (1.0, 3.0):
        data, _ = encode(method, crop, Budget(bpp=bpp), quantise=True, iterations=100, qat_iterations=20)
        picture = render_u8(decode(data)).astype(np.float32) / 255
        values.append(evaluate(["psnr"], picture, crop)[0]["psnr"])
    assert values[0] + 2 < values[1]


def test_a_rate_below_the_fixed_cost_is_refused(method, crop: np.ndarray) -> None:
    with pytest.raises(
        MethodError, match="GaussianImage makes no shorter file than one of .* with N = 1; ask for more"
    ):
        encode(method, crop, Budget(bpp=0.1), quantise=True, iterations=3, qat_iterations=2)


def test_the_harness_warms_up_and_records_what_was_found(method, crop: np.ndarray) -> None:
    """0.6 bit per pixel are out of reach for the small picture of the warm-up, not for this one."""
    made = method(method.make_config({"quantise": True, "iterations": 20, "qat_iterations": 10}))
    warm_up(made, Budget(bpp=0.6))
    encoded = encode_image(made, crop, Budget(bpp=0.6))
    assert 8 * len(encoded.files[-1].data) / (96 * 96) == pytest.approx(0.6, rel=0.02)
    assert encoded.files[-1].n_actual is not None and f"N = {encoded.files[-1].n_actual}," in encoded.notes[0]
    with pytest.raises(MethodError, match="makes no shorter file"):
        encode_image(made, crop[:24, :32], Budget(bpp=0.6))

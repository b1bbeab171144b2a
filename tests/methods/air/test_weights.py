"""The weights that come with the method."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from splatbench.budget import Budget
from splatbench.codec import decode
from splatbench.render import render
from splatbench.trace import Trace

#: Mean over kodim03, 08 and 20, less 0.1.
LEAST_KODAK = 30.85
#: dB that AIR-small reaches on these pictures of scikit-image, less 0.1.
LEAST = {"coffee": 30.0, "chelsea": 34.3}


@pytest.fixture(scope="session")
def file(part):
    weights = part("weights")
    return weights.SHIPPED / weights.DEFAULT


def score(data, image):
    return 10 * np.log10(1 / np.square(render(decode(data)).clamp(0, 1).numpy() - image / 255).mean())


def encode(method, image, **settings):
    air = method(method.make_config(settings))
    air.prepare()
    encoding = air.encode(image, Budget(native=True), Trace())
    return encoding, air.to_bytes(encoding), air.nominal_bits(encoding)


def test_they_are_small_and_say_what_they_are(file):
    assert file.stat().st_size <= 16 * 2**20
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    assert json.loads(header["network"])["patch"] == 7
    assert header["ranges"] == "adaptive"
    card = (file.parent / "README.md").read_text()
    for word in ("Data", "Recipe", "Seed", "Quality", "Licence"):
        assert word in card


@pytest.mark.parametrize("name", LEAST)
def test_one_pass_gives_the_quality_that_the_card_promises(method, name):
    from skimage import data

    image = np.ascontiguousarray(getattr(data, name)())
    encoding, plain, _ = encode(method, image)
    assert score(plain, image) > LEAST[name]
    per_stage = [score(_bytes(method, encoding.upto(n)), image) for n in (1, 2, 3, 4)]
    assert per_stage == sorted(per_stage)
    assert len(encoding) <= encoding.masks.numel()
    quantised, data_quantised, nominal = encode(method, image, quantise=True)
    assert score(plain, image) - score(data_quantised, image) < 0.8
    assert 8 * len(data_quantised) < nominal < 53 * len(quantised) * 1.2


def _bytes(method, encoding):
    return method(method.make_config({})).to_bytes(encoding)


def test_kodak_as_the_card_says(method, kodak):
    """The mean over three images; the card has all of them."""
    from splatbench.datasets import load_image

    scores = []
    for number in (3, 8, 20):
        image = load_image(kodak / f"kodim{number:02d}.png").pixels
        encoding, data, _ = encode(method, image, max_gaussians=32_000)
        assert len(encoding) <= 32_000
        scores.append(score(data, image))
    assert np.mean(scores) > LEAST_KODAK

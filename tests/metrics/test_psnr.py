"""PSNR against scikit-image in float64, and its properties."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from splatbench.metrics import evaluate
from splatbench.metrics.psnr import CAP, round_u8


def psnr(picture: np.ndarray, reference: np.ndarray, name: str = "psnr") -> float:
    value = evaluate([name], picture, reference)[0][name]
    assert value is not None
    return value


def test_equals_scikit_image(pairs) -> None:
    for picture, reference in pairs.values():
        expected = peak_signal_noise_ratio(reference / 255.0, picture.astype(np.float64), data_range=1.0)
        assert psnr(picture, reference) == pytest.approx(expected, abs=1e-6)
        rounded = np.array([[[math.floor(v * 255 + 0.5) for v in p] for p in row] for row in picture[:40].tolist()])
        expected = peak_signal_noise_ratio(reference[:40], rounded.astype(np.uint8), data_range=255)
        assert psnr(picture[:40], reference[:40], "psnr_u8") == pytest.approx(expected, abs=1e-9)


def test_known_values() -> None:
    black = np.zeros((3, 5, 3), np.uint8)
    assert psnr(np.ones((3, 5, 3), np.float32), black) == 0.0
    assert psnr(np.full((3, 5, 3), 0.1, np.float32), black) == pytest.approx(20.0, abs=1e-5)
    one = black.copy()
    one[0, 0, 0] = 1  # one step in one of 45 values: 20 log10(255) + 10 log10(45)
    assert psnr(np.zeros((3, 5, 3), np.float32), one, "psnr_u8") == pytest.approx(48.1308 + 16.5321, abs=1e-4)


def test_exact_copy_is_capped(photograph: np.ndarray) -> None:
    copy = photograph.astype(np.float32) / np.float32(255)
    assert psnr(copy, photograph) == psnr(copy, photograph, "psnr_u8") == CAP == 100.0


def test_cap_is_reached_continuously(photograph: np.ndarray) -> None:
    """An error a little above the cap's MSE of 1e-10 is measured, one below it is capped."""
    grey = np.full((8, 8, 3), 102, np.uint8)  # 0.4
    above = np.full((8, 8, 3), 0.4 + 1.1e-5, np.float32)
    assert psnr(above, grey) == pytest.approx(-20 * math.log10(1.1e-5), abs=0.05)
    assert psnr(np.full((8, 8, 3), 0.4 + 5e-6, np.float32), grey) == CAP


def test_rounds_half_up() -> None:
    """Against exact rational arithmetic, for all 8-bit values and the floats around every tie."""
    ties = ((np.arange(255) + 0.5) / 255).astype(np.float32)
    values = np.concatenate([ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1))])
    exact = [math.floor(Fraction(float(v)) * 255 + Fraction(1, 2)) for v in values]
    assert round_u8(values).tolist() == exact
    assert round_u8(np.float32([0, 0.5, 1])).tolist() == [0, 128, 255]  # 127.5 is a tie that float32 holds exactly
    assert np.array_equal(round_u8(np.arange(256, dtype=np.float32) / np.float32(255)), np.arange(256))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_symmetric_and_bounded(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    forth = psnr(a.astype(np.float32) / np.float32(255), b)
    assert forth == pytest.approx(psnr(b.astype(np.float32) / np.float32(255), a), abs=1e-9)
    assert 0 <= forth <= CAP
    # On 8-bit pictures both variants measure the same error.
    assert forth == pytest.approx(psnr(a.astype(np.float32) / np.float32(255), b, "psnr_u8"), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0.001, 0.2), min_size=2, max_size=5, unique=True))
def test_falls_with_noise(seed: int, sigmas: list[float]) -> None:
    rng = np.random.default_rng(seed)
    reference = np.full((16, 16, 3), 128, np.uint8)
    noise = rng.uniform(-1, 1, reference.shape)
    values = [psnr((128 / 255 + s * noise).astype(np.float32), reference) for s in sorted(sigmas)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(values))
    # Twice the noise is 20 log10(2) dB less.
    twice = psnr((128 / 255 + 2 * sigmas[0] * noise).astype(np.float32), reference)
    once = psnr((128 / 255 + sigmas[0] * noise).astype(np.float32), reference)
    assert once - twice == pytest.approx(20 * math.log10(2), abs=0.01)

"""SSIM and MS-SSIM against pytorch-msssim, against a float64 computation from the definition, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_msssim
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d

from splatbench.metrics import array_strips, evaluate, get_metric
from splatbench.metrics import ssim as family

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def _maps(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean SSIM and contrast of one channel, from the formulas of Wang et al. 2004 (equations 12 to 16)."""
    t = np.arange(-5, 6)
    g = np.exp(-(t**2) / (2 * 1.5**2))
    window = np.outer(g, g) / g.sum() ** 2
    mean = lambda z: convolve2d(z, window, "valid")  # noqa: E731
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    contrast = (2 * cov + c2) / (vx + vy + c2)
    return float(((2 * mx * my + c1) / (mx**2 + my**2 + c1) * contrast).mean()), float(contrast.mean())


def _halve(x: np.ndarray) -> np.ndarray:
    """2x2 means; an odd side is padded with zeros before its first line, and the zeros count."""
    x = np.pad(x, [(s % 2, 0) for s in x.shape])
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean((1, 3))


def _from_definition(picture: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    single, multi = [], []
    for channel in range(3):
        x, y = picture[..., channel].astype(np.float64), reference[..., channel] / 255.0
        factors = []
        for level in range(5):
            ssim, contrast = _maps(x, y)
            if level == 0:
                single.append(ssim)
            factors.append(ssim if level == 4 else contrast)
            x, y = _halve(x), _halve(y)
        multi.append(np.prod(np.maximum(factors, 0) ** WEIGHTS))
    return float(np.mean(single)), float(np.mean(multi))


def _package(picture: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
    y = torch.from_numpy(reference.astype(np.float32)).permute(2, 0, 1)[None] / 255
    return float(pytorch_msssim.ssim(x, y, data_range=1.0)), float(pytorch_msssim.ms_ssim(x, y, data_range=1.0))


@pytest.mark.parametrize("streamed", [False, True])
def test_golden(pairs, streamed: bool) -> None:
    for name, (picture, reference) in pairs.items():
        values, not_run = evaluate(["ssim", "ms_ssim"], picture, reference, streamed=streamed)
        assert not not_run
        for expected in (_package(picture, reference), _from_definition(picture, reference)):
            assert (values["ssim"], values["ms_ssim"]) == pytest.approx(expected, abs=1e-5), name


@pytest.mark.parametrize("rows", [1, 5, 10, 11, 64, 299])
@pytest.mark.parametrize("name", ["ssim", "ms_ssim"])
def test_strips_equal_whole(odd_pair, name: str, rows: int) -> None:
    picture, reference = odd_pair
    stream = family.stream(get_metric(name), reference, "cpu")
    for row0, strip in array_strips(picture, rows):
        stream.push(row0, strip)
    assert stream.value() == pytest.approx(family.whole(get_metric(name), picture, reference, "cpu"), abs=1e-6)


def test_inverted_picture_is_clipped_alike() -> None:
    """Negative contrast means: MS-SSIM clips them to 0 in both paths; SSIM keeps its sign."""
    reference = np.random.default_rng(0).integers(0, 256, (200, 177, 3), dtype=np.uint8)
    inverted = 1 - reference.astype(np.float32) / np.float32(255)
    for streamed in (False, True):
        values, _ = evaluate(["ssim", "ms_ssim"], inverted, reference, streamed=streamed)
        assert values["ms_ssim"] == 0.0
        assert values["ssim"] is not None and values["ssim"] < -0.5


def test_incomplete_picture_has_no_value(odd_pair) -> None:
    picture, reference = odd_pair
    stream = family.stream(get_metric("ms_ssim"), reference, "cpu")
    stream.push(0, picture[:250])
    with pytest.raises(RuntimeError, match="incomplete"):
        stream.value()


def test_sides_too_small_are_not_run(photograph: np.ndarray) -> None:
    small = photograph[:160]
    values, not_run = evaluate(["ssim", "ms_ssim"], small.astype(np.float32) / 255, small)
    assert values["ms_ssim"] is None and "161 pixels" in not_run["ms_ssim"] and "451x160" in not_run["ms_ssim"]
    assert values["ssim"] == pytest.approx(1, abs=1e-6)
    tiny = photograph[:10]
    assert "11 pixels" in evaluate(["ssim"], tiny.astype(np.float32) / 255, tiny)[1]["ssim"]
    least = photograph[:161, :161]
    values, not_run = evaluate(["ms_ssim"], least.astype(np.float32) / 255, least)
    assert values["ms_ssim"] == pytest.approx(1, abs=1e-6) and not not_run


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(11, 40), st.integers(11, 40), st.booleans())
def test_bounds_and_identity(seed: int, height: int, width: int, streamed: bool) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = rng.random((height, width, 3), np.float32)
    value = evaluate(["ssim"], picture, reference, streamed=streamed)[0]["ssim"]
    assert value is not None and -1 <= value < 1
    same = reference.astype(np.float32) / np.float32(255)
    assert evaluate(["ssim"], same, reference, streamed=streamed)[0]["ssim"] == pytest.approx(1, abs=1e-6)


def test_kodak(kodak, jpeg) -> None:
    """kodim02 through JPEG at quality 10, with the values of pytorch-msssim and of the definition."""
    from PIL import Image

    reference = np.asarray(Image.open(kodak / "kodim02.png").convert("RGB"))
    picture = jpeg(reference, 10)
    values, _ = evaluate(["ssim", "ms_ssim"], picture, reference)
    assert (values["ssim"], values["ms_ssim"]) == pytest.approx(_package(picture, reference), abs=1e-6)
    assert (values["ssim"], values["ms_ssim"]) == pytest.approx(_from_definition(picture, reference), abs=1e-5)
    # JPEG decoders differ a little; RGB gives 0.842 here where luma gives 0.913.
    assert values["ms_ssim"] == pytest.approx(0.842, abs=2e-3)

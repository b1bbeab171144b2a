"""FLIP against its package."""

from __future__ import annotations

import flip_evaluator
import numpy as np
import pytest

from splatbench.metrics import array_strips, evaluate
from splatbench.metrics.flip import HALO, PPD, FlipStream


def _package(picture: np.ndarray, reference: np.ndarray) -> float:
    """The mean that the package itself gives with its default settings."""
    unit = reference.astype(np.float32) / np.float32(255)
    _, mean, settings = flip_evaluator.evaluate(unit, picture, "LDR", applyMagma=False, parameters={})
    assert settings["ppd"] == pytest.approx(PPD, abs=1e-4)
    return float(mean)


def test_golden(pairs) -> None:
    for name, (picture, reference) in pairs.items():
        value = evaluate(["flip"], picture, reference)[0]["flip"]
        assert value == pytest.approx(_package(picture, reference), abs=1e-5), name


@pytest.mark.parametrize(("rows", "strip"), [(40, 7), (100, 299), (298, 64)])
def test_strips_equal_whole(odd_pair, rows: int, strip: int) -> None:
    picture, reference = odd_pair
    stream = FlipStream(reference, rows)
    for row0, piece in array_strips(picture, strip):
        stream.push(row0, piece)
    assert stream.value() == pytest.approx(_package(picture, reference), abs=1e-6)


def test_halo_reaches_as_far_as_the_filters(crop: np.ndarray) -> None:
    """What lies HALO rows away does not change the map, so bands see all that matters."""
    from splatbench.metrics.flip import error_map

    picture = np.clip(crop.astype(np.float32) / 255 + 0.05, 0, 1)
    other, reference = picture.copy(), crop.copy()
    other[48 + HALO :], reference[48 + HALO :] = 0.9, 17
    assert np.array_equal(error_map(picture, crop)[:48], error_map(other, reference)[:48])
    assert not np.array_equal(error_map(picture, crop)[: 48 + HALO], error_map(other, reference)[: 48 + HALO])


def test_identity_and_order(photograph: np.ndarray, jpeg) -> None:
    same = photograph.astype(np.float32) / np.float32(255)
    assert evaluate(["flip"], same, photograph)[0]["flip"] == 0.0
    values = [evaluate(["flip"], jpeg(photograph, quality), photograph)[0]["flip"] for quality in (90, 30, 5)]
    assert values == sorted(values) and values[0] > 0 and values[2] < 1


def test_one_pixel() -> None:
    value = evaluate(["flip"], np.zeros((1, 1, 3), np.float32), np.full((1, 1, 3), 255, np.uint8))[0]["flip"]
    assert value is not None and 0.9 < value <= 1

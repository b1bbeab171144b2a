"""Augmentations: what each does to the pixels, its range, and how often it happens."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from splatbench.training import augment as module
from splatbench.training.augment import add_shot_noise, augment, blur, change_colour, through_jpeg
from splatbench.training.batches import stream
from splatbench.training.picture_rules import AIR_AUGMENT, Augment, Blur, Colour, Jpeg, ShotNoise

SAME = dict.fromkeys(("brightness", "contrast", "saturation", "gamma"), (1.0, 1.0)) | {"hue": (0.0, 0.0)}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Augment(), lambda p: p),
        (Augment(flip=1), lambda p: p[:, ::-1]),
        (Augment(flip_vertical=1), lambda p: p[::-1]),
        (Augment(transpose=1), lambda p: p.transpose(1, 0, 2)),
        (Augment(flip=1, flip_vertical=1, transpose=1), lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
def test_flips(crop, rng, rules, expected):
    result = augment(crop, rules, rng)
    assert np.array_equal(result, expected(crop))
    assert result.flags.c_contiguous


def test_each_has_its_probability(crop, monkeypatch):
    """Counted over 2000 pictures, all at once: within four standard deviations."""
    counts = dict.fromkeys(("change_colour", "add_shot_noise", "through_jpeg", "blur"), 0)
    for name in counts:
        monkeypatch.setattr(
            module, name, lambda picture, *a, name=name: counts.update({name: counts[name] + 1}) or picture
        )
    rules = Augment(flip=0.25, colour=Colour(p=0.9), noise=ShotNoise(p=0.5), jpeg=Jpeg(p=0.3), blur=Blur(p=0.1))
    n = 2000
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    flips = sum(not np.array_equal(augment(small, rules, stream(5, i)), small) for i in range(n))
    for p, count in zip((0.25, 0.9, 0.5, 0.3, 0.1), (flips, *counts.values()), strict=True):
        assert abs(count - n * p) < 4 * np.sqrt(n * p * (1 - p))


def test_colour_that_changes_nothing(crop, rng):
    assert np.abs(change_colour(crop, Colour(**SAME), rng).astype(int) - crop).max() <= 1


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_brightness_contrast_and_gamma_are_their_formulas(crop, rng, factor):
    x = crop / 255.0
    grey = x @ [0.2989, 0.587, 0.114]  # the luma of torchvision
    expected = {
        "brightness": x * factor,
        "contrast": factor * x + (1 - factor) * grey.mean(),
        "saturation": factor * x + (1 - factor) * grey[..., None],
        "gamma": x**factor,
    }
    for name, value in expected.items():
        rule = Colour(**(SAME | {name: (factor, factor)}))
        result = change_colour(crop, rule, rng)
        assert np.abs(result - 255 * value.clip(0, 1)).max() <= 1.5, name


def test_hue_turns_colours(rng):
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    turned = change_colour(red, Colour(**(SAME | {"hue": (1 / 3, 1 / 3)})), rng)
    assert np.abs(turned[0, 0].astype(int) - [0, 200, 0]).max() <= 2


def test_shot_noise_has_the_variance_of_its_quanta(rng):
    """At a value x of 255 and Q quanta at white: mean x, variance 255 x / Q (and 1/12 of rounding)."""
    for quanta in (100.0, 1000.0, 10_000.0):
        rule = ShotNoise(quanta=(quanta, quanta))
        flat = np.full((200, 200, 3), 120, np.uint8)
        noisy = add_shot_noise(flat, rule, rng).astype(float)
        expected = 255 * 120 / quanta + 1 / 12
        assert abs(noisy.mean() - 120) < 5 * np.sqrt(expected / noisy.size)
        assert noisy.var() == pytest.approx(expected, rel=0.03)
    drawn = [add_shot_noise(flat, ShotNoise(), stream(3, i)).astype(float).var() for i in range(300)]
    quanta = 255 * 120 / (np.array(drawn) - 1 / 12)
    assert 90 < quanta.min() < 150 and 7000 < quanta.max() < 12_000
    assert abs(np.log(quanta).mean() - np.log(1000)) < 0.25  # log-uniform: the middle is 1000
    black = np.zeros((4, 4, 3), np.uint8)
    assert not add_shot_noise(black, ShotNoise(), rng).any()


def test_jpeg_qualities(crop, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "through_jpeg", lambda picture, quality: asked.append(quality) or picture)
    for i in range(2000):
        augment(crop[:2, :2], Augment(jpeg=Jpeg(p=1, quality=(20, 23))), stream(1, i))
    assert set(asked) == {20, 21, 22, 23}


def test_jpeg_loses_more_at_lower_quality(crop):
    errors = [np.square(through_jpeg(crop, quality).astype(float) - crop).mean() for quality in (20, 60, 95)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_blur_takes_away_what_is_fine(rng):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 200
    for kernel in module._ENLARGE:
        assert np.abs(blur(stripes, 0.5, kernel).astype(int) - 100).max() <= 1
        assert np.array_equal(blur(stripes, 1.0, kernel), stripes)
    assert blur(stripes[:1, :1], 0.25, Image.Resampling.BICUBIC).shape == (1, 1, 3)


def test_all_together_are_a_function_of_the_stream(crop):
    results = [augment(crop, AIR_AUGMENT, stream(9, i)) for i in (0, 0, 1)]
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    assert results[0].dtype == np.uint8 and results[0].shape == crop.shape

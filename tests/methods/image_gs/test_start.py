"""Where Gaussians begin: the weights, the first parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from splatbench.datasets import ImageError
from splatbench.fitting import gradient_weights
from splatbench.method import MethodError


def sobel(values):
    """Magnitudes of 3x3 Sobel filters of float64 [H, W], borders mirrored with the edge pixel, by hand."""
    p = np.pad(values, 1, mode="symmetric")
    h, w = values.shape
    at = lambda y, x: p[1 + y : 1 + y + h, 1 + x : 1 + x + w]  # noqa: E731
    gx = at(-1, 1) - at(-1, -1) + 2 * (at(0, 1) - at(0, -1)) + at(1, 1) - at(1, -1)
    gy = at(1, -1) - at(-1, -1) + 2 * (at(1, 0) - at(-1, 0)) + at(1, 1) - at(-1, 1)
    return gx**2 + gy**2


@pytest.mark.parametrize("power", [2.0, 1.0])
def test_gradient_weights(crop, power):
    expected = sum(sobel(crop[..., c] / 255.0) for c in range(3)) ** (power / 2)
    got = gradient_weights(crop, power)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_start_is_three_tenths_uniform_and_the_rest_by_gradient(method, part, crop):
    config = method.make_config({}).resolved()
    pixels = part("start").start_pixels(crop, 1000, config, np.random.default_rng(3))
    assert len(set(pixels[:300].tolist())) == 300 and len(set(pixels[300:].tolist())) == 700
    weights = gradient_weights(crop, 2.0).reshape(-1)
    # Uniform pixels have the mean weight, those by gradient far more; duplicates between the two draws are allowed.
    assert weights[pixels[:300]].mean() < 1.6 * weights.mean() < 2 * weights.mean() < weights[pixels[300:]].mean()


@pytest.mark.parametrize(("half", "offset"), [(False, 0.5), (True, 1.0)])
def test_first_parameters(method, part, crop, half, offset):
    config = method.make_config({"half_pixel_shift": half, "initial_scale": 4.0}).resolved()
    image = crop[:40, :60]
    parameters = part("start").start(image, 50, config, np.random.default_rng(4))
    model = part("model").Model(config, (40, 60))
    g = model.gaussians(parameters)
    corner = g.means - offset
    columns, rows = corner.round().long().unbind(1)
    torch.testing.assert_close(corner, corner.round(), atol=1e-4, rtol=0)
    torch.testing.assert_close(g.colors, torch.from_numpy(image).float()[rows, columns] / 255)
    assert (g.scales - 4.0).abs().max() < 1e-5
    assert not g.angles.any()


def test_gamma_and_random_colours(method, part, crop):
    start = part("start")
    pixels = np.array([5, 700])
    np.testing.assert_allclose(
        start.colors_at(crop, pixels, 2.2), (crop.reshape(-1, 3)[pixels] / 255.0) ** 2.2, rtol=1e-5
    )
    config = method.make_config({"initial_colors": "random"}).resolved()
    colors = start.start(crop, 4000, config, np.random.default_rng(5))["colors"].numpy()
    assert colors.min() >= 0 and colors.max() < 1
    assert np.abs(colors.mean(0) - 0.5).max() < 0.03


def test_saliency_map(method, part, tmp_path):
    """Twice as wide as the picture, bright in a corner: positions follow it."""
    bright = np.zeros((100, 200), np.uint8)
    bright[:40, :80] = 255
    Image.fromarray(bright).save(tmp_path / "map.png")
    weights = part("start").saliency_weights(str(tmp_path / "map.png"), (100, 100))
    assert (weights.shape, weights.min(), weights.max()) == ((100, 100), 0.0, 1.0)
    assert weights[5, 5] > 0.9 and weights[95, 95] < 0.05
    settings = {"start": "map", "saliency_map": str(tmp_path / "map.png"), "random_fraction": 0.0}
    config = method.make_config(settings).resolved()
    image = np.full((100, 100, 3), 90, np.uint8)
    pixels = part("start").start_pixels(image, 400, config, np.random.default_rng(6))
    inside = (pixels // 100 < 50) & (pixels % 100 < 50)
    assert inside.mean() > 0.6


def test_a_map_that_says_nothing_or_is_not_there_is_an_error(encode, crop, tmp_path):
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(tmp_path / "flat.png")
    with pytest.raises(MethodError, match="flat.png: all pixels are equal"):
        encode(crop, 10, 2, start="map", saliency_map=str(tmp_path / "flat.png"))
    with pytest.raises(ImageError, match="none.png: there is no such file"):
        encode(crop, 10, 2, start="map", saliency_map=str(tmp_path / "none.png"))

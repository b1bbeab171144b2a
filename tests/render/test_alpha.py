"""Blend `alpha`: the float64 reference against compositing written out, and the dispatch."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
import torch

from splatbench.render import gsplat
from splatbench.render.gsplat import load_gsplat, rasterize_alpha
from splatbench.render.reference_alpha import rasterize_alpha_reference


def tensors(scene, opacities):
    values = (*(np.array(v, np.float64) for v in scene), opacities)
    return [torch.from_numpy(v).requires_grad_() for v in values]


def by_hand(scene, opacities, background):
    """Pixel by pixel, Gaussian by Gaussian."""
    means, covariance, colors = (v.astype(np.float64) for v in scene)
    inverse = np.linalg.inv(covariance[:, [[0, 1], [1, 2]]])
    image = np.zeros((*scene.size, colors.shape[1]))
    stopped = 0
    for y, x in np.ndindex(scene.size):
        through = 1.0
        for n in range(len(means)):
            d = [x + 0.5, y + 0.5] - means[n]
            alpha = min(0.999, opacities[n] * np.exp(-0.5 * d @ inverse[n] @ d))
            if alpha < 1 / 255:
                continue
            if through * (1 - alpha) <= 1e-4:
                stopped += 1
                break
            image[y, x] += through * alpha * colors[n]
            through *= 1 - alpha
        image[y, x] += through * background
    return image, stopped


@pytest.mark.parametrize(("count", "channels"), [(60, 3), (60, 1), (1, 4), (0, 3)])
def test_by_hand(count, channels, make_scene, error):
    scene = make_scene(count, (21, 37), long=(2, 9), short=(2, 7), channels=channels)
    rng = np.random.default_rng(1)
    opacities = np.where(rng.random(count) < 0.3, 1.0, rng.random(count))
    background = rng.random(channels)
    image = rasterize_alpha_reference(*tensors(scene, opacities), scene.size, torch.from_numpy(background))
    want, stopped = by_hand(scene, opacities, background)
    assert error(image.detach(), want) < 1e-12
    assert stopped > 9 or count < 60  # pixels do become opaque


def test_background_is_black_unless_given(make_scene):
    scene = make_scene(5, (9, 12), spread=0)
    inputs = tensors(scene, np.full(5, 0.5))
    black = rasterize_alpha_reference(*inputs, scene.size, torch.zeros(3))
    assert torch.equal(rasterize_alpha_reference(*inputs, scene.size), black)


def test_gradients_are_finite_differences(make_scene):
    scene = make_scene(6, (4, 5), long=(4, 9), short=(3, 6), spread=0, channels=2)
    inputs = tensors(scene, np.linspace(0.2, 0.8, 6))
    background = torch.rand(2, dtype=torch.float64, requires_grad=True)
    draw = lambda *values: rasterize_alpha_reference(*values[:4], scene.size, values[4])  # noqa: E731
    assert torch.autograd.gradcheck(draw, (*inputs, background), eps=1e-7)


def test_a_capped_alpha_has_no_gradient():
    means = torch.tensor([[2.5, 2.5]], dtype=torch.float64, requires_grad=True)
    covariance = torch.tensor([[9.0, 0, 9]], dtype=torch.float64)
    opacity, color = torch.ones(1, dtype=torch.float64, requires_grad=True), torch.ones(1, 1, dtype=torch.float64)
    image = rasterize_alpha_reference(means, covariance, color, opacity, (5, 5))
    assert image[2, 2].item() == pytest.approx(0.999)
    (grad,) = torch.autograd.grad(image[2, 2].sum(), opacity, retain_graph=True)
    assert grad.item() == 0
    (grad,) = torch.autograd.grad(image[2, 0].sum(), opacity)
    assert grad.item() == pytest.approx(np.exp(-2 / 9))


def test_what_cannot_be_drawn_has_zero_gradients():
    nan, inf = float("nan"), float("inf")
    means = torch.tensor([[nan, 5], [5, 5], [5, 5], [5.0, 5]], dtype=torch.float64)
    covariance = torch.tensor([[4, 0, 4], [1, 1, 1], [inf, 0, 4], [4.0, 1, 9]], dtype=torch.float64)
    inputs = [v.requires_grad_() for v in (means, covariance, torch.ones(4, 3).double(), torch.ones(4).double() / 2)]
    image = rasterize_alpha_reference(*inputs, (10, 12))
    image.square().sum().backward()
    assert torch.equal(image, rasterize_alpha_reference(*(v[3:] for v in inputs), (10, 12))) and image.any()
    for value in inputs:
        assert not value.grad[:3].any() and value.grad[3].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(3, 3)}, "means: expected"),
        ({"covariance": torch.zeros(3, 3)}, "covariance: expected"),
        ({"opacities": torch.zeros(2)}, "opacities: expected"),
        ({"background": torch.zeros(2)}, "background: expected"),
        ({"size": (4, 0)}, "size: expected"),
    ],
)
def test_errors_name_the_argument(change, message):
    arguments = {
        "means": torch.zeros(3, 2),
        "covariance": torch.zeros(3, 3, dtype=torch.float64),
        "colors": torch.zeros(3, 3),
        "opacities": torch.zeros(3),
        "size": (4, 4),
    }
    with pytest.raises(ValueError, match=message):
        rasterize_alpha(**(arguments | change))


def test_a_missing_or_foreign_gsplat_is_explained(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    for found, message in ((missing, "not installed: pip install"), (lambda _: "0.1.11", "found 0.1.11: pip install")):
        monkeypatch.setattr(gsplat, "version", found)
        with pytest.raises(RuntimeError, match=message):
            load_gsplat()

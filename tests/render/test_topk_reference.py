"""The float64 reference of blend `topk`: published rules in numbers, finite differences, the definition by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatbench.render import rasterize_topk
from splatbench.render.reference_topk import rasterize_topk_reference

TILES = frozenset({"tiles_3sigma"})

# Three Gaussians on 8 x 8 pixels, computed apart from this project. Positions are fractions of the picture, pixels are
# sampled at whole numbers there (half a pixel from ours), and angles turn the other way.
POSITION = [[0.30, 0.25], [0.62, 0.55], [0.50, 0.90]]
SIGMA = [[2.0, 1.0], [1.5, 3.0], [0.8, 0.8]]
ANGLE = [0.4, -0.9, 0.0]
COLOR = [[0.9, 0.1, 0.2], [0.2, 0.7, 0.4], [-0.1, 0.3, 1.1]]
GRADIENTS = {
    "position": [[1.569671, 2.394400], [2.744663, 3.229897], [-2.464792, -0.625534]],
    "color": [[0.736684, 0.917918, 0.228774], [-1.252395, -1.484512, -0.554384], [0.218049, 0.368676, 0.226912]],
    "sigma": [[0.260194, 0.548183], [-0.554003, -0.107104], [-0.183630, 0.162022]],
    "angle": [0.711854, -0.082525, 0.0],
}


def leaves():
    values = {"position": POSITION, "sigma": SIGMA, "angle": ANGLE, "color": COLOR}
    return {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in values.items()}


def arguments(leaf):
    cos, sin = leaf["angle"].cos(), leaf["angle"].sin()
    a, b = leaf["sigma"].square().unbind(1)
    covariance = torch.stack([cos**2 * a + sin**2 * b, sin * cos * (b - a), sin**2 * a + cos**2 * b], 1)
    return leaf["position"] * 8 + 0.5, covariance, leaf["color"]


def loss(image):
    order = torch.arange(3 * 8 * 8, dtype=torch.float64).reshape(3, 8, 8).permute(1, 2, 0)
    return (image * ((order % 7) - 3) / 10).sum()


def fast(means, covariance, colors, size, **rule):
    return rasterize_topk(means.float(), covariance, colors.float(), size, **rule).double()


@pytest.mark.parametrize(("draw", "digits"), [(rasterize_topk_reference, 1e-6), (fast, 2e-6)], ids=["float64", "fast"])
@pytest.mark.parametrize("rule", [{"min_response": 1e-38}, {"compat": TILES}], ids=["everywhere", "tiles"])
def test_published_numbers(draw, digits, rule):
    leaf = leaves()
    image = draw(*arguments(leaf), (8, 8), **rule)
    assert image[0, 0].tolist() == pytest.approx([0.8915503, 0.1019795, 0.1996532], abs=digits)
    assert image[5, 6].tolist() == pytest.approx([0.1996629, 0.6992967, 0.4008546], abs=digits)
    assert image.mean().item() == pytest.approx(0.42049280, abs=digits)
    value = loss(image)
    assert value.item() == pytest.approx(-0.37242808, abs=10 * digits)
    value.backward()
    for name, wanted in GRADIENTS.items():
        assert np.allclose(leaf[name].grad, wanted, atol=10 * digits), name


@pytest.mark.parametrize(("draw", "digits"), [(rasterize_topk_reference, 1e-6), (fast, 2e-6)], ids=["float64", "fast"])
def test_published_numbers_of_the_two_strongest(draw, digits):
    image = draw(*arguments(leaves()), (8, 8), k=2, compat=TILES)
    assert image[5, 6].tolist() == pytest.approx([0.1995733, 0.6993734, 0.4008803], abs=digits)
    assert loss(image).item() == pytest.approx(-0.37355009, abs=10 * digits)


def tensors(scene):
    values = scene.means.astype(np.float64), scene.covariance, scene.colors.astype(np.float64)
    return [torch.from_numpy(np.array(v)).requires_grad_() for v in values]


@pytest.mark.parametrize(
    ("k", "min_response", "compat"), [(1, 1e-6, ()), (4, 1 / 255, ()), (10, 1e-2, ()), (100, 1e-6, ()), (3, 1, TILES)]
)
def test_by_hand(k, min_response, compat, make_scene):
    """Pixel by pixel, with the chosen Gaussians found by sorting."""
    scene = make_scene(40, (37, 21), long=(1, 9), short=(1, 5), spread=8, channels=2)
    image = rasterize_topk_reference(*tensors(scene), scene.size, k, 1e-3, min_response, frozenset(compat)).detach()
    means, covariance, colors = (v.astype(np.float64) for v in scene)
    matrix = covariance[:, [[0, 1], [1, 2]]]
    inverse = np.linalg.inv(matrix)
    radius = np.ceil(3 * np.sqrt(_published_eigenvalue(matrix)))
    for y, x in np.ndindex(scene.size):
        d = [x + 0.5, y + 0.5] - means
        a = np.exp(-0.5 * np.einsum("ni,nij,nj->n", d, inverse, d))
        seen = a >= min_response
        if compat:
            u = means - 0.5
            first, last = np.trunc((u - radius[:, None]) / 16), np.trunc((u + radius[:, None]) / 16 + 1)
            seen = ((first <= [x // 16, y // 16]) & ([x // 16, y // 16] < last)).all(1)
        chosen = sorted(np.flatnonzero(seen), key=lambda n: (-a[n], n))[:k]
        wanted = (a[chosen, None] * colors[chosen]).sum(0) / (a[chosen].sum() + 1e-3)
        assert np.allclose(image[y, x], wanted, atol=1e-12)


def _published_eigenvalue(matrix):
    half, det = np.trace(matrix, axis1=1, axis2=2) / 2, np.linalg.det(matrix)
    return half + np.sqrt(np.maximum(0.1, half**2 - det))


def test_gradients_are_finite_differences(make_scene):
    scene = make_scene(9, (4, 5), long=(4, 9), short=(3, 6), spread=2, seed=3, channels=2)
    assert torch.autograd.gradcheck(lambda *x: rasterize_topk_reference(*x, scene.size, 4), tensors(scene), eps=1e-7)


def test_lower_index_wins_a_tie():
    means = torch.full((4, 2), 5.0)
    covariance = torch.tensor([[4.0, 1, 3]], dtype=torch.float64).expand(4, 3)
    colors = torch.tensor([[1.0], [10], [100], [1000]])
    image = rasterize_topk_reference(means, covariance, colors, (9, 9), k=2, epsilon=1e-12)
    assert torch.allclose(image, torch.tensor(5.5, dtype=torch.float64), rtol=1e-6)


def test_what_cannot_be_drawn_has_zero_gradients():
    nan, inf = math.nan, math.inf
    means = torch.tensor([[5.0, 5], [nan, 5], [5, 5], [5, 5], [5, 5]], dtype=torch.float64)
    covariance = torch.tensor([[4.0, 1, 9], [4, 0, 4], [1, 1, 1], [inf, 0, 4], [-1, 0, -1]], dtype=torch.float64)
    inputs = [v.requires_grad_() for v in (means, covariance, torch.ones(5, 3, dtype=torch.float64))]
    image = rasterize_topk_reference(*inputs, (10, 12))
    image.square().sum().backward()
    alone = rasterize_topk_reference(*(v[:1] for v in inputs), (10, 12))
    assert torch.equal(image, alone) and image.any()
    for value in inputs:
        assert value.grad[0].any() and not value.grad[1:].any()


def test_no_gaussian_gives_zeros():
    assert not rasterize_topk_reference(*(torch.zeros(0, k) for k in (2, 3, 4)), (5, 20)).any()

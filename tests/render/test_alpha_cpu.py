"""The CPU's kernels of blend `alpha` against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.gaussians import Gaussians2D
from splatbench.render import iter_strips, rasterize_alpha, render
from splatbench.render.cpu_alpha import AlphaRasterizer
from splatbench.render.reference import responses
from splatbench.render.reference_alpha import rasterize_alpha_reference


def tensors(scene, opacities):
    return [torch.from_numpy(np.asarray(v)) for v in (*scene, opacities.astype(np.float32))]


def sure(means, covariance, _, opacities, size):
    """Pixels of which no pair is so close to a threshold that float32 could judge it otherwise."""
    x, y = torch.arange(size[1]).double() + 0.5, torch.arange(size[0]).double() + 0.5
    alpha = opacities.double()[:, None, None] * responses(x, y, means.double(), covariance, 1e9)
    doubtful = (alpha * 255 - 1).abs() < 1e-3
    alpha = torch.where(alpha >= 1 / 255, alpha.clamp(max=0.999), 0.0)
    after = (1 - alpha).cumprod(0)
    doubtful |= ((after / 1e-4 - 1).abs() < 1e-3) & (alpha > 0)
    return ~doubtful.any(0)


@pytest.mark.parametrize(
    ("count", "size", "long", "opacity", "channels"),
    [
        (200, (40, 50), (2, 9), (0, 1), 3),
        (300, (77, 93), (5, 40), (0.5, 1), 3),  # pixels become opaque, tiles close early
        (60, (33, 19), (0.3, 3), (0.9, 1), 4),
        (40, (16, 16), (2, 9), (1, 1), 1),
        (1, (1, 1), (2, 9), (0.3, 0.3), 3),
    ],
)
def test_kernels_are_the_reference(make_scene, count, size, long, opacity, channels):
    scene = make_scene(count, size, long=long, short=(0.5, 5), spread=8 if count > 1 else 0, channels=channels)
    inputs = tensors(scene, np.random.default_rng(1).uniform(*opacity, count))
    background = torch.linspace(0.1, 0.9, channels)
    certain = sure(*inputs, size)
    assert certain.float().mean() > 0.7
    weights = torch.randn(*size, channels, generator=torch.Generator().manual_seed(1)) * certain[..., None]
    results = []
    for draw, wide in ((rasterize_alpha, False), (rasterize_alpha_reference, True)):
        values = [v.double() if wide else v.clone() for v in (*inputs, background)]
        values = [v.requires_grad_() for v in values]
        image = draw(*values[:4], size, values[4])
        image.backward(weights.to(image.dtype))
        results.append((image.detach()[certain], [v.grad for v in values]))
    (image, grads), (want, want_grads) = results
    torch.testing.assert_close(image.double(), want, atol=2e-5, rtol=1e-5)
    for grad, wanted in zip(grads, want_grads, strict=True):
        assert bool(wanted.any())
        torch.testing.assert_close(grad.double(), wanted, atol=1e-4 * float(wanted.abs().max()), rtol=2e-3)


def test_what_is_covered_has_no_gradient():
    """Transmittances 0.09, 0.0081, 7.3e-4, and then 6.6e-5, which is no more than 1e-4: the fourth is left out."""
    means = torch.full((4, 2), 0.5)
    covariance = torch.tensor([[9.0, 0, 9]]).double().repeat(4, 1)
    colors, opacities = torch.ones(4, 3).requires_grad_(), torch.full((4,), 0.91).requires_grad_()
    image = rasterize_alpha(means, covariance, colors, opacities, (1, 1), torch.full((3,), 0.5))
    image.sum().backward()
    assert image[0, 0, 0].item() == pytest.approx(1 - 0.5 * 0.09**3, abs=1e-6)
    torch.testing.assert_close(colors.grad[:, 0], torch.tensor([0.91, 0.0819, 0.007371, 0.0]), atol=1e-6, rtol=0)
    assert opacities.grad[3].item() == 0 and opacities.grad[2].item() == pytest.approx(3 * 0.09**2 * 0.5, rel=1e-3)


def test_nothing_visible_is_the_background():
    background = torch.tensor([1.0, 0.5, 0.25])
    nan = float("nan")
    means, covariance = torch.tensor([[5.0, 5], [nan, 5], [1e30, 5]]), torch.tensor([[4.0, 0, 4]]).double().repeat(3, 1)
    inputs = [means, covariance, torch.ones(3, 3), torch.tensor([1 / 300, 1.0, 1.0])]
    for v in inputs:
        v.requires_grad_()
    image = rasterize_alpha(*inputs, (20, 33), background)
    assert torch.equal(image, background.expand(20, 33, 3))
    image.sum().backward()
    assert not any(v.grad.any() for v in inputs)
    empty = [v.detach()[:0] for v in inputs]
    assert torch.equal(rasterize_alpha(*empty, (20, 33), background), background.expand(20, 33, 3))


def test_same_bits_for_any_number_of_threads(make_scene):
    scene, size = make_scene(400, (90, 110), long=(2, 20), short=(1, 9)), (90, 110)
    rng = np.random.default_rng(2)
    opacities, grad = rng.uniform(0, 1, 400).astype(np.float32), rng.normal(size=(*size, 3)).astype(np.float32)
    results = []
    for threads in (1, 3):
        rasterizer = AlphaRasterizer(threads)
        rasterizer.take(*scene, opacities, size, False)
        image = np.empty((*size, 3), np.float32)
        rasterizer.draw(np.ones(3, np.float32), image)
        results.append([image, *rasterizer.backward(image, grad)])
    for one, three in zip(*results, strict=True):
        assert np.array_equal(one, three)


def test_gaussians_have_a_background(make_scene):
    scene = make_scene(20, (40, 30), long=(2, 9))
    means, _, colors = (torch.from_numpy(v) for v in scene)
    shape = {"scales": torch.full((20, 2), 3.0), "angles": torch.zeros(20), "opacities": torch.full((20,), 0.5)}
    white = Gaussians2D(means=means, colors=colors, size=(40, 30), blend="alpha", background=1.0, **shape)
    want = rasterize_alpha(means, white.covariance(), colors, white.opacities, (40, 30), torch.ones(3))
    assert torch.equal(render(white), want)
    assert torch.equal(torch.cat([strip for _, strip in iter_strips(white)]), want)
    assert not torch.equal(render(Gaussians2D(means=means, colors=colors, size=(40, 30), blend="alpha", **shape)), want)
    with pytest.raises(ValueError, match="background"):
        Gaussians2D(means=means, colors=colors, size=(40, 30), background=1.0, **(shape | {"opacities": None}))

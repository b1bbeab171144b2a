"""Blend `alpha` through gsplat on a CUDA device, against the float64 reference."""

from __future__ import annotations

import pytest
import torch

from splatbench.render.gsplat import load_gsplat, rasterize_alpha
from splatbench.render.reference_alpha import rasterize_alpha_reference

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def gsplat():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    try:
        return load_gsplat()
    except RuntimeError as error:
        pytest.skip(str(error))


def scene(count, size, channels=3, seed=0):
    """Leaves on the CPU: rounded Gaussians of 1 to 6 pixels, some of them outside the picture."""
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    scales, angle = 1 + 5 * uniform(count, 2), torch.pi * uniform(count)
    cos, sin = angle.cos(), angle.sin()
    a, b = scales.square().unbind(1)
    covariance = torch.stack([cos**2 * a + sin**2 * b, cos * sin * (a - b), sin**2 * a + cos**2 * b], 1)
    means = (uniform(count, 2) * 1.2 - 0.1) * torch.tensor([size[1], size[0]])
    return means.float(), covariance, uniform(count, channels).float(), uniform(count).float()


def both(values, size, background):
    """(picture, gradients of a made-up loss) of gsplat and of the reference."""
    weights = torch.randn(*size, values[2].shape[1], generator=torch.Generator().manual_seed(1))
    results = []
    for draw, device in ((rasterize_alpha, "cuda"), (rasterize_alpha_reference, "cpu")):
        leaves = [value.to(device).requires_grad_() for value in values]
        image = draw(*leaves, size, None if background is None else background.to(device))
        (image * weights.to(device)).sum().backward()
        results.append((image.detach().cpu().double(), [leaf.grad.cpu().double() for leaf in leaves]))
    return results


@pytest.mark.parametrize(("size", "channels"), [((61, 83), 3), ((16, 16), 1), ((1, 40), 3), ((70, 33), 7)])
@pytest.mark.parametrize("with_background", [False, True])
def test_values_and_gradients(size, channels, with_background):
    values = scene(200, size, channels)
    background = torch.linspace(0.2, 0.9, channels) if with_background else None
    (image, grads), (wanted, wanted_grads) = both(values, size, background)
    # a fast exponential may put a pair on the other side of a threshold: few pixels, by about 1/255
    difference = (image - wanted).abs().amax(-1)
    assert difference.max() < 0.02 and (difference > 1e-4).double().mean() < 0.005
    for got, want in zip(grads, wanted_grads, strict=True):
        assert (got - want).norm() < 5e-3 * want.norm()


def test_what_cannot_be_drawn_has_no_gradient():
    means, covariance, colors, opacities = scene(6, (20, 30))
    means[0], covariance[1, 0] = float("nan"), float("inf")
    covariance[2] = torch.tensor([1.0, 1.0, 1.0])
    (image, grads), (wanted, _) = both((means, covariance, colors, opacities), (20, 30), None)
    assert (image - wanted).abs().max() < 0.02
    for grad in grads:
        assert torch.isfinite(grad).all() and not grad[:3].any()


def test_nothing_to_draw_is_background():
    background = torch.tensor([0.1, 0.2, 0.3], device="cuda")
    empty = torch.zeros(0, 2), torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3), torch.zeros(0)
    image = rasterize_alpha(*(value.cuda() for value in empty), (4, 5), background)
    assert torch.equal(image, background.expand(4, 5, 3))

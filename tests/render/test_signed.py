"""Blend `signed`: the float64 reference against sums written out, and the CPU's kernels against the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatbench.render import rasterize_signed
from splatbench.render.cpu_signed import SignedRasterizer
from splatbench.render.reference_signed import rasterize_signed_reference

LIMIT = math.log(255)


def scene(count, size, scale, seed=0, lowest=-0.5):
    """Means around the picture, matrix elements uniform in [lowest, 1) scale: most are indefinite."""
    rng = np.random.default_rng(seed)
    means = rng.uniform([-8, -8], [size[1] + 8, size[0] + 8], (count, 2)).astype(np.float32)
    covariance = (rng.uniform(lowest, 1, (count, 3)) * scale).astype(np.float32).astype(np.float64)
    return [torch.from_numpy(v) for v in (means, covariance, rng.normal(size=(count, 3)).astype(np.float32))]


def pairs(means, covariance, size):
    """For each Gaussian that may be drawn: (index, s [H, W], pixels of the tiles that see it [H, W])."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    for n, (mean, (xx, xy, yy)) in enumerate(zip(means.double().numpy(), covariance.double().numpy(), strict=True)):
        det = xx * yy - xy * xy
        if not (np.isfinite([*mean, det]).all() and det):
            continue
        dx, dy = x + 0.5 - mean[0], y + 0.5 - mean[1]
        s = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / (2 * det)
        half = (xx + yy) / 2
        largest = half + math.sqrt(max(0.1, half * half - det))
        if largest <= 0:
            continue
        reach = np.ceil(3 * math.sqrt(largest)) / 16
        inside = np.ones(size, bool)
        for tile, u in ((x // 16, mean[0] / 16), (y // 16, mean[1] / 16)):
            inside &= (tile >= np.trunc(u - reach)) & (tile < np.trunc(u + reach + 1))
        yield n, s, inside


def by_hand(means, covariance, colors, size):
    image = np.zeros((*size, 3))
    for n, s, inside in pairs(means, covariance, size):
        w = np.minimum(0.999, np.exp(-s, where=s >= 0, out=np.zeros_like(s)))
        image += np.where(inside & (s >= 0) & (s <= LIMIT), w, 0)[..., None] * colors[n].double().numpy()
    return image


def sure(means, covariance, size):
    """Pixels of which no pair is so close to a jump that float32 could judge it otherwise."""
    doubtful = np.zeros(size, bool)
    for _, s, inside in pairs(means, covariance, size):
        doubtful |= inside & ((np.abs(s) < 1e-3) | (np.abs(s - LIMIT) < 1e-3))
    return torch.from_numpy(~doubtful)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_reference_by_hand(scale):
    inputs, size = scene(40, (21, 37), scale), (21, 37)
    image = rasterize_signed_reference(*inputs, size)
    np.testing.assert_allclose(image.numpy(), by_hand(*inputs, size), atol=1e-12)


def test_an_indefinite_matrix_is_seen_only_where_its_exponent_is_not_negative():
    mean, covariance, size = (
        torch.tensor([[20.3, 12.6]]),
        torch.tensor([[1.0, 2.0, 1.0]], dtype=torch.float64),
        (40, 48),
    )
    image = rasterize_signed(mean, covariance, torch.ones(1, 3), size)
    _, s, inside = next(pairs(mean, covariance, size))
    assert (image.amax(2).numpy() > 0).tolist() == (inside & (s >= 0) & (s <= LIMIT)).tolist()
    assert 0 < (image > 0).float().mean() < 0.5 and (s < 0).any()


@pytest.mark.parametrize("published_gradient", [False, True])
@pytest.mark.parametrize(
    ("count", "size", "scale"), [(200, (40, 50), 1.0), (300, (77, 93), 25.0), (60, (33, 19), 400.0), (1, (1, 1), 5.0)]
)
def test_kernels_are_the_reference(count, size, scale, published_gradient):
    inputs = scene(count, size, scale)
    certain = sure(*inputs[:2], size)
    assert certain.float().mean() > 0.7
    weights = torch.randn(*size, 3, generator=torch.Generator().manual_seed(1)) * certain[..., None]
    results = []
    for draw, kind in ((rasterize_signed, torch.float32), (rasterize_signed_reference, torch.float64)):
        tensors = [v.to(v.dtype if v.dtype == torch.float64 else kind).clone().requires_grad_() for v in inputs]
        image = draw(*tensors, size, published_gradient=published_gradient)
        image.backward(weights.to(kind))
        results.append((image.detach()[certain], [v.grad for v in tensors]))
    (image, grads), (want, want_grads) = results
    torch.testing.assert_close(image.double(), want, atol=2e-4, rtol=1e-4)
    for grad, wanted in zip(grads, want_grads, strict=True):
        assert bool(wanted.any())
        torch.testing.assert_close(grad.double(), wanted, atol=1e-5 * float(wanted.abs().max()), rtol=2e-3)


def test_published_gradient_of_one_pixel():
    """Weight exp(-s) with s of about 2e-4: the picture has 0.999, the published gradient of the colour 0.99."""
    mean = torch.tensor([[0.55, 0.5]])
    covariance = torch.tensor([[6.0, 0.0, 4.0]], dtype=torch.float64)
    for published, by_color in ((False, 0.999), (True, 0.99)):
        tensors = [v.clone().requires_grad_() for v in (mean, covariance, torch.full((1, 3), 2.0))]
        image = rasterize_signed(*tensors, (1, 1), published_gradient=published)
        image.sum().backward()
        assert image[0, 0, 0].item() == pytest.approx(2 * 0.999)
        assert tensors[2].grad[0, 0].item() == pytest.approx(by_color)
        # dw/dmean = w Q d, with d = 0.05 from pixel to mean in x, for three channels of colour 2
        slope = -6 * math.exp(-(0.05**2) / 12) * 0.05 / 6
        assert tensors[0].grad[0].tolist() == pytest.approx([slope if published else 0, 0], abs=1e-7)


def test_reference_gradients_are_finite_differences():
    means = torch.tensor([[3.1, 2.2], [1.4, 4.3]], dtype=torch.float64, requires_grad=True)
    covariance = torch.tensor([[9.0, 2, 6], [4, 7, 5]], dtype=torch.float64, requires_grad=True)
    colors = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *v: rasterize_signed_reference(*v, (6, 5)), (means, covariance, colors), eps=1e-7, atol=1e-5
    )


@pytest.mark.parametrize("draw", [rasterize_signed, rasterize_signed_reference])
def test_what_cannot_be_drawn_has_zero_gradients(draw):
    nan, inf = float("nan"), float("inf")
    means = torch.tensor([[nan, 5], [5, 5], [5, 5], [5, 5], [5, 5], [1e30, 5], [inf, 5], [5, 5]])
    shapes = [[4, 0, 4], [1, 1, 1], [inf, 0, 4], [nan, 0, 1], [-4, 0, -9], [4, 1, 9], [4, 1, 9], [4, 1, 9]]
    inputs = [means, torch.tensor(shapes, dtype=torch.float64), torch.ones(8, 3)]
    for v in inputs:
        v.requires_grad_()
    image = draw(*inputs, (10, 12))
    image.square().sum().backward()
    alone = draw(*(v[7:] for v in inputs), (10, 12))
    torch.testing.assert_close(image, alone, atol=1e-6, rtol=0)
    assert bool(image.any())
    for v in inputs:
        assert not v.grad[:7].any() and v.grad[7].any()


def test_extreme_matrices_stay_finite():
    extremes = [1e160, 1e-160, 1e30, 1e-30, -1e30, -1e-30, 0.0]
    shapes = torch.cartesian_prod(*[torch.tensor(extremes, dtype=torch.float64)] * 3)
    inputs = [torch.full((len(shapes), 2), 6.0), shapes, torch.ones(len(shapes), 3)]
    for v in inputs:
        v.requires_grad_()
    image = rasterize_signed(*inputs, (10, 12))
    image.square().sum().backward()
    assert torch.isfinite(image).all() and torch.isfinite(inputs[2].grad).all()
    assert not torch.isnan(inputs[0].grad).any() and not torch.isnan(inputs[1].grad).any()


def test_no_gaussian_is_black():
    empty = torch.zeros(0, 2), torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3)
    assert not rasterize_signed(*empty, (5, 7)).any()


def test_needles_keep_their_pixels():
    """det S = 1e-6 from elements of 50: elements of S^-1 cancel to a part in 1e8."""
    angle, count, size = np.linspace(0.1, 3, 12), 12, (64, 64)
    cos, sin = np.cos(angle), np.sin(angle)
    long, thin = 60.0, 0.02
    covariance = torch.from_numpy(
        np.stack([cos**2 * long + sin**2 * thin, cos * sin * (long - thin), sin**2 * long + cos**2 * thin], 1)
    )
    means = torch.from_numpy(np.random.default_rng(0).uniform(20, 44, (count, 2)).astype(np.float32))
    inputs = [means, covariance, torch.ones(count, 3)]
    certain = sure(*inputs[:2], size)
    want = rasterize_signed_reference(*inputs, size)
    torch.testing.assert_close(rasterize_signed(*inputs, size)[certain].double(), want[certain], atol=2e-4, rtol=0)


def test_same_bits_for_any_number_of_threads():
    inputs, size = scene(500, (90, 110), 20.0), (90, 110)
    grad = np.random.default_rng(2).normal(size=(*size, 3)).astype(np.float32)
    results = []
    for threads in (1, 3):
        rasterizer = SignedRasterizer(threads)
        rasterizer.take(*(v.numpy() for v in inputs), np.empty(0, np.float32), size, True)
        image = np.empty((*size, 3), np.float32)
        rasterizer.draw(image)
        results.append([image, *rasterizer.backward(grad, False)])
    for one, three in zip(*results, strict=True):
        assert np.array_equal(one, three)


def test_out_is_written():
    inputs, size = scene(50, (20, 30), 9.0), (20, 30)
    out = torch.full((20, 30, 3), 7.0)
    assert rasterize_signed(*inputs, size, out=out) is out
    assert torch.equal(out, rasterize_signed(*inputs, size))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"covariance": torch.zeros(3, 3)}, "covariance: expected"),
        ({"colors": torch.zeros(3, 4)}, "3 channels"),
        ({"size": (0, 4)}, "size: expected"),
    ],
)
def test_errors_name_the_argument(change, message):
    arguments = {"means": torch.zeros(3, 2), "covariance": torch.zeros(3, 3).double(), "colors": torch.zeros(3, 3)}
    with pytest.raises(ValueError, match=message):
        rasterize_signed(**(arguments | {"size": (4, 4)} | change))

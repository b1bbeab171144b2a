"""Blend `sum` of the Triton kernels: values and gradients against the float64 reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

from splatbench.render.gpu import plan, rasterize_sum
from splatbench.render.reference import rasterize_sum_reference

THREE_SIGMA, CAP = frozenset({"tiles_3sigma"}), frozenset({"tile_cap_256"})


@pytest.mark.parametrize(("size", "channels"), [((17, 35), 3), ((8, 16), 1), ((9, 5), 6), ((1, 1), 2)])
def test_values_and_gradients(size, channels, make_scene, agree):
    agree(rasterize_sum, rasterize_sum_reference, make_scene(12, size, channels=channels), size)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 1.5, math.pi / 2])
@pytest.mark.parametrize("thin", [0.2, 0.02])
def test_needles_keep_their_pixels(thin, angle, agree):
    """Axes of 60 and 0.2 or 0.02 pixels, seen up to 100 pixels from the mean, where p and q are made of large terms."""
    cos, sin, long = math.cos(angle), math.sin(angle), 60.0
    shape = cos**2 * long**2 + sin**2 * thin**2, cos * sin * (long**2 - thin**2), sin**2 * long**2 + cos**2 * thin**2
    along, across = torch.tensor([100.0, -10, 0, 40, -70]), torch.arange(5) * 1.01
    means = torch.stack([7.52 + cos * along - sin * across, 2.53 + sin * along + cos * across], 1)
    scene = means, torch.tensor([shape] * 5, dtype=torch.float64), torch.arange(10.0).reshape(5, 2) - 4.7
    assert (rasterize_sum_reference(*scene, (12, 40)) != 0).any(2).sum() >= 4
    agree(rasterize_sum, rasterize_sum_reference, scene, (12, 40), bar=2e-5)


def test_pathological_gaussians(make_scene, run, error):
    size = 20, 24
    means, covariance, colors = make_scene(15, size, seed=2)
    nan, inf = math.nan, math.inf
    bad = {
        0: ((nan, 3), (1, 0, 1)),
        1: ((3, inf), (1, 0, 1)),
        2: ((3, 3), (nan, 0, 1)),
        3: ((3, 3), (1, inf, 1)),
        4: ((3, 3), (4, 2, 1)),  # singular
        5: ((3, 3), (1, 1.1, 1)),  # indefinite
        6: ((3, 3), (-1, 0, -1)),
        7: ((3, 3), (inf, 0, 1)),
        8: ((3, 3), (0, 0, 0)),
        9: ((1e30, -1e30), (1, 0, 1)),
    }
    for i, (mean, shape) in bad.items():
        means[i], covariance[i] = torch.tensor(mean), torch.tensor(shape, dtype=torch.float64)
    good = {
        10: ((4.5, 4.5), (1e-20, 0, 1e-20)),  # one pixel
        11: ((-1e6, 3), (1e12, 0, 4)),
        12: ((10, 10), (1e30, 0, 1e30)),  # a constant
        13: ((10.3, 9.7), (1, 1 - 1e-9, 1)),  # almost singular
    }
    for i, (mean, shape) in good.items():
        means[i], covariance[i] = torch.tensor(mean), torch.tensor(shape, dtype=torch.float64)
    scene = means, covariance, colors
    image, *grads = run(rasterize_sum, scene, size)
    wanted_image, *wanted = run(rasterize_sum_reference, scene, size, double=True)
    assert error(image, wanted_image) < 2e-6
    for got, want in zip(grads, wanted, strict=True):
        assert not got[:10].any()
        for i in range(10, 15):  # their gradients are of very different sizes
            assert error(got[i], want[i]) < 1e-4, i


def test_a_covariance_at_the_rule_of_degeneracy(run):
    """det = 1e-12 Sxx Syy decides, in float64: just above is drawn, just below is not."""
    for determinant, drawn in ((1.001e-12, True), (0.999e-12, False)):
        shape = torch.tensor([[1.0, math.sqrt(1 - determinant), 1.0]], dtype=torch.float64)
        image, *_ = run(rasterize_sum, (torch.tensor([[2.5, 2.5]]), shape, torch.ones(1, 1)), (5, 5))
        assert bool(image.any()) is drawn


def test_a_batch_is_its_pictures(make_scene, run):
    size = 18, 20
    scenes = [make_scene(7, size, seed=s) for s in (3, 4)]
    short = [v.clone() for v in scenes[1]]
    short[0][5:] = math.nan
    batch = tuple(torch.stack(pair) for pair in zip(scenes[0], short, strict=True))
    together = run(rasterize_sum, batch, size)
    weights = torch.randn(2, *size, 3, generator=torch.Generator().manual_seed(0))
    for b, scene in enumerate((scenes[0], short)):
        leaves = [v.clone().requires_grad_() for v in scene]
        image = rasterize_sum(*leaves, size)
        (image * weights[b]).sum().backward()
        alone = [image, *(v.grad for v in leaves)]
        assert all(torch.equal(got[b], want) for got, want in zip(together, alone, strict=True))
    assert not together[1][1, 5:].any()


@pytest.mark.parametrize("changes", [{"ENTRIES": 0}, {"BLOCK": 4}, {"BLOCK": 4, "ENTRIES": 1}], ids=str)
def test_lists_change_time_alone(changes, make_scene, run, monkeypatch):
    """Lists that are missing, many parts, and both at once: the same bits."""
    size = 33, 40
    scene = make_scene(14, size, seed=5)
    wanted = run(rasterize_sum, scene, size)
    for name, value in changes.items():
        monkeypatch.setattr(plan, name, value)
    assert all(torch.equal(a, b) for a, b in zip(run(rasterize_sum, scene, size), wanted, strict=True))


@pytest.mark.parametrize("slots", [4, 1])
def test_large_gaussians_are_taken_apart(slots, make_scene, run, error, agree, monkeypatch):
    size = 24, 40
    scene = make_scene(6, size, long=(3, 12), short=(1, 3), seed=6)
    whole = run(rasterize_sum, scene, size)
    monkeypatch.setattr(plan, "LARGE", 4)
    monkeypatch.setattr(plan, "BLOCK", 4)
    monkeypatch.setattr(plan, "FEW", 0)
    monkeypatch.setattr(plan, "SLOTS", slots)
    apart = run(rasterize_sum, scene, size)
    assert torch.equal(apart[0], whole[0])
    assert not all(torch.equal(a, b) for a, b in zip(apart[1:], whole[1:], strict=True))  # other sums of the same
    assert all(error(a, b) < 1e-6 for a, b in zip(apart, whole, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(run(rasterize_sum, scene, size), apart, strict=True))


def test_published_tiles(make_scene, agree):
    size = 21, 40
    means, covariance, colors = make_scene(8, size, long=(2, 8), seed=7)
    # its square ends inside the second tile, its support, of 3.33 standard deviations, does not
    means[0], covariance[0] = torch.tensor([10.0, 4.0]), torch.tensor([49.0, 0, 49.0], dtype=torch.float64)
    scene = means, covariance, colors
    agree(rasterize_sum, rasterize_sum_reference, scene, size, compat=THREE_SIGMA)
    exact = rasterize_sum_reference(*scene, size)
    assert not torch.allclose(rasterize_sum_reference(*scene, size, THREE_SIGMA), exact)


def test_published_cap(agree):
    """The first tile holds 265 Gaussians, the second those of them that reach over, fewer than 256."""
    rng = np.random.default_rng(0)
    n, size = 265, (4, 20)
    means = torch.from_numpy(rng.uniform([0, 0], [14, 4], (n, 2)).astype(np.float32))
    covariance = torch.tensor([[0.4, 0.1, 0.3]], dtype=torch.float64).repeat(n, 1)
    colors = torch.from_numpy(rng.normal(size=(n, 1)).astype(np.float32))
    agree(rasterize_sum, rasterize_sum_reference, (means, covariance, colors), size, compat=CAP)
    capped, exact = (rasterize_sum_reference(means, covariance, colors, size, c) for c in (CAP, frozenset()))
    assert not torch.allclose(capped, exact)


def test_nothing_to_draw(run):
    empty = torch.zeros(0, 2), torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3)
    image, *grads = run(rasterize_sum, empty, (9, 17))
    assert not image.any() and [len(g) for g in grads] == [0, 0, 0]
    outside = torch.full((2, 2), 1e4), torch.tensor([[1.0, 0, 1]], dtype=torch.float64).repeat(2, 1), torch.ones(2, 3)
    image, *grads = run(rasterize_sum, outside, (9, 17))
    assert not image.any() and not any(g.any() for g in grads)

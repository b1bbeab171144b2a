"""Blend `topk` of the Triton kernels: values and gradients against the float64 reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

from splatbench.render.gpu import plan, rasterize_topk
from splatbench.render.reference_topk import rasterize_topk_reference

THREE_SIGMA = frozenset({"tiles_3sigma"})


@pytest.mark.parametrize(
    ("size", "channels", "settings"),
    [
        ((9, 20), 3, {}),
        ((9, 5), 1, {"k": 1, "epsilon": 0.05}),
        ((10, 17), 4, {"k": 3, "min_response": 0.05}),
        ((6, 7), 3, {"k": 2, "epsilon": 0.3}),
        ((6, 7), 3, {"k": 30, "epsilon": 1e-30}),  # more than there are
    ],
)
def test_values_and_gradients(size, channels, settings, make_scene, agree):
    scene = make_scene(14, size, channels=channels, long=(1, 6))
    agree(rasterize_topk, rasterize_topk_reference, scene, size, **settings)


def test_published_values(triton_device, run):
    """Image-GS: a scene worked out by hand from the formulas of its kernels, which sample pixels at their corners."""
    means = torch.tensor([[0.30, 0.25], [0.62, 0.55], [0.50, 0.90]]) * 8 + 0.5
    s, angle = np.array([[2, 1], [1.5, 3], [0.8, 0.8]]), np.array([0.4, -0.9, 0])
    cos, sin, v = np.cos(angle), np.sin(angle), s.T**2
    shape = np.stack([cos**2 * v[0] + sin**2 * v[1], sin * cos * (v[1] - v[0]), sin**2 * v[0] + cos**2 * v[1]], 1)
    colors = torch.tensor([[0.9, 0.1, 0.2], [0.2, 0.7, 0.4], [-0.1, 0.3, 1.1]])
    weights = ((torch.arange(192) % 7 - 3) / 10).reshape(3, 8, 8).permute(1, 2, 0).to(triton_device)
    leaves = [v.to(triton_device).requires_grad_() for v in (means, torch.from_numpy(shape), colors)]
    image = rasterize_topk(*leaves, (8, 8), compat=THREE_SIGMA)
    loss = (image * weights).sum()
    loss.backward()
    near = {"rtol": 0, "atol": 2e-6}
    picture = image.detach().cpu()
    torch.testing.assert_close(picture[0, 0], torch.tensor([0.8915503, 0.1019795, 0.1996532]), **near)
    torch.testing.assert_close(picture[5, 6], torch.tensor([0.1996629, 0.6992967, 0.4008546]), **near)
    assert abs(picture.mean() - 0.42049280) < 1e-6 and abs(loss - -0.37242808) < 2e-6
    d_xy = torch.tensor([[1.569671, 2.394400], [2.744663, 3.229897], [-2.464792, -0.625534]])
    torch.testing.assert_close(leaves[0].grad.cpu() * 8, d_xy, rtol=0, atol=2e-5)
    d_colors = [[0.736684, 0.917918, 0.228774], [-1.252395, -1.484512, -0.554384], [0.218049, 0.368676, 0.226912]]
    torch.testing.assert_close(leaves[2].grad.cpu(), torch.tensor(d_colors), **near)
    two = rasterize_topk(*leaves, (8, 8), k=2, compat=THREE_SIGMA).detach()
    torch.testing.assert_close(two[5, 6].cpu(), torch.tensor([0.1995733, 0.6993734, 0.4008803]), **near)
    assert abs((two * weights).sum() - -0.37355009) < 2e-6


def test_equal_responses_go_to_the_lower_index(run, error):
    """Of five equal Gaussians between others, three are chosen: the first."""
    n, size = 7, (9, 18)
    means = torch.tensor([[8.0, 4.0]]).repeat(n, 1)
    means[2], means[4] = torch.tensor([3.0, 4.0]), torch.tensor([14.0, 5.0])
    covariance = torch.tensor([[4.0, 1, 3.0]], dtype=torch.float64).repeat(n, 1)
    colors = torch.eye(n)
    image, *grads = run(rasterize_topk, (means, covariance, colors), size, k=3)
    wanted, *wanted_grads = run(rasterize_topk_reference, (means, covariance, colors), size, k=3, double=True)
    assert error(image, wanted) < 2e-6
    assert all(error(a, b) < 2e-6 for a, b in zip(grads, wanted_grads, strict=True))
    assert image[4, 8, 5] == image[4, 8, 6] == 0 < image[4, 8, 3]
    assert not grads[2][5:].any()


def test_published_tiles(make_scene, agree):
    size = 20, 37
    scene = make_scene(9, size, long=(2, 6), seed=3)
    agree(rasterize_topk, rasterize_topk_reference, scene, size, k=3, compat=THREE_SIGMA)


def test_a_batch_is_its_pictures(make_scene, run):
    size = 9, 20
    scenes = [make_scene(6, size, seed=s) for s in (3, 4)]
    batch = tuple(torch.stack(pair) for pair in zip(*scenes, strict=True))
    image, *_ = run(rasterize_topk, batch, size, k=2)
    for b, scene in enumerate(scenes):
        assert torch.equal(run(rasterize_topk, scene, size, k=2)[0], image[b])


def test_lists_and_pieces_change_sums_alone(make_scene, run, error, monkeypatch):
    size = 17, 33
    scene = make_scene(6, size, long=(2, 8), short=(1, 2), seed=5)
    wanted = run(rasterize_topk, scene, size, k=3)
    for name, value in {"ENTRIES": 0, "BLOCK": 4, "LARGE": 4}.items():
        monkeypatch.setattr(plan, name, value)
    got = run(rasterize_topk, scene, size, k=3)
    assert torch.equal(got[0], wanted[0])
    assert all(error(a, b) < 1e-6 for a, b in zip(got[1:], wanted[1:], strict=True))


def test_nothing_there_is_black(run):
    means = torch.tensor([[math.nan, 2.0], [3.0, 3.0]])
    covariance = torch.tensor([[1.0, 0, 1], [0.01, 0, 0.01]], dtype=torch.float64)
    image, *grads = run(rasterize_topk, (means, covariance, torch.ones(2, 1)), (6, 20), epsilon=0.0)
    assert not image.any() and not any(g.any() for g in grads)  # the corner of four pixels, too far from all

"""The float64 reference against the definition written out, and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.render.reference import rasterize_sum_reference


def tensors(scene):
    values = scene.means.astype(np.float64), scene.covariance, scene.colors.astype(np.float64)
    return [torch.from_numpy(np.array(v)).requires_grad_() for v in values]


@pytest.mark.parametrize(
    "settings",
    [
        {"count": 300, "size": (61, 83)},
        {"count": 60, "size": (50, 47), "long": (20, 60), "short": (0.2, 0.5), "channels": 2},
        {"count": 20, "size": (1, 33), "long": (30, 100), "short": (10, 100)},
        {"count": 0, "size": (5, 6)},
    ],
)
def test_values_and_gradients(settings, make_scene, truth, error, gradient):
    scene = make_scene(**settings)
    grad = gradient(scene)
    want = truth(scene, grad)
    inputs = tensors(scene)
    image = rasterize_sum_reference(*inputs, scene.size)
    assert error(image.detach(), want.image) < 1e-12
    (image * torch.from_numpy(grad).double()).sum().backward()
    for got, wanted in zip(inputs, want.grads, strict=True):
        assert error(np.zeros_like(wanted) if got.grad is None else got.grad, wanted) < 1e-10


def test_gradients_are_finite_differences(make_scene):
    # no pair changes sides of the cut within the step: the picture lies well inside every outline
    scene = make_scene(3, (4, 5), long=(6, 9), short=(5, 6), spread=0, seed=2)
    assert torch.autograd.gradcheck(lambda *x: rasterize_sum_reference(*x, scene.size), tensors(scene), eps=1e-6)


def test_what_cannot_be_drawn_has_zero_gradients():
    means = torch.tensor([[5.0, 5], [float("nan"), 5], [5, 5], [5, 5], [5, 5]], dtype=torch.float64)
    covariance = torch.tensor(
        [[4.0, 1, 9], [4, 0, 4], [1, 1, 1], [float("inf"), 0, 4], [-1, 0, -1]], dtype=torch.float64
    )
    inputs = [
        means.requires_grad_(),
        covariance.requires_grad_(),
        torch.ones(5, 3, dtype=torch.float64, requires_grad=True),
    ]
    image = rasterize_sum_reference(*inputs, (10, 12))
    image.square().sum().backward()
    alone = rasterize_sum_reference(means[:1], covariance[:1], inputs[2][:1], (10, 12))
    assert torch.equal(image, alone) and image.any()
    for value in inputs:
        assert value.grad[0].any() and not value.grad[1:].any()

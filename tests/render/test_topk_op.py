"""The differentiable operation of blend `topk`: batches, gradients through PyTorch, what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatbench.render import rasterize_topk
from splatbench.render.reference_topk import rasterize_topk_reference


def leaves(scene):
    return [torch.from_numpy(np.array(v)).requires_grad_() for v in scene]


@pytest.fixture
def scene(make_scene):
    return make_scene(200, (40, 50), long=(1, 8), short=(1, 5), channels=4)


def test_gradients_reach_the_leaves(scene, error):
    weights = torch.randn(40, 50, 4, generator=torch.Generator().manual_seed(0))
    results = []
    for draw in (rasterize_topk, rasterize_topk_reference):
        inputs = leaves(scene)
        image = draw(*inputs, scene.size, k=5, epsilon=1e-3)
        (image.sin() * weights).sum().backward()
        results.append((image.detach(), [v.grad for v in inputs]))
    (image, grads), (want, want_grads) = results
    assert image.dtype == torch.float32 and error(image, want) < 1e-5
    for got, wanted, value in zip(grads, want_grads, inputs, strict=True):
        assert got.dtype == value.dtype and error(got, wanted) < 1e-4


def test_backward_twice(scene):
    inputs = leaves(scene)
    image = rasterize_topk(*inputs, scene.size).square().sum()
    image.backward(retain_graph=True)
    once = [v.grad.clone() for v in inputs]
    image.backward()
    for value, first in zip(inputs, once, strict=True):
        assert torch.equal(value.grad, 2 * first)


def test_a_change_in_place_is_noticed(scene):
    inputs = leaves(scene)
    image = rasterize_topk(*inputs, scene.size)
    with torch.no_grad():
        inputs[0].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        image.sum().backward()


def test_two_pictures_at_once(scene, make_scene):
    """The state of one is not overwritten by the other."""
    other = make_scene(300, (30, 70), long=(1, 9), channels=4, seed=5)
    pictures = [(leaves(s), s.size) for s in (scene, other)]
    images = [rasterize_topk(*inputs, size) for inputs, size in pictures]
    for image in images:
        image.square().sum().backward()
    for inputs, size in pictures:
        again = [v.detach().clone().requires_grad_() for v in inputs]
        rasterize_topk(*again, size).square().sum().backward()
        for value, wanted in zip(inputs, again, strict=True):
            assert torch.equal(value.grad, wanted.grad)


def test_out_is_written(scene):
    inputs, out = leaves(scene), torch.full((40, 50, 4), math.nan)
    wanted = rasterize_topk(*inputs, scene.size)
    image = rasterize_topk(*inputs, scene.size, out=out)
    assert image.data_ptr() == out.data_ptr() and torch.equal(image, wanted)
    image.sum().backward()
    assert inputs[2].grad.any()


def test_a_batch_is_its_pictures(make_scene):
    scenes = [make_scene(n, (30, 40)) for n in (50, 80)]
    batch = [torch.full((2, 80, v.shape[1]), math.nan, dtype=torch.from_numpy(v).dtype) for v in scenes[0]]
    for i, one in enumerate(scenes):
        for whole, value in zip(batch, one, strict=True):
            whole[i, : len(value)] = torch.from_numpy(value)
    batch[2].nan_to_num_(7.0)  # colours of Gaussians that are not there
    for value in batch:
        value.requires_grad_()
    images = rasterize_topk(*batch, (30, 40), k=3)
    images.square().sum().backward()
    for i, one in enumerate(scenes):
        inputs = leaves(one)
        image = rasterize_topk(*inputs, (30, 40), k=3)
        image.square().sum().backward()
        assert torch.equal(images[i], image)
        for whole, value in zip(batch, inputs, strict=True):
            assert torch.equal(whole.grad[i, : len(value)], value.grad) and not whole.grad[i, len(value) :].any()
    assert rasterize_topk(*(v[:0] for v in batch), (30, 40)).shape == (0, 30, 40, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(3, 3)}, "means: expected"),
        ({"covariance": torch.zeros(3, 3)}, "covariance: expected"),
        ({"colors": torch.zeros(2, 3)}, "colors: expected"),
        ({"out": torch.zeros(5, 5, 3)}, "out: expected"),
        ({"size": (0, 4)}, "size: expected"),
        ({"k": 0}, "k: expected"),
        ({"epsilon": -1.0}, "epsilon: expected"),
        ({"min_response": 2.0}, "min_response: expected"),
        ({"compat": frozenset({"tile_cap_256"})}, "tiles_3sigma"),
        ({"compat": frozenset({"unheard of"})}, "compat"),
    ],
)
def test_errors_name_the_argument(change, message):
    arguments = {
        "means": torch.zeros(3, 2),
        "covariance": torch.zeros(3, 3, dtype=torch.float64),
        "colors": torch.zeros(3, 3),
        "size": (4, 4),
    }
    with pytest.raises(ValueError, match=message):
        rasterize_topk(**(arguments | change))

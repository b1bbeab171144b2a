"""Predict-Optimize-Distill against a naive implementation that draws all Gaussians at every step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatbench.losses import Objective
from splatbench.render import covariance_from_scales, rasterize_sum


@pytest.fixture(scope="session")
def pod(part):
    return part("training.pod")


@pytest.fixture
def scene(part):
    """Raw vectors of two stages on a 35x42 picture, their centres, and the target."""
    generator = torch.Generator().manual_seed(4)
    grid = part("patches").PatchGrid(35, 42, 7)
    old = torch.randn(len(grid), 8, generator=generator)
    new = 0.3 * torch.randn(len(grid), 8, generator=generator)
    coarse = torch.rand(1, 3, 5, 6, generator=generator)
    target = torch.nn.functional.interpolate(coarse, (35, 42), mode="bilinear")[0]
    return old, new, grid.centres(), target


def naive(old, new, centres, target, steps, lr, compat=frozenset()):
    """All rows in one tensor, a 0/1 mask on the gradient, torch's own Adam."""
    everything = torch.cat([old, new]).clone().requires_grad_(True)
    mask = torch.cat([torch.zeros(len(old), 1), torch.ones(len(new), 1)])
    at = torch.cat([centres, centres])
    adam = torch.optim.Adam([everything], lr=lr)
    loss = Objective(l1=0.7, ssim=0.3).against(target.permute(1, 2, 0).contiguous())
    for _ in range(steps):
        means = at + 7 * torch.tanh(everything[:, :2]) + 0.5
        covariance = covariance_from_scales(
            7 * torch.sigmoid(everything[:, 2:4]) + 0.5, 2 * math.pi * torch.sigmoid(everything[:, 4])
        )
        picture = rasterize_sum(
            means, covariance, torch.tanh(everything[:, 5:]), tuple(target.shape[1:]), compat=compat
        )
        adam.zero_grad()
        loss(picture).backward()
        everything.grad *= mask
        adam.step()
    return everything.detach()


def drawn(part, raw, centres, size):
    values = part("patches").activate(raw, 7)
    batch = type(values)(*(value[None] for value in values))
    return part("stages").Drawing().picture(batch, centres, torch.ones(1, len(raw), dtype=torch.bool), size)[0]


def test_the_inner_loop_with_the_additive_shortcut_is_the_naive_one(pod, part, scene):
    old, new, centres, target = scene
    before = drawn(part, old, centres, (35, 42))
    refined, _ = pod.refine(new, centres, before, target, patch=7, steps=20, lr=1e-3, drawing=part("stages").Drawing())
    expected = naive(old, new, centres, target, 20, 1e-3)
    assert (refined - new).abs().max() > 5e-3
    np.testing.assert_allclose(refined, expected[len(old) :], atol=1e-5)
    assert torch.equal(expected[: len(old)], old)


def test_under_the_cap_all_gaussians_are_drawn_every_time(pod, part, scene):
    old, new, centres, target = scene
    compat = frozenset({"tiles_3sigma", "tile_cap_256"})
    drawing = part("stages").Drawing(compat=compat)
    refined, _ = pod.refine(
        new, centres, torch.zeros(3, 35, 42), target, patch=7, steps=8, lr=1e-3, drawing=drawing, earlier=(old, centres)
    )
    expected = naive(old, new, centres, target, 8, 1e-3, compat)
    np.testing.assert_allclose(refined, expected[len(old) :], atol=1e-5)


def test_what_is_refined_gets_better_and_the_input_stays(pod, part, scene):
    old, new, centres, target = scene
    kept = new.clone()
    before = drawn(part, old, centres, (35, 42))
    _, losses = pod.refine(new, centres, before, target, patch=7, steps=40, lr=1e-3, drawing=part("stages").Drawing())
    assert len(losses) == 40 and losses[-1] < 0.97 * losses[0]
    assert torch.equal(new, kept)


def test_distillation_compares_sigmoids_of_all_components(pod):
    predicted, refined = torch.tensor([[0.0] * 8]), torch.tensor([[1.0] + [0.0] * 7])
    expected = 0.5 * (1 / (1 + math.exp(-1)) - 0.5) ** 2 / 8
    assert float(pod.distillation(predicted, refined)) == pytest.approx(expected, rel=1e-5)

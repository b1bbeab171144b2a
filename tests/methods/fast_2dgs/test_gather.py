"""From maps to Gaussians, against loops in float64; both conventions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatbench.fitting import PictureLoss
from splatbench.losses import Objective
from splatbench.render import render

HEIGHT, WIDTH = 7, 11


@pytest.fixture
def maps(part):
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, 8, HEIGHT, WIDTH, generator=generator)
    return part("unet").Maps(raw, torch.rand(2, 3, HEIGHT, WIDTH, generator=generator))


def by_hand(maps, pixel, convention, picture):
    """Mean in pixels, scales, covariance and colour of one Gaussian, float64."""
    y, x = divmod(pixel, WIDTH)
    raw = maps.raw[picture, :, y, x].double().tolist()
    move = [math.tanh(v) for v in raw[:2]]
    sigma = [math.log1p(math.exp(v)) for v in raw[2:4]]
    color = [math.tanh(v) + float(c) for v, c in zip(raw[4:7], maps.image[picture, :, y, x], strict=True)]
    angle = 2 * math.pi / (1 + math.exp(-raw[7]))
    c, s = math.cos(angle), math.sin(angle)
    if convention == "published":  # kernel positions xy W on pixels sampled at integers; R = [[c, s], [-s, c]]
        mean = [(x / (WIDTH - 1) + move[0]) * WIDTH + 0.5, (y / (HEIGHT - 1) + move[1]) * HEIGHT + 0.5]
        rotation = np.array([[c, s], [-s, c]])
    else:
        mean = [x + 0.5 + 2 * move[0], y + 0.5 + 2 * move[1]]
        rotation = np.array([[c, -s], [s, c]])
    covariance = rotation @ np.diag(np.square(sigma)) @ rotation.T
    return mean, sigma, [covariance[0, 0], covariance[0, 1], covariance[1, 1]], color


@pytest.mark.parametrize("convention", ["published", "exact"])
@pytest.mark.parametrize("picture", [0, 1])
def test_gathering_against_loops(part, maps, convention, picture):
    gather = part("gather")
    pixels = [0, WIDTH - 1, 3 * WIDTH + 4, 3 * WIDTH + 4, HEIGHT * WIDTH - 1]
    parameters = gather.gather(maps, torch.tensor(pixels), convention, picture)
    means, covariance, colors = gather.Blending().activate(parameters, (HEIGHT, WIDTH))
    for k, pixel in enumerate(pixels):
        mean, sigma, cov, color = by_hand(maps, pixel, convention, picture)
        assert means[k].tolist() == pytest.approx(mean, abs=1e-5)
        assert parameters.scales[k].tolist() == pytest.approx(sigma, rel=1e-5)
        assert covariance[k].tolist() == pytest.approx(cov, rel=1e-4, abs=1e-4)
        assert colors[k].tolist() == pytest.approx(color, abs=1e-6)


def test_without_offsets_pixels_stay_where_they_are(part, maps):
    gather = part("gather")
    six = part("unet").Maps(maps.raw[:, 2:], maps.image)
    pixels = torch.arange(HEIGHT * WIDTH)
    means = (
        gather.Blending().activate(gather.gather(six, pixels, "exact"), (HEIGHT, WIDTH))[0].reshape(HEIGHT, WIDTH, 2)
    )
    np.testing.assert_allclose(means[2, :, 0], np.arange(WIDTH) + 0.5, atol=1e-5)
    np.testing.assert_allclose(means[:, 3, 1], np.arange(HEIGHT) + 0.5, atol=1e-5)
    published = gather.gather(six, pixels, "published")
    ends = gather.Blending().activate(published, (HEIGHT, WIDTH))[0][[0, -1]]
    np.testing.assert_allclose(ends, [[0.5, 0.5], [WIDTH + 0.5, HEIGHT + 0.5]], atol=1e-5)


def test_pictures_of_one_row(part):
    positions = part("gather").pixel_positions(torch.arange(3), (1, 3), "published")
    np.testing.assert_allclose(positions[:, 1], [0.5] * 3)  # y / (H - 1) has no value there


@pytest.mark.parametrize("convention", ["published", "exact"])
def test_gradients_reach_the_drawn_pixels_alone(part, maps, convention):
    gather, pixels = part("gather"), torch.tensor([5, 40, 40, 63])
    raw = maps.raw.clone().requires_grad_(True)
    target = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1))
    blending = gather.Blending()

    def loss_of(values):
        parameters = gather.gather(part("unet").Maps(values, maps.image), pixels, convention, 1)
        objective = PictureLoss(target, Objective(l1=1.0, l2=1.0), topk=blending.rule)
        return objective(*blending.activate(parameters, (HEIGHT, WIDTH)))

    loss_of(raw).backward()
    touched = raw.grad.abs().sum(1).flatten(1).nonzero().tolist()
    assert {tuple(at) for at in touched} <= {(1, 5), (1, 40), (1, 63)}
    generator = torch.Generator().manual_seed(2)
    direction = torch.zeros_like(raw)
    for pixel in (5, 40, 63):
        direction.view(2, 8, -1)[1, 2:, pixel] = torch.randn(6, generator=generator)
    step = 2e-3
    with torch.no_grad():
        slope = (loss_of(raw + step * direction) - loss_of(raw - step * direction)) / (2 * step)
    assert float((raw.grad * direction).sum()) == pytest.approx(float(slope), rel=0.05, abs=2e-4)


def test_gaussians_are_those_of_the_loss(part, maps):
    """Gaussians2D draws the picture that the loss sees, negative scales included."""
    gather = part("gather")
    p = gather.gather(maps, torch.arange(0, 77, 3), "exact").detach()
    p = p._replace(scales=p.scales * torch.tensor([1.0, -1.0]))
    blending = gather.Blending(compat=frozenset({"tiles_3sigma"}))
    gaussians = blending.gaussians(p, (HEIGHT, WIDTH))
    assert gaussians.blend == "topk" and gaussians.compat == {"tiles_3sigma"} and bool((gaussians.scales > 0).all())
    picture = render(gaussians)
    loss = PictureLoss(picture, Objective(l2=1.0), topk=blending.rule)
    assert float(loss(*blending.activate(p, (HEIGHT, WIDTH)))) < 1e-12


def test_the_published_gradient_changes_scales_and_angles_alone(part, maps):
    gather = part("gather")
    grads = {}
    for kind in ("exact", "published"):
        p = gather.Parameters(
            *(v.requires_grad_(True) for v in gather.gather(maps, torch.arange(20), "exact").detach())
        )
        blending = gather.Blending(gradient=kind)
        target = maps.image[0].permute(1, 2, 0).contiguous()
        PictureLoss(target, Objective(l2=1.0), topk=blending.rule)(*blending.activate(p, (HEIGHT, WIDTH))).backward()
        grads[kind] = [v.grad for v in p]
    exact, published = grads["exact"], grads["published"]
    assert torch.equal(exact[0], published[0]) and torch.equal(exact[2], published[2])
    assert (exact[1] - published[1]).abs().max() > 1e-5 and (exact[3] - published[3]).abs().max() > 1e-5

"""The public operations: autograd, channels, compat flags, strips, errors."""

from __future__ import annotations

import gc
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from splatbench.gaussians import Gaussians2D
from splatbench.render import iter_strips, lease, rasterize_sum, render, render_u8
from splatbench.render.reference import rasterize_sum_reference
from splatbench.render.reference_alpha import rasterize_alpha_reference
from splatbench.render.reference_topk import rasterize_topk_reference

CAP = frozenset({"tile_cap_256"})


def leaves(scene):
    return [torch.from_numpy(v.copy()).requires_grad_() for v in scene]


def gaussians(scene, **fields):
    variance = scene.covariance
    l11 = np.sqrt(variance[:, 0])
    l21 = variance[:, 1] / l11
    factor = np.stack([l11, l21, np.sqrt(variance[:, 2] - l21**2)], 1).astype(np.float32)
    means, colors, cholesky = (torch.from_numpy(v) for v in (scene.means, scene.colors, factor))
    return Gaussians2D(means, colors, scene.size, cholesky=cholesky, **fields)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("compat", [frozenset(), CAP])
def test_autograd_agrees_with_the_reference(channels, compat, make_scene, truth, error):
    scene = make_scene(400, (41, 37), long=(1, 8), channels=channels)
    sure = truth(scene)
    mine, wanted = leaves(scene), [v.double().detach().requires_grad_() for v in leaves(scene)]
    image = rasterize_sum(*mine, scene.size, compat=compat)
    reference = rasterize_sum_reference(*wanted, scene.size, compat)
    assert image.dtype == torch.float32
    assert error(image.detach()[sure.sure_pixels], reference.detach()[sure.sure_pixels]) < 1e-5
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    (image * weights).sum().backward()
    (reference * weights).sum().backward()
    for got, want in zip(mine, wanted, strict=True):
        assert got.grad.dtype == got.dtype
        assert error(got.grad[sure.sure_gaussians], want.grad[sure.sure_gaussians]) < 1e-4


def test_two_pictures_may_wait_for_their_gradients(make_scene):
    first, second = leaves(make_scene(200, (30, 40), seed=1)), leaves(make_scene(300, (50, 20), seed=2))
    images = rasterize_sum(*first, (30, 40)), rasterize_sum(*second, (50, 20))
    images[0].square().sum().backward()
    images[1].square().sum().backward()
    for values, size in ((first, (30, 40)), (second, (50, 20))):
        grads = [v.grad.clone() for v in values]
        for v in values:
            v.grad = None
        rasterize_sum(*values, size).square().sum().backward()
        assert all(torch.equal(v.grad, g) for v, g in zip(values, grads, strict=True))


def test_workspaces_come_back(make_scene):
    values = leaves(make_scene(50, (20, 20)))
    rasterize_sum(*values, (20, 20)).sum().backward()
    gc.collect()
    before = sum(map(len, lease._free.values()))
    for _ in range(5):
        rasterize_sum(*values, (20, 20)).sum().backward()
    gc.collect()
    assert sum(map(len, lease._free.values())) == before >= 1


def test_a_change_in_place_is_noticed(make_scene):
    values = leaves(make_scene(50, (20, 20)))
    image = rasterize_sum(*values, (20, 20))
    with torch.no_grad():
        values[2].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        image.sum().backward()


def test_gradients_of_what_needs_them_only(make_scene):
    means, covariance, colors = leaves(make_scene(50, (20, 20)))
    rasterize_sum(means.detach(), covariance.detach(), colors, (20, 20)).sum().backward()
    assert colors.grad.any() and means.grad is None


def test_strided_input(make_scene):
    scene = make_scene(50, (20, 20))
    values = leaves(scene)
    doubled = [torch.stack([v, v], -1).detach()[..., 0] for v in values]
    assert not doubled[0].is_contiguous()
    assert torch.equal(rasterize_sum(*doubled, (20, 20)), rasterize_sum(*values, (20, 20)).detach())


@pytest.mark.parametrize("fields", [{}, {"compat": CAP}])
def test_render_strips_and_bytes_show_one_picture(fields, make_scene):
    g = gaussians(make_scene(900, (601, 64), long=(2, 30), short=(2, 20)), **fields)
    image = render(g)
    assert not image.requires_grad
    strips = list(iter_strips(g, rows=200))
    assert [row for row, _ in strips] == [0, 256, 512]
    assert torch.equal(torch.cat([s for _, s in strips]), image)
    out = torch.empty_like(image)
    assert render(g, out=out) is out and torch.equal(out, image)
    wanted = np.floor(np.clip(image.numpy().astype(np.float64), 0, 1) * 255 + 0.5)
    # float32 may round the other way where a value is within 1e-5 of one half
    assert (np.abs(render_u8(g) - wanted) <= (np.abs(image.numpy() * 255 % 1 - 0.5) < 1e-4)).all()


def test_strips_of_other_channel_counts(make_scene):
    g = gaussians(make_scene(100, (300, 20), channels=5))
    assert torch.equal(torch.cat([s for _, s in iter_strips(g)]), render(g))
    with pytest.raises(ValueError, match="rows"):
        next(iter_strips(g, rows=0))


def test_compat_changes_the_picture(make_scene):
    scene = make_scene(900, (32, 32), long=(3, 9), short=(3, 9))
    assert not torch.equal(render(gaussians(scene)), render(gaussians(scene, compat=CAP)))


def test_rounding_is_half_up():
    wide = torch.full((1, 3), 1e4)
    wide[:, 1] = 0
    color = torch.tensor([[0.5 / 255, 1.5 / 255, 2.0]])
    g = Gaussians2D(torch.full((1, 2), 0.5), color, (1, 1), cholesky=wide)
    assert render_u8(g).tolist() == [[[1, 2, 255]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(4, 2)}, "covariance"),
        ({"means": torch.zeros(5, 2, dtype=torch.float64)}, "means"),
        ({"covariance": torch.zeros(5, 3)}, "covariance"),
        ({"colors": torch.zeros(5)}, "colors"),
        ({"size": (0, 3)}, "size"),
        ({"compat": frozenset({"tiles"})}, "compat"),
        ({"out": torch.zeros(8, 9, 3)}, "out"),
        ({"out": torch.zeros(8, 3, 8).transpose(1, 2)}, "contiguous"),
    ],
)
def test_errors_name_the_argument(change, message):
    arguments = {
        "means": torch.zeros(5, 2),
        "covariance": torch.zeros(5, 3, dtype=torch.float64),
        "colors": torch.zeros(5, 3),
        "size": (8, 8),
    }
    with pytest.raises(ValueError, match=message):
        rasterize_sum(**(arguments | change))


REFUSED = [
    ({"opacities": torch.ones(5)}, "takes no opacities"),
    ({"blend": "topk", "opacities": torch.ones(5)}, "takes no opacities"),
    ({"blend": "topk", "compat": frozenset({"tile_cap_256"})}, "tiles_3sigma"),
    ({"blend": "alpha", "compat": frozenset({"tiles_3sigma"})}, "no compat flags"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_a_blend_does_not_know_is_refused(fields, message, make_scene):
    g = gaussians(make_scene(5, (8, 8)), **fields)
    for draw in (render, render_u8, lambda g: list(iter_strips(g))):
        with pytest.raises(ValueError, match=message):
            draw(g)


@pytest.mark.parametrize("compat", [frozenset(), frozenset({"tiles_3sigma"})])
def test_pictures_of_topk(compat, make_scene):
    g = gaussians(make_scene(300, (530, 40), long=(1, 60), short=(1, 30)), blend="topk", compat=compat)
    image = render(g)
    want = rasterize_topk_reference(g.means, g.covariance(), g.colors, g.size, compat=compat)
    assert (image - want).abs().mean() < 1e-5 and ((image - want).abs() > 1e-4).float().mean() < 1e-3
    assert torch.equal(torch.cat([strip for _, strip in iter_strips(g)]), image)
    out = torch.empty(530, 40, 3)
    assert render(g, out=out) is out and torch.equal(out, image)


def test_pictures_of_alpha(make_scene):
    g = gaussians(make_scene(30, (40, 30), long=(1, 20), short=(1, 10)), blend="alpha", opacities=torch.rand(30))
    image = render(g)
    assert torch.equal(torch.cat([strip for _, strip in iter_strips(g)]), image)
    want = rasterize_alpha_reference(g.means, g.covariance(), g.colors, g.opacities, g.size)
    assert (image - want).abs().max() < 2e-6
    solid = gaussians(make_scene(30, (40, 30)), blend="alpha")
    ones = rasterize_alpha_reference(solid.means, solid.covariance(), solid.colors, torch.ones(30), solid.size)
    assert (render(solid) - ones).abs().max() < 2e-6


def test_a_batch_is_its_pictures(make_scene):
    scenes = [make_scene(n, (30, 40)) for n in (50, 80)]
    batch = [torch.full((2, 80, v.shape[1]), math.nan, dtype=torch.from_numpy(v).dtype) for v in scenes[0]]
    batch[2].zero_()
    for i, scene in enumerate(scenes):
        for whole, part in zip(batch, scene, strict=True):
            whole[i, : len(part)] = torch.from_numpy(part)
    for value in batch:
        value.requires_grad_()
    images = rasterize_sum(*batch, (30, 40))
    weight = torch.rand(30, 40, 3)
    (images * weight).sum().backward()
    for i, scene in enumerate(scenes):
        alone = leaves(scene)
        image = rasterize_sum(*alone, (30, 40))
        assert torch.equal(image, images[i])
        (image * weight).sum().backward()
        for value, whole in zip(alone, batch, strict=True):
            assert torch.equal(value.grad, whole.grad[i, : len(value)]) and not whole.grad[i, len(value) :].any()
    assert rasterize_sum(*(v[:0] for v in batch), (30, 40)).shape == (0, 30, 40, 3)
    with pytest.raises(ValueError, match="covariance"):
        rasterize_sum(batch[0], batch[1][0], batch[2], (30, 40))


def test_second_derivatives_are_refused(make_scene):
    values = leaves(make_scene(20, (20, 20)))
    gradient = torch.autograd.grad(rasterize_sum(*values, (20, 20)).square().sum(), values[2], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_tensors_on_another_device_are_named(make_scene):
    means, covariance, colors = (torch.from_numpy(v) for v in make_scene(5, (8, 8)))
    with pytest.raises(ValueError, match="colors: on meta, but the means are on cpu"):
        rasterize_sum(means, covariance, colors.to("meta"), (8, 8))


def test_gamma_is_applied_to_what_is_shown():
    torch.manual_seed(0)
    g = Gaussians2D(torch.rand(40, 2) * 300, torch.rand(40, 3) * 3 - 0.5, (300, 300), torch.rand(40, 2) * 40 + 3,
                    torch.rand(40), blend="topk")  # fmt: skip
    shown = replace(g, gamma=2.2)
    expected = render(g).clamp(0, 1) ** (1 / 2.2)
    torch.testing.assert_close(render(shown), expected)
    assert render(g).min() < 0 and render(g).max() > 1  # which gamma 1 leaves
    torch.testing.assert_close(torch.cat([strip for _, strip in iter_strips(shown)]), expected)
    out = torch.empty(300, 300, 3)
    assert render(shown, out=out) is out
    torch.testing.assert_close(out, expected)

"""The loss of a picture that is never held whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.losses import Objective
from splatbench.render import TopkRule, rasterize_sum, rasterize_topk, render_loss

REACH = 10


class Rough:
    """sum over pixels of (x - t)^2 + x times the pixel 10 rows below: a loss that looks as far as one may."""

    def __init__(self, target):
        self.target, self.calls = target, []

    def __call__(self, image):
        below = torch.zeros_like(image)
        below[:-REACH] = image[REACH:]
        return (image - torch.from_numpy(self.target)).square().sum() + (image * below).sum()

    def rows(self, window, window_row0, row0, row1, grad):
        height = len(self.target)
        self.calls.append((window_row0, window_row0 + len(window), row0, row1))
        padded = np.zeros((row1 - row0 + 2 * REACH, *self.target.shape[1:]), np.float64)
        first, last = max(0, row0 - REACH), min(height, row1 + REACH)
        padded[first - row0 + REACH : last - row0 + REACH] = window[first - window_row0 : last - window_row0]
        above, x, below = padded[: -2 * REACH], padded[REACH:-REACH], padded[2 * REACH :]
        difference = x - self.target[row0:row1]
        grad[:] = 2 * difference + above + below
        return np.array([(difference**2).sum(), (x * below).sum()])

    def value(self, sums):
        return float(sums.sum())


def leaves(scene):
    return [torch.from_numpy(v).requires_grad_() for v in scene]


@pytest.mark.parametrize(
    ("height", "rows"), [(700, 256), (700, 300), (700, 1), (513, 256), (515, 512), (100, None), (3, 256)]
)
def test_equals_the_whole_picture(height, rows, make_scene):
    scene = make_scene(400, (height, 50), long=(1, 60), short=(1, 30))
    loss = Rough(np.random.default_rng(0).random((height, 50, 3)).astype(np.float32))
    streamed, whole = leaves(scene), leaves(scene)
    value = render_loss(*streamed, loss, rows=rows)
    value.backward()
    want = loss(rasterize_sum(*whole, (height, 50)))
    want.backward()
    assert value.item() == pytest.approx(want.item(), rel=1e-5)
    for got, wanted in zip(streamed, whole, strict=True):
        assert (got.grad - wanted.grad).abs().max() < 1e-5 * wanted.grad.abs().max()
    assert [c[2] for c in loss.calls] + [height] == [0] + [c[3] for c in loss.calls]
    for begin, end, row0, row1 in loss.calls:
        assert begin == max(0, row0 - REACH) and end == min(height, row1 + REACH)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("compat", [frozenset(), frozenset({"tile_cap_256"})])
def test_channels_and_published_deviations(channels, compat, make_scene):
    means, covariance, colors = make_scene(900, (300, 40), long=(3, 40), short=(3, 30))
    colors = np.concatenate([colors, colors[::-1]], 1)[:, :channels]
    loss = Rough(np.zeros((300, 40, channels), np.float32))
    streamed, whole = leaves((means, covariance, colors)), leaves((means, covariance, colors))
    (2 * render_loss(*streamed, loss, compat=compat, rows=256)).backward()
    (2 * loss(rasterize_sum(*whole, (300, 40), compat=compat))).backward()
    for got, wanted in zip(streamed, whole, strict=True):
        assert (got.grad - wanted.grad).abs().max() < 1e-5 * wanted.grad.abs().max()


def test_value_alone_and_its_sums(make_scene):
    scene, loss = make_scene(10, (20, 20)), Rough(np.zeros((20, 20, 3), np.float32))
    sums = np.empty(2)
    value = render_loss(*(torch.from_numpy(v) for v in scene), loss, sums=sums)
    assert value.item() == pytest.approx(sums.sum()) and value.item() > 0 and not value.requires_grad


OBJECTIVES = [
    Objective(l2=1.0, clamp=True),
    Objective(l1=0.7, ssim=0.3, window="valid"),
    Objective(l1=0.5, l2=0.2, ssim=0.3),
]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_of_a_whole_picture(objective, make_scene):
    scene = make_scene(900, (560, 70), long=(1, 60), short=(1, 30))
    target = np.random.default_rng(0).integers(0, 256, (560, 70, 3), np.uint8)
    streamed, whole = leaves(scene), leaves(scene)
    value = render_loss(*streamed, objective.against(target), rows=256)
    value.backward()
    want = objective(rasterize_sum(*whole, (560, 70)), torch.from_numpy(target))
    want.backward()
    assert value.item() == pytest.approx(want.item(), rel=1e-6)
    for got, wanted in zip(streamed, whole, strict=True):
        assert (got.grad - wanted.grad).abs().max() < 1e-5 * wanted.grad.abs().max()


@pytest.mark.parametrize("rows", [256, 512])
def test_topk_equals_the_whole_picture(rows, make_scene):
    scene, rule = make_scene(900, (700, 50), long=(2, 60), short=(2, 30)), TopkRule(k=4)
    loss = Rough(np.random.default_rng(0).random((700, 50, 3)).astype(np.float32))
    streamed, whole = leaves(scene), leaves(scene)
    value = render_loss(*streamed, loss, topk=rule, rows=rows)
    value.backward()
    want = loss(rasterize_topk(*whole, (700, 50), k=4))
    want.backward()
    assert value.item() == pytest.approx(want.item(), rel=1e-5)
    for got, wanted in zip(streamed, whole, strict=True):
        assert (got.grad - wanted.grad).abs().max() < 1e-5 * wanted.grad.abs().max()


def test_refusals(make_scene):
    values, loss = leaves(make_scene(10, (20, 20))), Rough(np.zeros((20, 20, 4), np.float32))
    with pytest.raises(ValueError, match="4 channels, the Gaussians 3"):
        render_loss(*values, loss)
    with pytest.raises(ValueError, match="rows"):
        render_loss(*values, Rough(np.zeros((20, 20, 3), np.float32)), rows=0)
    with pytest.raises(ValueError, match="covariance"):
        render_loss(values[0], values[1][:5], values[2], Rough(np.zeros((20, 20, 3), np.float32)))

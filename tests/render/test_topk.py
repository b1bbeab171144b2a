"""Blend `topk` on the CPU against the float64 reference, and its properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.render.cpu_topk import TopkRasterizer
from splatbench.render.reference_topk import rasterize_topk_reference

VALUE, GRADIENT = 1e-5, 1e-4
#: Relative difference between the last response that is chosen and the first that is not, below which float32 may
#: choose otherwise; and distance from min_response (in 1/2 d^T S^-1 d) within which it may see otherwise.
NEAR_TIE, DOUBT = 2e-5, 1e-4
TILES = frozenset({"tiles_3sigma"})
RULE = {"k": 10, "epsilon": 1e-4, "min_response": 1e-6, "compat": frozenset()}


def draw(scene, grad=None, threads=None, rasterizer=None, **rule):
    """(picture, gradients or None)."""
    rasterizer = rasterizer or TopkRasterizer(threads)
    rasterizer.take(*scene, scene.size, **rule)
    image = rasterizer.draw_rows()
    if grad is None:
        return image, None
    grads = rasterizer.zero_gradients()
    rasterizer.backward_rows(0, grad, grads)
    return image, grads


def wanted(scene, grad, **rule):
    leaves = [torch.from_numpy(np.array(v, np.float64)).requires_grad_() for v in scene]
    image = rasterize_topk_reference(*leaves, scene.size, **rule)
    (image * torch.from_numpy(grad).double()).sum().backward()
    return image.detach().numpy(), [np.zeros(v.shape) if v.grad is None else v.grad.numpy() for v in leaves]


def powers(scene):
    """1/2 d^T S^-1 d [N, H, W] in float64."""
    s = scene.covariance
    det = s[:, 0] * s[:, 2] - s[:, 1] ** 2
    a, b, c = (v[:, None, None] for v in (s[:, 2] / det, -s[:, 1] / det, s[:, 0] / det))
    means = scene.means.astype(np.float64)[:, :, None, None]
    dx, dy = np.arange(scene.size[1]) + 0.5 - means[:, 0], (np.arange(scene.size[0]) + 0.5)[:, None] - means[:, 1]
    return 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy


def sure_pixels(scene, k, min_response, compat, **_):
    """[H, W]: where the choice does not hang on rounding."""
    power, limit = powers(scene), np.inf if compat else -np.log(min_response)
    sure = ~(np.abs(power - limit) < DOUBT).any(0) if min_response > 1e-4 and not compat else np.ones(scene.size, bool)
    a = np.sort(np.where(power <= limit, np.exp(-power), 0.0), 0)[::-1]
    if len(a) > k:
        sure &= (a[k - 1] - a[k] > NEAR_TIE * a[k - 1]) | (a[k - 1] < 1e-30)
    return sure


def uncancelled(scene, grad, rule):
    """Largest gradients with the denominators S + epsilon held fixed: their derivatives cancel these but for epsilon
    where a pixel has one Gaussian, or colours that are alike. By a large epsilon, which holds them fixed."""
    white = replace(scene, colors=np.ones((len(scene.means), 1), np.float32))
    total = wanted(white, np.zeros((*scene.size, 1)), **rule)[0]  # S / (S + epsilon)
    fixed = (1 - total) / rule["epsilon"] * 1e9
    return [np.abs(g).max(initial=1e-3) for g in wanted(scene, grad * fixed, **(rule | {"epsilon": 1e9}))[1]]


def assert_agrees(scene, grad, error, enough=0.9, **rule):
    rule = RULE | rule
    sure = sure_pixels(scene, **rule)
    assert sure.mean() >= enough
    grad = grad * sure[..., None].astype(np.float32)
    (image, grads), (want, want_grads) = draw(scene, grad, **rule), wanted(scene, grad, **rule)
    assert error(image[sure], want[sure]) < VALUE
    for got, wants, terms in zip(grads, want_grads, uncancelled(scene, grad, rule), strict=True):
        assert np.abs(got - wants).max(initial=0) < GRADIENT * np.abs(wants).max(initial=1e-2 * terms)


SCENES = {
    "random": {"count": 600, "size": (61, 83)},
    "small Gaussians": {"count": 900, "size": (64, 64), "long": (0.4, 1.5), "short": (0.4, 1.5)},
    "needles": {"count": 300, "size": (171, 157), "long": (20, 60), "short": (0.2, 0.5)},
    "elongated": {"count": 300, "size": (90, 301), "long": (3, 40), "short": (0.3, 2)},
    "tiny": {"count": 2000, "size": (40, 50), "long": (0.05, 0.3), "short": (0.05, 0.3)},
    "huge": {"count": 40, "size": (97, 130), "long": (100, 1000), "short": (60, 1000), "spread": 200},
    "mostly outside": {"count": 400, "size": (33, 47), "long": (1, 20), "short": (0.5, 5), "spread": 60},
    "one row": {"count": 50, "size": (1, 200)},
    "one column": {"count": 50, "size": (200, 1)},
    "one pixel": {"count": 20, "size": (1, 1), "spread": 3},
    "tall": {"count": 300, "size": (531, 9)},
    "wide": {"count": 300, "size": (16, 700)},
    "one Gaussian": {"count": 1, "size": (9, 7), "spread": 0},
    "over the borders of tiles": {"count": 400, "size": (259, 131), "long": (2, 9)},
    "more than are held at once": {"count": 9000, "size": (5, 20), "long": (9, 30), "short": (9, 30)},
}


@pytest.mark.parametrize("name", SCENES)
def test_agrees_with_float64(name, make_scene, gradient, error):
    scene = make_scene(**SCENES[name])
    assert_agrees(scene, gradient(scene), error, enough=0.3 if len(scene.means) == 9000 else 0.98)


RULES = {
    "one": {"k": 1},
    "two": {"k": 2, "epsilon": 1e-7},
    "like sum's support": {"min_response": 1 / 255},
    "peaks only": {"min_response": 0.5, "k": 3},
    "all there are": {"k": 700},
    "to the end of float32": {"min_response": 1e-300, "k": 5},
    "published tiles": {"compat": TILES},
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("channels", [1, 3, 4, 12])
def test_rules_and_channels(name, channels, make_scene, gradient, error):
    scene = make_scene(500, (67, 83), long=(0.7, 9), short=(0.5, 5), channels=channels)
    assert_agrees(scene, gradient(scene), error, **RULES[name])


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 60),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    low=st.floats(0.1, 2),
    span=st.floats(1, 40),
    spread=st.floats(0, 40),
    seed=st.integers(0, 2**31),
    k=st.integers(1, 20),
    compat=st.sampled_from([frozenset(), TILES]),
)
def test_random_scenes(make_scene, gradient, error, count, height, width, low, span, spread, seed, k, compat):
    scene = make_scene(count, (height, width), (low, low * span), (low, low * span), spread, seed)
    assert_agrees(scene, gradient(scene, seed), error, enough=0, k=k, compat=compat)


@pytest.mark.parametrize("name", ["random", "needles", "over the borders of tiles", "tall"])
def test_same_bits_for_any_number_of_threads(name, make_scene, gradient):
    scene = make_scene(**SCENES[name])
    grad = gradient(scene)
    image, grads = draw(scene, grad, 1)
    for threads in (2, 3, 7):
        again, grads_again = draw(scene, grad, threads)
        assert again.tobytes() == image.tobytes()
        assert [g.tobytes() for g in grads_again] == [g.tobytes() for g in grads]


@pytest.mark.parametrize("channels", [3, 4])
def test_rows_by_rows(channels, make_scene, gradient, error):
    """The same picture; the same gradients but for the order of sums; and memory for two rows of tiles is enough."""
    scene = make_scene(900, (800, 70), long=(2, 40), channels=channels)
    grad = gradient(scene)
    image, grads = draw(scene, grad)
    rasterizer = TopkRasterizer()
    rasterizer.take(*scene, scene.size, rows_kept=512)
    again, sums = np.empty_like(image), rasterizer.zero_gradients()
    rasterizer.draw_rows(0, 256, again[:256])
    for row in (256, 512, 768):
        rasterizer.draw_rows(row, min(row + 256, 800), again[row : row + 256])
        rasterizer.backward_rows(row - 256, grad[row - 256 : row], sums)
    rasterizer.backward_rows(768, grad[768:], sums)
    assert again.tobytes() == image.tobytes()
    for got, want in zip(sums, grads, strict=True):
        assert error(got, want) < 1e-6
    with pytest.raises(RuntimeError, match="drawn before"):
        rasterizer.backward_rows(0, grad[:256], sums)


def test_order_of_gaussians_matters_to_rounding_alone(make_scene, gradient, error):
    scene = make_scene(600, (61, 83))
    grad, order = gradient(scene), np.random.default_rng(0).permutation(600)
    image, grads = draw(scene, grad)
    scene.means, scene.covariance, scene.colors = (v[order] for v in scene)
    again, grads_again = draw(scene, grad)
    assert error(again, image) < 1e-6
    for got, want in zip(grads_again, grads, strict=True):
        assert error(got, want[order]) < 1e-5


@pytest.mark.parametrize("k", [1, 2, 4, 10])
def test_lower_indices_win_among_duplicates(k, make_scene, gradient, error):
    """Every Gaussian three times, in random places of the list, with colours of its own."""
    scene, rng = make_scene(90, (45, 77), long=(2, 9), short=(2, 9), spread=2), np.random.default_rng(k)
    copies = np.repeat(np.arange(90), 3)[rng.permutation(270)]
    scene.means, scene.covariance = scene.means[copies], scene.covariance[copies]
    scene.colors = rng.normal(size=(270, 3)).astype(np.float32)
    grad, rule = gradient(scene), RULE | {"k": k}
    (image, grads), (want, want_grads) = draw(scene, grad, **rule), wanted(scene, grad, **rule)
    a = np.sort(np.exp(-powers(scene)), 0)[::-1]
    tied = a[k - 1] == a[k]
    assert tied.mean() > (0.5 if k % 3 else 0.0)  # the case that is meant does occur
    # apart from pixels where two different Gaussians come near a tie
    near = tied | (a[k - 1] - a[k] > NEAR_TIE * a[k - 1])
    assert near.mean() > 0.999 and error(image[near], want[near]) < VALUE
    assert error(grads[2], want_grads[2]) < (GRADIENT if near.all() else 1e-2)
    first, _ = draw(scene, threads=1, **rule)
    assert image.tobytes() == first.tobytes()


def test_all_alike():
    """A thousand times the same Gaussian: the first ten are seen, and have all of the gradient."""
    means = np.full((1000, 2), 8, np.float32)
    covariance, colors = np.tile([[9.0, 2, 4]], (1000, 1)), np.arange(1000, dtype=np.float32)[:, None]
    rasterizer = TopkRasterizer()
    rasterizer.take(means, covariance, colors, (17, 16), epsilon=1e-9, min_response=1e-3)
    image, grads = rasterizer.draw_rows(), rasterizer.zero_gradients()
    rasterizer.backward_rows(0, np.ones_like(image), grads)
    assert image[8, 8, 0] == pytest.approx(4.5, rel=1e-5)
    assert grads[2][:10].all() and not grads[2][10:].any() and not grads[0][10:].any()
    assert np.allclose(grads[2][:10], grads[2][0])


@pytest.mark.parametrize("epsilon", [1e-4, 0.5])
def test_a_constant_colour_is_kept_but_for_epsilon(epsilon, make_scene):
    scene = make_scene(400, (50, 60), long=(1, 6))
    scene.colors = np.tile(np.float32([0.25, -1, 3]), (400, 1))
    image, _ = draw(scene, epsilon=epsilon, min_response=1e-30)
    total = np.sort(np.exp(-powers(scene)), 0)[::-1][:10].sum(0)[..., None]
    assert np.allclose(image, [0.25, -1, 3] * total / (total + epsilon), rtol=1e-5, atol=1e-6)


def test_fewer_than_k_are_all_seen(make_scene, error):
    scene = make_scene(10, (50, 60), long=(2, 20), spread=0)
    image, _ = draw(scene, min_response=1e-30)
    a = np.exp(-powers(scene))
    assert error(image, np.einsum("nyx,nc->yxc", a, scene.colors) / (a.sum(0) + 1e-4)[..., None]) < VALUE


def test_one_is_the_nearest(make_scene):
    """k = 1 and equal circles: a Voronoi diagram."""
    scene = make_scene(60, (70, 90), long=(6, 6.0001), short=(6, 6.0001))
    scene.covariance[:] = [36, 0, 36]
    image, _ = draw(scene, k=1, epsilon=1e-20, min_response=1e-30)
    y, x = np.mgrid[:70, :90] + 0.5
    distance = np.hypot(x - scene.means[:, 0, None, None], y - scene.means[:, 1, None, None])
    first, second = np.sort(distance, 0)[:2]
    clear = second - first > 1e-3
    assert clear.mean() > 0.99
    assert np.allclose(image[clear], scene.colors[distance.argmin(0)][clear], rtol=1e-5)


def test_published_tiles_end_a_gaussian():
    """Standard deviation 1 has radius 4: the Gaussian at (8.5, 8.5) is seen in all of the first tile, only there."""
    means, covariance = np.float32([[8.5, 8.5]]), np.array([[1.0, 0, 1]])
    rasterizer = TopkRasterizer()
    rasterizer.take(means, covariance, np.ones((1, 3), np.float32), (20, 33), epsilon=1e-30, compat=TILES)
    image = rasterizer.draw_rows()
    assert image[:16, :16].min() > 0.99 and not image[16:].any() and not image[:, 16:].any()


@pytest.mark.parametrize(
    ("mean", "covariance"),
    [
        ((1e4, 5), (4, 0, 4)),
        ((-1e30, 5), (4, 0, 4)),
        ((5, 5), (1, 1, 1)),  # det 0
        ((5, 5), (1, 2, 1)),  # det < 0
        ((5, 5), (-1, 0, -1)),
        ((5, 5), (0, 0, 0)),
        ((np.nan, 5), (4, 0, 4)),
        ((5, np.inf), (4, 0, 4)),
        ((5, 5), (np.nan, 0, 4)),
        ((5, 5), (4, np.nan, 4)),
        ((5, 5), (np.inf, 0, np.inf)),
        ((5, 5), (1e200, 0, 1e200)),
    ],
)
@pytest.mark.parametrize("compat", [frozenset(), TILES])
def test_what_cannot_be_seen_has_no_gradient(mean, covariance, compat):
    means = np.array([mean, (8, 8)], np.float32)
    covariances, colors = np.array([covariance, (4, 1, 9)], np.float64), np.ones((2, 3), np.float32)
    results = []
    for first in (0, 1):
        rasterizer = TopkRasterizer()
        rasterizer.take(means[first:], covariances[first:], colors[first:], (20, 30), compat=compat)
        image, grads = rasterizer.draw_rows(), rasterizer.zero_gradients()
        rasterizer.backward_rows(0, np.ones((20, 30, 3), np.float32), grads)
        results.append((image, grads))
    (image, grads), (alone, wants) = results
    assert image.tobytes() == alone.tobytes() and alone.any()
    for got, want in zip(grads, wants, strict=True):
        assert not got[0].any() and got[1].tobytes() == want[0].tobytes()


def test_no_gaussian_gives_zeros():
    rasterizer = TopkRasterizer()
    rasterizer.take(np.zeros((0, 2), np.float32), np.zeros((0, 3)), np.zeros((0, 4), np.float32), (5, 7))
    assert not rasterizer.draw_rows().any()
    grads = rasterizer.zero_gradients()
    rasterizer.backward_rows(0, np.ones((5, 7, 4), np.float32), grads)
    assert [g.shape for g in grads] == [(0, 2), (0, 3), (0, 4)]


def test_a_colour_that_is_not_finite_shows_where_it_is_chosen():
    means, covariances = np.full((1, 2), 5, np.float32), np.array([[4.0, 0, 4]])
    rasterizer = TopkRasterizer()
    rasterizer.take(means, covariances, np.full((1, 3), np.nan, np.float32), (10, 60))
    image = rasterizer.draw_rows()
    assert np.isnan(image[5, 5]).all() and not image[:, 40:].any()


def test_workspaces_are_reused_between_pictures_of_any_kind(make_scene, gradient):
    rasterizer = TopkRasterizer()
    for i, (count, size, channels, k) in enumerate(
        [(600, (300, 200), 3, 10), (5, (3, 3), 1, 30), (900, (40, 400), 4, 2)] * 2
    ):
        scene = make_scene(count, size, seed=i % 3, channels=channels)
        image, grads = draw(scene, gradient(scene), rasterizer=rasterizer, k=k)
        fresh, fresh_grads = draw(scene, gradient(scene), k=k)
        assert image.tobytes() == fresh.tobytes()
        assert [g.tobytes() for g in grads] == [g.tobytes() for g in fresh_grads]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k: expected"),
        ({"epsilon": 0.0}, "epsilon: expected"),
        ({"epsilon": float("nan")}, "epsilon: expected"),
        ({"min_response": 0.0}, "min_response: expected"),
        ({"min_response": 1.5}, "min_response: expected"),
        ({"compat": frozenset({"tile_cap_256"})}, "only 'tiles_3sigma'"),
        ({"colors": np.zeros((4, 0), np.float32)}, "colors: expected"),
        ({"colors": np.zeros((3, 3), np.float32)}, "colors: expected"),
        ({"means": np.zeros((4, 3), np.float32)}, "means: expected"),
        ({"size": (0, 5)}, "size: expected"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, make_scene):
    scene = make_scene(4, (9, 9))
    arguments = {"means": scene.means, "covariances": scene.covariance, "colors": scene.colors, "size": scene.size}
    with pytest.raises(ValueError, match=message):
        TopkRasterizer().take(**(arguments | change))


def test_rows_that_do_not_fit_are_refused(make_scene):
    rasterizer = TopkRasterizer()
    with pytest.raises(RuntimeError, match="begin"):
        rasterizer.draw_rows()
    scene = make_scene(4, (300, 9))
    rasterizer.take(*scene, scene.size, rows_kept=0)
    rasterizer.draw_rows()
    grads = rasterizer.zero_gradients()
    for row0, shape, kind, message in (
        (0, (300, 9, 3), RuntimeError, "drawn before"),
        (0, (300, 9, 4), ValueError, "grad: expected"),
        (0, (200, 9, 3), ValueError, "multiples of 256"),
    ):
        with pytest.raises(kind, match=message):
            rasterizer.backward_rows(row0, np.zeros(shape, np.float32), grads)
    rasterizer.take(*scene, scene.size, rows_kept=256)
    with pytest.raises(ValueError, match="more than the rows"):
        rasterizer.draw_rows()
    rasterizer.draw_rows(0, 256)
    with pytest.raises(ValueError, match="out: expected"):
        rasterizer.backward_rows(0, np.zeros((256, 9, 3), np.float32), (*grads[:2], np.zeros((4, 4), np.float32)))

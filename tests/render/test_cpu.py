"""The CPU renderer against the definition in float64, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatbench.render.cpu import SumRasterizer

VALUE, GRADIENT = 1e-5, 1e-4


def both(scene, grad, threads=None):
    rasterizer = SumRasterizer(threads)
    image = rasterizer.forward(*scene, *scene.size, form="covariance")
    return image, rasterizer.backward(grad)


def assert_agrees(scene, truth, error, grad):
    want = truth(scene, grad)
    image, grads = both(scene, grad)
    assert want.sure_pixels.mean() > 0.9 and want.sure_gaussians.mean() > 0.5  # enough is left to compare
    assert error(image[want.sure_pixels], want.image[want.sure_pixels]) < VALUE
    for got, wanted in zip(grads, want.grads, strict=True):
        assert error(got[want.sure_gaussians], wanted[want.sure_gaussians]) < GRADIENT


SCENES = {
    "random": {"count": 600, "size": (61, 83)},
    "small Gaussians": {"count": 900, "size": (64, 64), "long": (0.4, 1.5), "short": (0.4, 1.5)},
    "needles": {"count": 300, "size": (171, 157), "long": (20, 60), "short": (0.2, 0.5)},
    "thinnest needles": {"count": 200, "size": (171, 157), "long": (60, 60.1), "short": (0.2, 0.2001)},
    "elongated": {"count": 300, "size": (90, 301), "long": (3, 40), "short": (0.3, 2)},
    "tiny": {"count": 2000, "size": (40, 50), "long": (0.05, 0.3), "short": (0.05, 0.3)},
    "huge": {"count": 40, "size": (97, 130), "long": (100, 1000), "short": (60, 1000), "spread": 200},
    "huge over many strips": {"count": 12, "size": (300, 520), "long": (150, 400), "short": (100, 300), "spread": 50},
    "mostly outside": {"count": 400, "size": (33, 47), "long": (1, 20), "short": (0.5, 5), "spread": 60},
    "one row": {"count": 50, "size": (1, 200)},
    "one column": {"count": 50, "size": (200, 1)},
    "one pixel": {"count": 20, "size": (1, 1), "spread": 3},
    "tall": {"count": 300, "size": (531, 9)},
    "wide": {"count": 300, "size": (16, 700)},
    "one Gaussian": {"count": 1, "size": (9, 7), "spread": 0},
    "over the borders of tiles": {"count": 400, "size": (259, 131), "long": (2, 9)},
}


@pytest.mark.parametrize("name", SCENES)
def test_agrees_with_float64(name, make_scene, truth, error, gradient):
    scene = make_scene(**SCENES[name])
    assert_agrees(scene, truth, error, gradient(scene))


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2])
def test_one_thin_gaussian_at_any_angle(sigma, make_scene, truth, error, gradient):
    for seed in range(40):
        scene = make_scene(1, (64, 64), long=(60, 60.1), short=(sigma, sigma * 1.001), spread=-20, seed=seed)
        want, (image, _) = truth(scene), both(scene, gradient(scene))
        assert error(image[want.sure_pixels], want.image[want.sure_pixels]) < VALUE


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 60),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    low=st.floats(0.1, 2),
    span=st.floats(1, 40),
    spread=st.floats(0, 40),
    seed=st.integers(0, 2**31),
)
def test_random_scenes(make_scene, truth, error, gradient, count, height, width, low, span, spread, seed):
    scene = make_scene(count, (height, width), (low, low * span), (low, low * span), spread, seed)
    grad = gradient(scene, seed)
    want, (image, grads) = truth(scene, grad), both(scene, grad)
    # relative to the colours, not to a picture that may hold nothing but faint rims
    scale = np.abs(scene.colors).max(initial=1.0)
    assert np.abs(image - want.image)[want.sure_pixels].max(initial=0) < VALUE * scale
    for got, wanted in zip(grads, want.grads, strict=True):
        difference = np.abs(got - wanted)[want.sure_gaussians].max(initial=0)
        assert difference < GRADIENT * max(np.abs(wanted).max(initial=0), 1e-3)


@pytest.mark.parametrize("name", ["random", "needles", "huge over many strips", "over the borders of tiles"])
def test_same_bits_for_any_number_of_threads(name, make_scene, gradient):
    scene = make_scene(**SCENES[name])
    grad = gradient(scene)
    image, grads = both(scene, grad, 1)
    for threads in (2, 3, 7):
        again, grads_again = both(scene, grad, threads)
        assert again.tobytes() == image.tobytes()
        assert [g.tobytes() for g in grads_again] == [g.tobytes() for g in grads]


def test_no_gaussian_gives_zeros():
    rasterizer = SumRasterizer()
    empty = [np.zeros((0, k), np.float32) for k in (2, 3, 3)]
    assert not rasterizer.forward(*empty, 5, 7).any()
    assert [g.shape for g in rasterizer.backward(np.ones((5, 7, 3), np.float32))] == [(0, 2), (0, 3), (0, 3)]


@pytest.mark.parametrize(
    ("mean", "covariance"),
    [
        ((1e4, 5), (4, 0, 4)),
        ((-1e30, 5), (4, 0, 4)),
        ((5, 5), (1, 1, 1)),  # det 0
        ((5, 5), (1, 2, 1)),  # det < 0
        ((5, 5), (-1, 0, -1)),
        ((5, 5), (0, 0, 0)),
        ((5, 5), (0, 0, 4)),
        ((np.nan, 5), (4, 0, 4)),
        ((5, np.inf), (4, 0, 4)),
        ((5, 5), (np.nan, 0, 4)),
        ((5, 5), (4, np.nan, 4)),
        ((5, 5), (np.inf, 0, 4)),
        ((5, 5), (4, 0, np.inf)),
        ((5, 5), (np.inf, 0, np.inf)),
        ((5, 5), (1e200, 0, 1e200)),
    ],
)
def test_what_cannot_be_seen_has_no_gradient(mean, covariance):
    means = np.array([mean, (8, 8)], np.float32)
    covariances = np.array([covariance, (4, 1, 9)], np.float64)
    colors, grad = np.ones((2, 3), np.float32), np.ones((20, 30, 3), np.float32)
    rasterizer = SumRasterizer()
    alone = rasterizer.forward(means[1:], covariances[1:], colors[1:], 20, 30, form="covariance")
    wanted = rasterizer.backward(grad)
    image = rasterizer.forward(means, covariances, colors, 20, 30, form="covariance")
    assert image.tobytes() == alone.tobytes() and alone.any()
    for got, want in zip(rasterizer.backward(grad), wanted, strict=True):
        assert not got[0].any() and got[1].tobytes() == want[0].tobytes()


def test_a_colour_that_is_not_finite_shows():
    means, covariances = np.full((1, 2), 5, np.float32), np.array([[4.0, 0, 4]])
    image = SumRasterizer().forward(means, covariances, np.full((1, 3), np.nan, np.float32), 10, 40, form="covariance")
    assert np.isnan(image[5, 5]).all() and not image[:, 30:].any()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_conics_and_another_centre(dtype, make_scene, truth, error, gradient):
    scene = make_scene(500, (61, 83), long=(0.5, 12))
    s = scene.covariance
    det = s[:, 0] * s[:, 2] - s[:, 1] ** 2
    conics = (np.stack([s[:, 2], -s[:, 1], s[:, 0]], 1) / det[:, None]).astype(dtype)
    a, b, c = conics.astype(np.float64).T
    det = a * c - b * b
    scene.covariance = np.stack([c, -b, a], 1) / det[:, None]  # what the rounded conics mean
    grad = gradient(scene)
    want = truth(scene, grad)
    rasterizer = SumRasterizer()
    shifted = scene.means - np.float32(0.5)
    scene.means = shifted + np.float32(0.5)
    want = truth(scene, grad)
    image = rasterizer.forward(shifted, conics, scene.colors, 61, 83, centre=0.0)
    grads = rasterizer.backward(grad)
    assert error(image[want.sure_pixels], want.image[want.sure_pixels]) < VALUE
    v = want.grads[1]
    # dL/dX from dL/dS: S = X^-1, so dL/dX = -S (dL/dS) S with symmetric matrices
    full = np.stack([np.stack([v[:, 0], v[:, 1] / 2], -1), np.stack([v[:, 1] / 2, v[:, 2]], -1)], -2)
    sigma = scene.covariance[:, [[0, 1], [1, 2]]]
    x = -sigma @ full @ sigma
    wanted = np.stack([x[:, 0, 0], 2 * x[:, 0, 1], x[:, 1, 1]], 1)
    assert grads[1].dtype == dtype
    for got, reference in zip(grads, (want.grads[0], wanted, want.grads[2]), strict=True):
        assert error(got[want.sure_gaussians], reference[want.sure_gaussians]) < GRADIENT


def test_workspaces_are_reused_between_pictures_of_any_size(make_scene, gradient):
    rasterizer = SumRasterizer()
    for k, (count, size) in enumerate([(600, (300, 200)), (5, (3, 3)), (900, (40, 400)), (600, (300, 200))]):
        scene = make_scene(count, size, seed=k % 3)
        image = rasterizer.forward(*scene, *size, form="covariance")
        grads = rasterizer.backward(gradient(scene))
        fresh, fresh_grads = both(scene, gradient(scene))
        assert image.tobytes() == fresh.tobytes()
        assert [g.tobytes() for g in grads] == [g.tobytes() for g in fresh_grads]


WINDOWS = [(0, 256), (256, 512), (512, 700)], [(0, 512), (512, 700)], [(512, 700), (0, 256), (256, 512)], [(0, 700)]


@pytest.mark.parametrize("windows", WINDOWS)
def test_windows_have_the_bits_and_the_gradients_of_the_whole(windows, make_scene):
    scene = make_scene(800, (700, 90), long=(1, 60), short=(1, 30))
    grad = np.random.default_rng(0).normal(size=(700, 90, 3)).astype(np.float32)
    whole, rasterizer = SumRasterizer(), SumRasterizer()
    image = whole.forward(*scene, *scene.size, form="covariance")
    rasterizer.begin(*scene, *scene.size, form="covariance")
    sums = rasterizer.zero_gradients()
    for row0, row1 in windows:
        assert rasterizer.draw_rows(row0, row1).tobytes() == image[row0:row1].tobytes()
        rasterizer.backward_rows(row0, grad[row0:row1], sums)
    for got, want in zip(sums, whole.backward(grad), strict=True):
        assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("rows", [(0, 100), (1, 256), (256, 256), (512, 256), (512, 900), (-256, 256)])
def test_windows_are_whole_tiles(rows, make_scene):
    scene = make_scene(10, (700, 90))
    rasterizer = SumRasterizer()
    with pytest.raises(RuntimeError, match="begin"):
        rasterizer.draw_rows(0)
    rasterizer.begin(*scene, *scene.size, form="covariance")
    with pytest.raises(ValueError, match="multiples of 256"):
        rasterizer.draw_rows(*rows)


def test_clip_limits_each_gaussian():
    means, covariances = np.array([[20, 20], [20, 20]], np.float32), np.array([[100.0, 0, 100]] * 2)
    colors = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    clip = np.array([[16, 32, 16, 32], [0, 0, 0, 0]], np.int32)
    rasterizer = SumRasterizer()
    image = rasterizer.forward(means, covariances, colors, 48, 48, clip=clip, form="covariance")
    inside = np.zeros((48, 48), bool)
    inside[16:32, 16:32] = True
    assert (image[..., 0] > 0)[inside].all() and not image[~inside].any() and not image[..., 1].any()
    grads = rasterizer.backward(np.ones((48, 48, 3), np.float32))
    assert grads[2][0, 0] == pytest.approx(image[..., 0].sum(), rel=1e-5) and not grads[2][1].any()


def test_output_arrays_are_used(make_scene, gradient):
    scene = make_scene(50, (20, 30))
    rasterizer, out = SumRasterizer(), np.full((20, 30, 3), 7, np.float32)
    image, grads = both(scene, gradient(scene))
    assert rasterizer.forward(*scene, 20, 30, out=out, form="covariance") is out and (out == image).all()
    given = tuple(np.full_like(g, 7) for g in grads)
    assert rasterizer.backward(gradient(scene), given) is given
    assert all((a == b).all() for a, b in zip(given, grads, strict=True))


def test_misuse_is_refused(make_scene):
    scene = make_scene(5, (8, 8))
    with pytest.raises(RuntimeError, match="forward"):
        SumRasterizer().backward(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="colors"):
        SumRasterizer().forward(scene.means, scene.covariance, scene.colors[:3], 8, 8)
    with pytest.raises(ValueError, match="out"):
        SumRasterizer().forward(*scene, 8, 8, out=np.zeros((8, 7, 3), np.float32))
    with pytest.raises(ValueError, match="clip"):
        SumRasterizer().forward(*scene, 8, 8, clip=np.zeros((4, 4), np.int32))
    with pytest.raises(ValueError, match="size"):
        SumRasterizer().forward(*scene, 8, 0)
    with pytest.raises(ValueError, match="form"):
        SumRasterizer().forward(*scene, 8, 8, form="inverse")
    rasterizer = SumRasterizer()
    rasterizer.forward(*scene, 8, 8)
    with pytest.raises(ValueError, match="grad"):
        rasterizer.backward(np.zeros((8, 9, 3), np.float32))
    with pytest.raises(ValueError, match="out"):
        rasterizer.backward(np.zeros((8, 8, 3), np.float32), tuple(np.zeros((5, 3), np.float32) for _ in range(3)))


@pytest.mark.parametrize("deviation", [1e-6, 1e-12, 1e-18, 1e-20, 1e-60])
def test_gaussians_far_smaller_than_a_pixel_have_finite_gradients(deviation):
    """On a pixel centre they weigh 1 there, elsewhere nothing."""
    means = np.array([[2.5, 3.5], [5.1, 4.2]], np.float32)
    covariances = np.array([[deviation**2, 0, deviation**2]] * 2)
    rasterizer = SumRasterizer()
    image = rasterizer.forward(means, covariances, np.ones((2, 3), np.float32), 8, 8, form="covariance")
    assert image[3, 2].tolist() == [1, 1, 1] and image.sum() == 3
    gradients = rasterizer.backward(np.ones((8, 8, 3), np.float32))
    assert all(np.isfinite(g).all() for g in gradients) and gradients[2].tolist() == [[1, 1, 1], [0, 0, 0]]


def test_more_entries_than_places_are_refused(monkeypatch):
    monkeypatch.setattr("splatbench.render.cpu_tiles._MOST_ENTRIES", 10)
    means, covariances = np.full((6, 2), 100, np.float32), np.array([[1e6, 0, 1e6]] * 6)
    with pytest.raises(ValueError, match="6 Gaussians touch 24 tiles of the picture in all, more than 10"):
        SumRasterizer().forward(means, covariances, np.ones((6, 3), np.float32), 300, 100, form="covariance")

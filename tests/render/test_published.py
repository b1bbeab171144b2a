"""The published deviations: the fast path, the float64 reference, and the rules written out literally agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatbench.render.published import CompatRasterizer, overfull_tiles, tile_clip
from splatbench.render.reference import rasterize_sum_reference

TILES, CAP = frozenset({"tiles_3sigma"}), frozenset({"tile_cap_256"})


def draw(rasterizer, *scene):
    """The whole picture."""
    rasterizer.take(*scene)
    return rasterizer.draw_rows(0)


def literal_tiles(mean, covariance, size):
    """Tile columns and rows that a Gaussian is listed in (released code, in its own coordinates)."""
    u, (xx, xy, yy) = np.float64(mean) - 0.5, covariance
    b = (xx + yy) / 2
    radius = math.ceil(3 * math.sqrt(b + math.sqrt(max(0.1, b * b - (xx * yy - xy * xy)))))
    ranges = []
    for position, extent in zip(u, size[::-1], strict=True):
        tiles = -(-extent // 16)
        first = min(max(int(position / 16 - radius / 16), 0), tiles)
        last = min(max(int(position / 16 + radius / 16 + 1), 0), tiles)
        ranges.append(range(first, last))
    return ranges


def literal_picture(scene, cap):
    height, width = scene.size
    image, listed = np.zeros((height, width, 3)), np.zeros((-(-height // 16), -(-width // 16)), int)
    for mean, (xx, xy, yy), color in scene_rows(scene):
        det = xx * yy - xy * xy
        columns, rows = literal_tiles(mean, (xx, xy, yy), scene.size)
        for ty in rows:
            for tx in columns:
                listed[ty, tx] += 1
                if cap and listed[ty, tx] > 256:
                    continue
                for y in range(16 * ty, min(16 * ty + 16, height)):
                    dx = mean[0] - 0.5 - np.arange(16 * tx, min(16 * tx + 16, width))
                    dy = mean[1] - 0.5 - y
                    sigma = 0.5 * (yy / det * dx * dx + xx / det * dy * dy) - xy / det * dx * dy
                    alpha = np.where(np.exp(-sigma) >= 1 / 255, np.exp(-sigma), 0.0)
                    image[y, 16 * tx : 16 * tx + 16] += alpha[:, None] * color
    return image, listed


def scene_rows(scene):
    return zip(scene.means.astype(np.float64), scene.covariance, scene.colors.astype(np.float64), strict=True)


def test_radius_has_the_published_floor():
    # lambda = 1 + sqrt(0.1): a unit Gaussian has radius 4, so it is listed 4 pixels beyond its tile
    covariance = np.array([[1.0, 0, 1]] * 3)
    means = np.array([[11.4, 8], [12.6, 8], [16.6, 8]], np.float32)
    clip = tile_clip(means, covariance, 16, 48)
    assert clip[:, :2].tolist() == [[0, 16], [0, 32], [0, 32]]


@pytest.mark.parametrize("size", [(48, 64), (37, 53), (5, 90)])
def test_tiles_are_the_literal_ones(size, make_scene):
    scene = make_scene(400, size, long=(0.3, 12), short=(0.3, 4), spread=30)
    clip = tile_clip(scene.means, scene.covariance, *size)
    for i in range(400):
        columns, rows = literal_tiles(scene.means[i], scene.covariance[i], size)
        wanted = [0, 0, 0, 0] if not columns or not rows else [columns[0], columns[-1] + 1, rows[0], rows[-1] + 1]
        assert (clip[i] // 16).tolist() == wanted


def test_the_three_sigma_rule_cuts_corners_off(make_scene, truth):
    scene = make_scene(300, (64, 80), long=(2, 8), short=(2, 8))
    image = draw(CompatRasterizer(), *scene, scene.size, TILES)
    literal, _ = literal_picture(scene, cap=False)
    exact = truth(scene)
    assert np.abs(literal - exact.image).max() > 1e-3  # the rule does something here
    assert np.abs(image - literal)[exact.sure_pixels].max() < 1e-5 * np.abs(literal).max()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [100, 700])
def test_the_cap_keeps_the_lowest_indices(count, threads, make_scene, truth, error, gradient):
    scene = make_scene(count, (40, 56), long=(1, 9), short=(1, 5), spread=0)
    literal, listed = literal_picture(scene, cap=True)
    assert (listed.max() > 256) == (count == 700) and listed.min() < 256  # full and other tiles in one picture
    rasterizer = CompatRasterizer(threads)
    image = draw(rasterizer, *scene, scene.size, CAP)
    sure = truth(scene)
    assert error(image[sure.sure_pixels], literal[sure.sure_pixels]) < 1e-5
    values = [torch.from_numpy(v.astype(np.float64)).requires_grad_() for v in scene]
    reference = rasterize_sum_reference(*values, scene.size, CAP)
    assert error(reference.detach(), literal) < 1e-12
    grad = gradient(scene)
    (reference * torch.from_numpy(grad)).sum().backward()
    for got, want in zip(rasterizer.backward(grad), values, strict=True):
        assert error(got[sure.sure_gaussians], want.grad[sure.sure_gaussians]) < 1e-4


def test_capped_bits_do_not_depend_on_threads(make_scene, gradient):
    scene = make_scene(900, (70, 90), long=(2, 12), short=(1, 9))
    assert len(overfull_tiles(tile_clip(*list(scene)[:2], *scene.size), *scene.size)[0]) > 5
    results = []
    for threads in (1, 2, 5):
        rasterizer = CompatRasterizer(threads)
        image = draw(rasterizer, *scene, scene.size, CAP)
        results.append([image.tobytes(), *(g.tobytes() for g in rasterizer.backward(gradient(scene)))])
    assert results[0] == results[1] == results[2]


def test_overfull_tiles_are_counted_exactly(make_scene):
    scene = make_scene(700, (40, 56), long=(1, 9), short=(1, 5), spread=0)
    _, listed = literal_picture(scene, cap=True)
    tiles, lists = overfull_tiles(tile_clip(*list(scene)[:2], *scene.size), *scene.size)
    assert tiles.tolist() == np.argwhere(listed > 256).tolist()
    assert (np.diff(lists, axis=1) > 0).all()


def test_singular_gaussians_are_in_no_list(make_scene):
    scene = make_scene(300, (16, 16), long=(2, 3), short=(2, 3), spread=0)
    whole = draw(CompatRasterizer(), scene.means[200:], scene.covariance[200:], scene.colors[200:], (16, 16), CAP)
    scene.covariance[:200] = (1, 1, 1)
    assert draw(CompatRasterizer(), *scene, (16, 16), CAP).tobytes() == whole.tobytes()
    reference = rasterize_sum_reference(*(torch.from_numpy(v) for v in scene), (16, 16), CAP)
    assert np.abs(reference.numpy() - whole).max() < 1e-4


@pytest.mark.parametrize("compat", [TILES, CAP])
def test_windows_have_the_bits_and_the_gradients_of_the_whole(compat, make_scene):
    scene = make_scene(900, (600, 40), long=(3, 40), short=(3, 30))
    grad = np.random.default_rng(0).normal(size=(600, 40, 3)).astype(np.float32)
    whole, rasterizer = CompatRasterizer(), CompatRasterizer()
    image = draw(whole, *scene, scene.size, compat)
    rasterizer.take(*scene, scene.size, compat)
    sums = rasterizer.zero_gradients()
    for row0, row1 in ((0, 256), (256, 512), (512, 600)):
        assert rasterizer.draw_rows(row0, row1).tobytes() == image[row0:row1].tobytes()
        rasterizer.backward_rows(row0, grad[row0:row1], sums)
    for got, want in zip(sums, whole.backward(grad), strict=True):
        assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()

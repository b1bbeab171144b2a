"""Workloads are what they say they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.scenes import SCENES, coverage, make_scene
from splatbench.codec import spatial_order
from splatbench.render import covariance_from_cholesky


@pytest.mark.parametrize("least", [1 / 255, 1e-6, 0.5])
def test_coverage_counts_every_pair(scene, least):
    xx, xy, yy = covariance_from_cholesky(scene.factors).numpy().T
    height, width = scene.size
    dx = np.arange(width) + 0.5 - scene.means.double().numpy()[:, :1]
    dy = np.arange(height) + 0.5 - scene.means.double().numpy()[:, 1:]
    dx, dy = dx[:, None, :], dy[:, :, None]
    a, b, c = (v[:, None, None] for v in (yy, -xy, xx))
    distance = (a * dx**2 + 2 * b * dx * dy + c * dy**2) / (xx * yy - xy**2)[:, None, None]
    np.testing.assert_array_equal(coverage(scene, least), (np.exp(-distance / 2) >= least).sum(0))


@pytest.mark.parametrize(("count", "height", "width"), [(4000, 128, 192), (40_000, 128, 192), (6000, 256, 256)])
def test_pairs_per_pixel_do_not_depend_on_the_number(count, height, width):
    """An outline of weight 1/255 has the area 2 pi ln(255) s1 s2, and s1 s2 is on average 1.44 H W / (pi N)."""
    expected = 2 * math.log(255) * 1.44
    inner = coverage(make_scene("x", count, height, width, edges=False), 1 / 255)[32:-32, 32:-32]
    assert inner.mean() == pytest.approx(expected, rel=0.12)


def test_half_of_the_means_lie_on_edges():
    plain, drawn = (make_scene("x", 4000, 128, 192, edges=edges) for edges in (False, True))
    strength = np.hypot(*np.gradient(drawn.target.numpy().mean(2)))
    at = [strength[tuple(scene.means.long().numpy().T[::-1])].mean() for scene in (plain, drawn)]
    assert at[1] > 1.5 * at[0]


def test_order_is_that_of_fits(scene):
    assert (spatial_order(scene.means.numpy()) == np.arange(scene.count)).all()


def test_scenes_are_reproducible(scene):
    again = make_scene("small", 60, 24, 36)
    for name in ("means", "factors", "colors", "target"):
        assert torch.equal(getattr(scene, name), getattr(again, name))
    assert scene.size == (24, 36) and scene.count == 60 and scene.target.dtype == torch.uint8


def test_the_sizes_that_papers_use_are_there():
    assert {(28_000, 512, 768), (70_000, 512, 768), (86_000, 1356, 2040)} < set(SCENES.values())

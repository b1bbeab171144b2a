from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import cKDTree

from splatbench.method import MethodError

SIZE = (72, 100)


def density(block):
    """The largest value of a smooth map in each block; the map is continued over the border."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    h, w = (-(-side // block) for side in SIZE)
    waves = 0.5 + 0.4 * np.sin(2 * np.pi * (3 * x / SIZE[1] + 2 * y / SIZE[0])) * np.cos(2 * np.pi * y / SIZE[0])
    padded = np.pad(waves, ((0, h * block - SIZE[0]), (0, w * block - SIZE[1])), mode="edge")
    return padded.reshape(h, block, w, block).max((1, 3))


def area(triangle):
    (ax, ay), (bx, by), (cx, cy) = triangle
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


def dithered(seed=0, size=(48, 61)):
    """Points at centres of blocks of 3 pixels, half of them taken."""
    y, x = np.mgrid[1.5 : size[0] : 3, 1.5 : size[1] : 3]
    points = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
    return points[np.random.default_rng(seed).random(len(points)) < 0.5], size


@pytest.mark.parametrize(
    ("block", "points", "sums", "distance", "joined", "count", "axes", "mean_turn", "upright", "outer"),
    [
        (3, 447, (22111.5, 16042.5), 3.20294, 481, 926, (1449.2587, 2868.4846), 0.208649, 132, 34),
        (4, 268, (13372.0, 9596.0), 4.15094, 294, 560, (1108.4310, 2289.8207), 0.219244, 62, 26),
    ],
)
def test_the_published_geometry(part, block, points, sums, distance, joined, count, axes, mean_turn, upright, outer):
    """Figures that the official code's geometry gives for the map, made without it."""
    found = part("dither").points_of(part("dither").dither(density(block)), block, SIZE)
    assert len(found) == points
    assert tuple(found.sum(0, dtype=np.float64)) == sums
    assert cKDTree(found).query(found, k=[2])[0].mean() == pytest.approx(distance, abs=1e-5)
    module = part("triangulation")
    assert len(module.with_border(found, SIZE)) == joined
    triangles = module.triangulate(found, SIZE)
    assert len(triangles) == count
    assert part("ellipse").cross(triangles.corners.numpy()).sum() / 2 == pytest.approx(71 * 99, rel=1e-6)
    assert triangles.axes.double().sum(0).tolist() == pytest.approx(axes, abs=2e-4)
    assert float(triangles.turn.double().mean()) == pytest.approx(mean_turn, abs=1e-6)
    assert int((triangles.turn == module.LEAST_TURN).sum()) == upright
    assert int((triangles.neighbours == torch.arange(count)[:, None]).sum()) == outer
    assert triangles.note == ""


def test_no_point_lies_in_the_circle_of_a_triangle(part):
    """Delaunay's property, in fractions: float32 coordinates are exact ones."""
    points, size = dithered(size=(24, 31))
    module = part("triangulation")
    joined = [[Fraction(float(c)) for c in p] for p in module.with_border(points, size)]
    for triangle in module.triangulate(points, size).corners.tolist():
        (ax, ay), (bx, by), (cx, cy) = ([Fraction(c) for c in p] for p in triangle)
        twice = 2 * area(((ax, ay), (bx, by), (cx, cy)))
        assert twice > 0
        b, c = (bx - ax) ** 2 + (by - ay) ** 2, (cx - ax) ** 2 + (cy - ay) ** 2
        x = ax + ((cy - ay) * b - (by - ay) * c) / twice
        y = ay + ((bx - ax) * c - (cx - ax) * b) / twice
        square = (x - ax) ** 2 + (y - ay) ** 2
        # circles through lattice points that float64 cannot tell apart may lose by a hair
        assert min((px - x) ** 2 + (py - y) ** 2 for px, py in joined) > square * (1 - Fraction(1, 10**5))


@given(seed=st.integers(0, 10_000))
def test_triangles_cover_the_picture_once(part, seed):
    points, size = dithered(seed)
    module = part("triangulation")
    triangles = module.triangulate(points, size)
    inside = points[(points <= [size[1] - 1, size[0] - 1]).all(1)]
    assume(len(inside) == len(points))
    cross = part("ellipse").cross(triangles.corners.numpy())
    assert (cross > 0).all()
    assert cross.sum() / 2 == pytest.approx((size[0] - 1) * (size[1] - 1), rel=1e-6)
    used = {tuple(p) for p in triangles.corners.reshape(-1, 2).tolist()}
    assert used == {tuple(p) for p in module.with_border(points, size).tolist()}


def shared_corners(corners, i, j):
    return {tuple(p) for p in corners[i]} & {tuple(p) for p in corners[j]}


def test_neighbours_share_the_edge(part):
    """The one opposite to corner k."""
    points, size = dithered()
    triangles = part("triangulation").triangulate(points, size)
    corners, edges = triangles.corners.tolist(), {}
    for i, triangle in enumerate(corners):
        for k in range(3):
            edges.setdefault(frozenset([tuple(triangle[k]), tuple(triangle[(k + 1) % 3])]), []).append(i)
    outer = 0
    for i, (triangle, neighbours) in enumerate(zip(corners, triangles.neighbours.tolist(), strict=True)):
        for k in range(3):
            first, second = (k + 1) % 3, (k + 2) % 3
            others = [j for j in edges[frozenset([tuple(triangle[first]), tuple(triangle[second])])] if j != i]
            assert neighbours[k] == (others[0] if others else i)
            outer += not others
    assert outer > 10


def test_ellipses_belong_to_the_corners(part):
    points, size = dithered()
    triangles = part("triangulation").triangulate(points, size)
    assert torch.allclose(triangles.centres, triangles.corners.mean(1), atol=1e-5)
    assert (triangles.axes[:, 0] <= triangles.axes[:, 1]).all()
    angle = 2 * torch.pi * triangles.turn.double()
    minor = torch.stack([angle.cos(), angle.sin()], -1)[:, None]
    around = triangles.corners.double() - triangles.corners.double().mean(1, keepdim=True)
    spread = (17 / 30 * (around * minor).sum(-1).square().sum(-1)).sqrt()
    assert torch.allclose(spread, triangles.axes[:, 0].double(), rtol=1e-4, atol=1e-3)
    names = ("corners", "neighbours", "centres", "axes", "turn")
    assert [getattr(triangles, n).dtype for n in names] == [torch.float32, torch.int64, *[torch.float32] * 3]


def test_moving_to_a_device_keeps_everything(part):
    points, size = dithered()
    triangles = part("triangulation").triangulate(points[:1], size)
    moved = triangles.to("meta")
    assert {t.device.type for t in (moved.corners, moved.neighbours, moved.centres, moved.axes, moved.turn)} == {"meta"}
    assert moved.note == triangles.note != ""


def test_border_points_are_three_mean_distances_apart(part):
    """4 x 4 points at distances of 10: sides of 100 pixels get ceil(100 / 30) points, ends included."""
    points = np.stack(np.meshgrid(np.arange(35, 75, 10.0), np.arange(35, 75, 10.0)), -1).reshape(-1, 2)
    joined = part("triangulation").with_border(points, (100, 100))
    assert joined.dtype == np.float32
    steps = {0.0, 33.0, 66.0, 99.0}
    border = {(x, y) for x in steps for y in steps if x in (0, 99) or y in (0, 99)}
    assert {tuple(p) for p in joined.tolist()} == border | {tuple(p) for p in points.tolist()}
    assert joined.tolist() == sorted(joined.tolist())


@pytest.mark.parametrize("points", [[], [[20.0, 10.0]], [[20.0, 10.0]] * 5])
def test_fewer_than_two_points_leave_border_points_and_a_note(part, points):
    points = np.array(points, np.float32).reshape(-1, 2)
    triangles = part("triangulation").triangulate(points, (40, 60))
    assert "triangles of border points alone" in triangles.note
    # spacing 10: 6 and 4 points a side, corners shared
    assert len(np.unique(triangles.corners.reshape(-1, 2).numpy(), axis=0)) == 16 + len(np.unique(points, axis=0))
    assert part("ellipse").cross(triangles.corners.numpy()).sum() / 2 == pytest.approx(39 * 59)


def test_two_points_far_apart_still_have_corners(part):
    """Three times their distance is more than a side: published sides would be left without their ends."""
    joined = part("triangulation").with_border(np.array([[2.0, 2.0], [50.0, 30.0]]), (40, 60)).tolist()
    assert [p for p in joined if p not in ([2, 2], [50, 30])] == [[0, 0], [0, 39], [59, 0], [59, 39]]


@given(
    points=hnp.arrays(np.float32, st.tuples(st.integers(0, 30), st.just(2)), elements=st.floats(0, 1, width=32)),
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    levels=st.sampled_from([2, 3, 1000, 1 << 20]),
)
def test_any_points_give_triangles_with_area(part, points, size, levels):
    """Coincident points, points on lines and circles, points closer than any dithering makes them."""
    points = (np.rint(points * levels) / levels * [size[1], size[0]]).astype(np.float32)
    triangles = part("triangulation").triangulate(points, size)
    cross = part("ellipse").cross(triangles.corners.numpy())
    assert (np.abs(cross) > 2e-3).all()
    assert torch.isfinite(triangles.axes).all()
    assert (triangles.axes > 0).all()
    assert ((triangles.neighbours >= 0) & (triangles.neighbours < len(triangles))).all()
    assert ((triangles.turn >= 1e-5) & (triangles.turn <= 0.5)).all()


def test_triangles_without_area_are_left_out_with_a_note(part):
    """A point a hair inside the right side."""
    points = np.array([[10, 10], [30, 10], [20, 30], [58.99999, 13]], np.float32)
    triangles = part("triangulation").triangulate(points, (40, 60))
    assert "without area" in triangles.note
    assert (part("ellipse").cross(triangles.corners.numpy()) > 2e-3).all()
    for i, row in enumerate(triangles.neighbours.tolist()):
        for j in row:
            assert j == i or len(shared_corners(triangles.corners.tolist(), i, j)) == 2


@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 3)])
def test_points_on_one_circle_have_triangles(part, size):
    """Qhull's incremental mode refuses them."""
    triangles = part("triangulation").triangulate(np.empty((0, 2), np.float32), size)
    assert part("ellipse").cross(triangles.corners.numpy()).sum() / 2 == (size[0] - 1) * (size[1] - 1)


@pytest.mark.parametrize("size", [(1, 50), (50, 1), (1, 1)])
def test_a_line_of_pixels_has_no_triangles(part, size):
    with pytest.raises(MethodError, match=f"{size[1]}x{size[0]} pixels has no triangles"):
        part("triangulation").triangulate(np.zeros((3, 2), np.float32), size)


def test_points_that_are_not_finite_are_refused(part):
    with pytest.raises(MethodError, match="NaN or infinity"):
        part("triangulation").triangulate(np.array([[1.0, np.nan]]), (40, 60))


def test_points_without_triangulation_are_refused(part):
    line = np.stack([np.arange(5.0), np.arange(5.0)], 1)
    with pytest.raises(MethodError, match="5 points have no triangulation"):
        part("triangulation").delaunay(line, incremental=False)

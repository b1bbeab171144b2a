from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st


def algebraic(triangle):
    """The conic A x^2 + B xy + C y^2 + D x + E y = 1 around the centroid with the least squares over six points, solved
    in coordinates in which they have unit covariance. (centre, semi-axes, degrees of the minor one)"""
    v = np.asarray(triangle, np.float64)
    points = np.concatenate([v, (v + np.roll(v, -1, 0)) / 2])
    centre = points.mean(0)
    white = np.linalg.cholesky(np.cov(points.T, bias=True))
    x, y = np.linalg.solve(white, (points - centre).T)
    system = np.stack([x * x, x * y, y * y, x, y], 1)
    a, b, c, d, e = np.linalg.lstsq(system, np.ones(6), rcond=None)[0]
    conic = np.array([[a, b / 2], [b / 2, c]])
    shift = np.linalg.solve(-2 * conic, [d, e])
    shape = np.linalg.inv(conic / (1 + shift @ conic @ shift))
    values, vectors = np.linalg.eigh(white @ shape @ white.T)
    degrees = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])) % 180
    return centre + white @ shift, np.sqrt(values), degrees


def turned_by(a, b):
    """Degrees between two lines."""
    return abs((a - b + 90) % 180 - 90)


coordinate = st.floats(-500, 500, width=32)


@given(corners=st.lists(coordinate, min_size=6, max_size=6))
def test_equals_the_least_squares_conic(part, corners):
    triangle = np.reshape(corners, (3, 2))
    longest = np.linalg.norm(triangle - np.roll(triangle, 1, 0), axis=1).max()
    area = abs(part("ellipse").cross(triangle)) / 2
    assume(longest > 1e-2 and area > 1e-3 * longest**2)  # what the reference can solve; needles: below
    found = part("ellipse").fit(triangle[None])
    centre, axes, degrees = algebraic(triangle)
    assert np.allclose(found.centres[0], centre, atol=1e-6 * (1 + longest))
    assert np.allclose(found.axes[0], axes, rtol=1e-6)
    if axes[1] > 1.001 * axes[0]:
        assert turned_by(found.degrees[0], degrees) < 1e-2


def test_passes_between_corners_and_edges(part):
    """Of an equilateral triangle of radius 1 it is the circle whose square is 17/20; six points are at 1 and 1/4."""
    angles = np.radians([10, 130, 250])
    found = part("ellipse").fit(5 + np.stack([np.cos(angles), np.sin(angles)], 1)[None])
    assert np.allclose(found.centres, 5)
    assert np.allclose(found.axes, np.sqrt(17 / 20))


@given(
    length=st.floats(1, 1e4),
    thickness=st.floats(1e-9, 1e-3),
    degrees=st.floats(0, 179.9),
    at=st.floats(0, 1),
)
def test_needles_keep_their_thickness(part, length, thickness, degrees, at):
    """The minor axis from the area and the major one: a difference of products would leave noise of 1e-8 of the length.
    Then turned, where the coordinates themselves have noise."""
    flat = np.array([[0, 0], [length, 0], [at * length, thickness]])
    found = part("ellipse").fit(flat[None])
    across = (flat - flat.mean(0)).T @ (flat - flat.mean(0)) * 17 / 30
    expected = np.sqrt(17 / 30 * length * thickness) * np.sqrt(17 / 30 * length * thickness / 3) / np.sqrt(across[0, 0])
    assert np.isclose(found.axes[0, 0], expected, rtol=1e-5)
    assert turned_by(found.degrees[0], 90) < 1
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = part("ellipse").fit((flat @ np.array([[c, s], [-s, c]]))[None])
    assert np.isclose(turned.axes[0, 1], found.axes[0, 1], rtol=1e-9)
    assert turned_by(turned.degrees[0], 90 + degrees) < 1


@pytest.mark.parametrize(
    ("triangle", "degrees"),
    [
        ([[0, 0], [10, 0], [5, 3]], 90),  # flat: the minor axis is vertical
        ([[0, 0], [0, 10], [3, 5]], 0),  # upright, and not 180
        ([[3, 5], [0, 10], [0, 0]], 0),
        ([[4.5, 1.5], [10.5, 1.5], [7.5, 4.5]], 90),
        ([[1.5, 4.5], [1.5, 10.5], [4.5, 7.5]], 0),
        ([[0, 0], [4, 4], [4, 0]], 135),
        ([[0, 0], [4, -4], [4, 0]], 45),
    ],
)
def test_angles_of_triangles_on_a_lattice(part, triangle, degrees):
    assert part("ellipse").fit(np.array([triangle], np.float32)).degrees[0] == pytest.approx(degrees, abs=1e-12)


@pytest.mark.parametrize("third", [77.0 / 3, 1e-3, 0.1])
def test_upright_triangles_far_from_the_origin_are_at_0(part, third):
    """Their Sxy vanishes exactly, whatever the centroid's last bit."""
    corners = np.array([[[700 + third, 300.5], [700, 290.5 - 100], [700, 310.5 + 100]]], np.float32)
    assert part("ellipse").fit(corners).degrees[0] == 0


@pytest.mark.parametrize("triangle", [[[1, 1], [2, 2], [3, 3]], [[5, 5], [5, 5], [5, 5]], [[0, 0], [0, 0], [3, 4]]])
def test_without_area_there_is_no_minor_axis(part, triangle):
    found = part("ellipse").fit(np.array([triangle], np.float32))
    assert found.axes[0, 0] == 0
    assert np.isfinite(found.axes).all()
    assert np.isfinite(found.degrees).all()


def test_cross_is_positive_from_x_to_y(part):
    assert part("ellipse").cross(np.array([[0, 0], [2, 0], [0, 3]])) == 6
    assert part("ellipse").cross(np.array([[0, 0], [0, 3], [2, 0]])) == -6


def test_no_triangles(part):
    found = part("ellipse").fit(np.empty((0, 3, 2), np.float32))
    assert (found.centres.shape, found.axes.shape, found.degrees.shape) == ((0, 2), (0, 2), (0,))

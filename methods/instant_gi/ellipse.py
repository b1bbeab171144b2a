"""The ellipse of a triangle: the algebraic least-squares fit to its corners and the middles of its edges (paper,
Sec. 3.3), in closed form.

The six points of any triangle are an affine image of those of an equilateral one, and the fit is affinely invariant:
its centre is the centroid g and its shape is S = 17/30 sum (v_i - g)(v_i - g)^T over the corners v_i, 17/20 of the
Steiner circumellipse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ellipses:
    """N ellipses in pixels, x right and y down, float64."""

    centres: np.ndarray  #: [N, 2] (x, y)
    axes: np.ndarray  #: [N, 2] semi-axes (minor, major)
    degrees: np.ndarray  #: [N] from the x axis towards the y axis to the minor axis, in [0, 180)


def cross(corners: np.ndarray) -> np.ndarray:
    """Twice the signed area of triangles [..., 3, 2], float64 [...]; positive where corners turn from x towards y."""
    a, b = _edges(corners)[:2]
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def fit(corners: np.ndarray) -> Ellipses:
    """The ellipses of triangles.

    A triangle without area has a minor axis of 0. Where the major axis is vertical, exactly or but for the last bit,
    the minor axis is at 0 degrees (the released code says so too), and of a circle it is at 90.

    Args:
        corners: [N, 3, 2] (x, y) in pixels.
    """
    edges = _edges(corners)
    # sum (v_i - g)(v_i - g)^T is a third of the edges' sum, which is exact for points of a lattice
    products = [(p * q).sum(0) * (17 / 90) for p, q in ((edges[..., 0],) * 2, (edges[..., 1],) * 2)]
    sxx, syy = products
    sxy = (edges[..., 0] * edges[..., 1]).sum(0) * (17 / 90)
    half_difference = (sxx - syy) / 2
    major = np.sqrt((sxx + syy) / 2 + np.hypot(half_difference, sxy))
    # by the determinant, which is 1/3 (17/30 cross)^2: a difference would cancel for needles
    minor = np.divide(17 / 30 / np.sqrt(3) * np.abs(cross(corners)), major, out=np.zeros_like(major), where=major > 0)
    degrees = np.degrees(np.arctan2(sxy, half_difference) / 2) + 90
    degrees[degrees >= 180] = 0
    centres = np.asarray(corners, np.float64).mean(-2)
    return Ellipses(centres, np.stack([minor, major], -1), degrees)


def _edges(corners: np.ndarray) -> np.ndarray:
    """float64 [3, ..., 2]: from each corner to the next."""
    v = np.moveaxis(np.asarray(corners, np.float64), -2, 0)
    return np.asarray(np.roll(v, -1, 0) - v)

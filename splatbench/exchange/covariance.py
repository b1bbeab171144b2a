"""Covariances in their conventions: scales and angles, Cholesky factors, covariances, conics. All in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from splatbench.exchange.errors import BadValues
from splatbench.exchange.facts import Facts

Arrays = Mapping[str, np.ndarray]


def refuse(name: str, bad: np.ndarray, why: str) -> None:
    """Raises BadValues naming the array and the first Gaussians with bad values, bool [N] or [N, columns]."""
    rows = np.flatnonzero(bad.reshape(len(bad), math.prod(bad.shape[1:])).any(1))
    if len(rows):
        raise BadValues(name, rows, why)


def _stretch(facts: Facts) -> np.ndarray:
    """[2]: pixels per unit of length along x and y."""
    if facts.lengths != "coordinates" or facts.coordinates == "pixels":
        return np.ones(2)
    return np.array(facts.size[::-1], np.float64) / (2 if facts.coordinates == "ndc" else 1)


def _from_scales(arrays: Arrays, facts: Facts) -> dict[str, np.ndarray]:
    scales, angles = arrays["scales"], arrays["angles"][:, 0]
    if facts.scales == "log":
        scales = np.exp(scales)
    else:
        refuse("scales", scales <= 0, "zero or negative")
        if facts.scales == "variance":
            scales = np.sqrt(scales)
        elif facts.scales == "inverse":
            scales = 1 / scales
    if facts.angle_unit == "degrees":
        angles = np.deg2rad(angles)
    if facts.angle_direction == "y_to_x":
        angles = -angles
    stretch = _stretch(facts)
    if stretch[0] == stretch[1]:
        return {"scales": scales * stretch, "angles": angles}
    cos, sin = np.cos(angles), np.sin(angles)
    root = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1) * scales[:, None, :]
    return {"cholesky": _factor(root * stretch[:, None])}


def _from_cholesky(arrays: Arrays, facts: Facts) -> dict[str, np.ndarray]:
    l11, l21, l22 = arrays["cholesky"].T
    refuse("cholesky", (l11 == 0) | (l22 == 0), "zero on the diagonal")
    x, y = _stretch(facts)
    if facts.axes == "xy":
        return {"cholesky": np.stack([l11 * x, l21 * y, l22 * y], 1)}
    root = np.stack([np.stack([l21, l22], 1) * x, np.stack([l11, np.zeros_like(l11)], 1) * y], 1)
    return {"cholesky": _factor(root)}


def _from_covariance(arrays: Arrays, facts: Facts, name: str = "covariance") -> dict[str, np.ndarray]:
    xx, xy, yy = arrays[name].T if facts.axes == "xy" else arrays[name].T[::-1]
    determinant = xx * yy - xy * xy
    refuse(name, (xx <= 0) | ~(determinant > 0), "not positive definite")
    if name == "conic":
        xx, xy, yy = yy / determinant, -xy / determinant, xx / determinant
        determinant = 1 / determinant
    x, y = _stretch(facts)
    l11 = np.sqrt(xx)
    return {"cholesky": np.stack([l11 * x, xy / l11 * y, np.sqrt(determinant) / l11 * y], 1)}


def _from_conic(arrays: Arrays, facts: Facts) -> dict[str, np.ndarray]:
    return _from_covariance(arrays, facts, "conic")


#: By the first array of each form: its fields in pixels, scales and angles or cholesky.
READERS: dict[str, Callable[[Arrays, Facts], dict[str, np.ndarray]]] = {
    "scales": _from_scales,
    "cholesky": _from_cholesky,
    "covariance": _from_covariance,
    "conic": _from_conic,
}


def _factor(root: np.ndarray) -> np.ndarray:
    """[N, 3] (l11, l21, l22) of root root^T, root [N, 2, 2]. From the root itself: thin Gaussians keep their width."""
    (a, b), (c, d) = root[:, 0].T, root[:, 1].T
    l11 = np.hypot(a, b)
    return np.stack([l11, (a * c + b * d) / l11, np.abs(a * d - b * c) / l11], 1)

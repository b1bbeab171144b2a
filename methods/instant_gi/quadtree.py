"""The quadtree start: large Gaussians where the picture is even, small ones where it is not ("quard" in the released
code, which all details here are from). The pseudo labels of the position probability come from it."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from splatbench.method import MethodError
from splatbench.render.jit import kernel, part

from . import ellipse
from .triangulation import delaunay

_LEAST_SIDE = 4  # pixels: smaller nodes are not split
_SCALE = 0.27  # of the start's standard deviations in full axes
_LONGEST = 10  # major / minor axis of the ellipses that are used
_LONELY = 2  # mean areas of ellipses around a point that call for a circle
_CIRCLE = 0.4
#: Deviation from which a square of so many pixels is not uniform, values in [0, 1]: a line through these two.
_AT_SMALL, _AT_LARGE = (4.0, 0.02), (100.0, 0.001)
_SLOPE = (_AT_LARGE[1] - _AT_SMALL[1]) / (_AT_LARGE[0] - _AT_SMALL[0])


@dataclass(frozen=True)
class QuadStart:
    """N Gaussians: the ellipses of the triangles between the leaves' centres, then circles at lonely centres."""

    centres: np.ndarray  #: [N, 2] float32 (x, y), in [-1, 1] from the outer edge of the first pixel to that of the last
    sizes: np.ndarray  #: [N, 2] float32 in pixels, standard deviations along the (minor, major) axis
    turns: np.ndarray  #: [N] float32: angle of the minor axis in turns, in (0, 0.5)


def quad_start(image: np.ndarray) -> QuadStart:
    """The quadtree start of a picture.

    Args:
        image: uint8 [H, W, 3], both sides at least 2.

    Raises:
        MethodError: not such a picture, or one so narrow that no ellipse of it can be used.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise MethodError(f"Instant-GI: the quadtree takes uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    if min(height, width) < 2:
        raise MethodError(f"Instant-GI: a picture of {width}x{height} pixels has no quadtree; it needs at least 2x2")
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    points = np.concatenate([leaf_centres(image), np.array(corners, np.float64)])
    triangles, _ = delaunay(points, incremental=False)
    ellipses = ellipse.fit(points[triangles])
    inside = ((ellipses.centres >= 0) & (ellipses.centres < (width, height))).all(1)
    kept = inside & (ellipses.axes[:, 1] <= _LONGEST * ellipses.axes[:, 0])
    if not kept.any():
        raise MethodError(f"Instant-GI: the quadtree of {width}x{height} pixels has only needles for triangles")
    lonely, radii = _circles(len(points), triangles, np.where(kept, 4 * math.pi * ellipses.axes.prod(1), 0))
    centres = np.concatenate([ellipses.centres[kept], points[lonely]])
    sizes = np.concatenate([2 * ellipses.axes[kept], np.stack([radii, radii], 1)]) * _SCALE
    degrees = np.concatenate([ellipses.degrees[kept], np.zeros(len(radii))])
    turns = np.maximum(degrees, 0.001) / 360
    return QuadStart(*(a.astype(np.float32) for a in (2 * centres / (width, height) - 1, sizes, turns)))


def leaf_centres(image: np.ndarray) -> np.ndarray:
    """Centres of the quadtree's leaves that lie in the picture, those of larger leaves first.

    The tree is that of the square of the longer side, black where there is no picture, after a Gaussian blur of radius
    1 (Pillow's). A node whose shorter side is at most 4 pixels, or that is uniform, is a leaf; uniform halves of others
    are leaves too. Uniform: the largest standard deviation among the channels is under a line in the longer
    side. Sums of bytes are integers, so deviations are exact but for the last rounding.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        float64 [P, 2] (x, y) in pixels.
    """
    height, width = image.shape[:2]
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)), np.int64)
    sums, squares = (np.zeros((height + 1, width + 1, 3), np.int64) for _ in range(2))
    for table, values in ((sums, blurred), (squares, blurred * blurred)):
        np.cumsum(np.cumsum(values, 0), 1, out=table[1:, 1:])
    level = np.array([[0, 0, max(height, width), max(height, width)]], np.int64)
    centres = []
    while len(level):  # a queue, one level of the tree at a time
        nodes, leaves = np.empty((4 * len(level), 4), np.int64), np.empty((4 * len(level), 4), np.int64)
        inner, outer = _split(level, sums, squares, nodes, leaves)
        level = nodes[:inner]
        centres.append(leaves[:outer, :2] + leaves[:outer, 2:] / 2)
    found = np.concatenate(centres)
    return found[(found < (width, height)).all(1)]


def _circles(points: int, triangles: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points whose used ellipses cover more than twice the mean of all points: (their numbers, radii of circles).

    Args:
        points: how many there are.
        triangles: [N, 3] numbers of their corners.
        areas: [N] of the ellipses with the full axes as half axes; 0 where an ellipse is not used.
    """
    around = np.bincount(triangles.ravel(), np.repeat(areas, 3), points)
    lonely = np.flatnonzero(around > _LONELY * around.mean())
    return lonely, _CIRCLE * np.sqrt(around[lonely] / around.mean() * areas.mean() / math.pi)


@kernel
def _split(level, sums, squares, nodes, leaves):
    """Nodes (x, y, w, h) of one level to the nodes of the next and to leaves; how many of each."""
    inner, outer = 0, 0
    for i in range(len(level)):
        x, y, w, h = level[i]
        if min(w, h) <= _LEAST_SIDE or _uniform(sums, squares, x, y, w, h):
            outer = _put(leaves, outer, x, y, w, h)
            continue
        a, b = w // 2, h // 2
        left, right = _uniform(sums, squares, x, y, a, h), _uniform(sums, squares, x + a, y, w - a, h)
        if left:
            outer = _put(leaves, outer, x, y, a, h)
        if right:
            outer = _put(leaves, outer, x + a, y, w - a, h)
        top = not left and not right and _uniform(sums, squares, x, y, w, b)
        bottom = not left and not right and _uniform(sums, squares, x, y + b, w, h - b)
        if top:
            outer = _put(leaves, outer, x, y, w, b)
        if bottom:
            outer = _put(leaves, outer, x, y + b, w, h - b)
        if not left and not top:
            inner = _put(nodes, inner, x, y, a, b)
        if not right and not top:
            inner = _put(nodes, inner, x + a, y, w - a, b)
        if not left and not bottom:
            inner = _put(nodes, inner, x, y + b, a, h - b)
        if not right and not bottom:
            inner = _put(nodes, inner, x + a, y + b, w - a, h - b)
    return inner, outer


@part
def _uniform(sums, squares, x, y, w, h):
    most = _AT_SMALL[1] + _SLOPE * (max(w, h) - _AT_SMALL[0])
    if most <= 0:
        return False
    bottom, right = len(sums) - 1, sums.shape[1] - 1
    y0, y1, x0, x1 = min(y, bottom), min(y + h, bottom), min(x, right), min(x + w, right)
    n = w * h
    for c in range(3):
        s = sums[y1, x1, c] - sums[y0, x1, c] - sums[y1, x0, c] + sums[y0, x0, c]
        q = squares[y1, x1, c] - squares[y0, x1, c] - squares[y1, x0, c] + squares[y0, x0, c]
        if not math.sqrt(n * q - s * s) < most * 255 * n:
            return False
    return True


@part
def _put(rectangles, at, x, y, w, h):
    rectangles[at, 0], rectangles[at, 1], rectangles[at, 2], rectangles[at, 3] = x, y, w, h
    return at + 1

"""From points to triangles, one per Gaussian: border points, Delaunay, ellipses (paper, Sec. 3.2 and 3.3; details from
the released code)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from scipy.spatial import Delaunay, QhullError, cKDTree
from torch import Tensor

from splatbench.method import MethodError
from splatbench.render.threads import thread_count

from . import ellipse

#: Turns: angles are clamped so that their logit is finite [released code].
LEAST_TURN, MOST_TURN = 1e-5, 0.99999
_SPACING = 3  # of the border points, in mean distances of neighbours [released code]
#: Square pixels. Thinner triangles, which dithered points do not have, are beyond what float32 coordinates of a picture
#: can tell from a line; they are left out (ours: the published features of one without area are infinite).
_LEAST_AREA = 1e-3


@dataclass(frozen=True)
class Triangles:
    """N triangles and their ellipses; pixels, x right, y down, in the coordinates of the points that they join."""

    corners: Tensor  #: [N, 3, 2] float32
    neighbours: Tensor  #: [N, 3] int64: the triangle opposite to each corner, the triangle itself where there is none
    centres: Tensor  #: [N, 2] float32, of the ellipses
    axes: Tensor  #: [N, 2] float32, semi-axes (minor, major)
    turn: Tensor  #: [N] float32: angle of the minor axis in turns, in [0, 0.5), clamped to [1e-5, 0.99999]
    note: str = ""  #: what was unusual about the points; for the log

    def __len__(self) -> int:
        return len(self.corners)

    def to(self, device: str | torch.device) -> Triangles:
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "note"}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


def with_border(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The points and equidistant ones along the outermost pixels, about three mean distances of neighbours apart.

    Each side has at least its two ends and at most one point per pixel (ours: they bind only where points are very few
    or much closer than any dithering makes them). Fewer than two points have no distance: sides are then quartered.

    Args:
        points: [P, 2] (x, y) in pixels.
        size: (H, W).

    Returns:
        float32 [Q, 2], without duplicates, sorted by x, then by y.

    Raises:
        MethodError: a picture that is one pixel high or wide; a point that is not finite.
    """
    height, width = size
    if min(size) < 2:
        raise MethodError(f"Instant-GI: a picture of {width}x{height} pixels has no triangles; it needs at least 2x2")
    if not np.isfinite(points).all():
        raise MethodError("Instant-GI: points to triangulate hold NaN or infinity")
    points = _distinct(np.asarray(points, np.float32).reshape(-1, 2))
    spacing = min(size) / 4
    if len(points) > 1:
        spacing = _SPACING * float(cKDTree(points).query(points, k=[2], workers=thread_count())[0].mean())
    nx, ny = (int(np.clip(np.ceil(side / spacing), 2, side)) for side in (width, height))
    # torch's float32 values: a last bit elsewhere, and Qhull cuts squares of lattice points the other way
    x, y = torch.linspace(0, width - 1, nx).numpy(), torch.linspace(0, height - 1, ny).numpy()
    horizontal = [np.stack([x, np.full(nx, at, np.float32)], 1) for at in (0, height - 1)]
    vertical = [np.stack([np.full(ny, at, np.float32), y], 1) for at in (0, width - 1)]
    return _distinct(np.concatenate([points, *horizontal, *vertical]))


def triangulate(points: np.ndarray, size: tuple[int, int]) -> Triangles:
    """Delaunay's triangulation of `with_border(points, size)`, and the triangles' ellipses.

    Args:
        points: [P, 2] (x, y) in pixels.
        size: (H, W).

    Raises:
        MethodError: see `with_border`; or no triangle is left.
    """
    joined = with_border(points, size)
    # Qhull's incremental mode is that of the released code; it decides in which order the corners of a triangle come
    # and which way squares are cut, and networks see that. It takes no longer than the other.
    simplices, neighbours = delaunay(joined, incremental=True)
    corners = joined[simplices]
    own = np.arange(len(corners))[:, None]
    neighbours = np.where(neighbours < 0, own, neighbours)
    thick = np.abs(ellipse.cross(corners)) > 2 * _LEAST_AREA
    corners, neighbours = corners[thick], _renumbered(neighbours, thick)
    if not len(corners):
        raise MethodError(f"Instant-GI: no triangle is left of {len(joined)} points in {size[1]}x{size[0]} pixels")
    notes = []
    if not len(points) or (points == points[0]).all():
        notes.append(f"{len(points)} points drawn: triangles of border points alone")
    if not thick.all():
        notes.append(f"{int((~thick).sum())} triangles without area left out")
    return _triangles(corners, neighbours, "; ".join(notes))


def delaunay(points: np.ndarray, incremental: bool) -> tuple[np.ndarray, np.ndarray]:
    """(corners [N, 3], numbers of points [P, 2]; triangles opposite to them [N, 3], -1 where there is none), by Qhull.

    Raises:
        MethodError: the points have no triangulation, because there are too few or they lie on a line.
    """
    try:
        mesh = Delaunay(points, incremental=incremental)
    except QhullError as error:
        if incremental:  # this mode refuses points that all lie on one circle, such as a picture's corners alone
            return delaunay(points, incremental=False)
        reason = str(error).strip().splitlines()[0]
        raise MethodError(f"Instant-GI: {len(points)} points have no triangulation: {reason}") from None
    triangles = mesh.simplices.astype(np.int64), mesh.neighbors.astype(np.int64)
    if incremental:
        mesh.close()
    return triangles


def _triangles(corners: np.ndarray, neighbours: np.ndarray, note: str) -> Triangles:
    ellipses = ellipse.fit(corners)
    turn = np.clip(ellipses.degrees / 360, LEAST_TURN, MOST_TURN)
    floats = [torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (ellipses.centres, ellipses.axes, turn)]
    return Triangles(torch.from_numpy(corners), torch.from_numpy(neighbours), *floats, note=note)


def _renumbered(neighbours: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Neighbours [N, 3] of the triangles that are `kept`, bool [N], among themselves; itself for one that is not."""
    if kept.all():
        return neighbours
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    renumbered = number[neighbours[kept]]
    return np.where(renumbered < 0, np.arange(len(renumbered))[:, None], renumbered)


def _distinct(points: np.ndarray) -> np.ndarray:
    """Points [P, 2] sorted by x, then by y, without duplicates."""
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    return points[np.append(True, (points[1:] != points[:-1]).any(1))[: len(points)]]

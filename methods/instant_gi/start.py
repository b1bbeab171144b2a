"""Where the Gaussians come from: the network, with its own count or one that was asked for; a quadtree; chance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn import functional

from splatbench.codec import spatial_order
from splatbench.gaussians import Gaussians2D
from splatbench.method import MethodError
from splatbench.trace import Trace

from . import quadtree
from .config import Config
from .decode import Network, Predicted, decode, predict
from .dither import dither, points_of
from .refine import Activation, random_parameters, raw_parameters
from .triangulation import Triangles, triangulate

#: A wanted count is met if at most this share of it is missing, else searched for again, at most so often.
_TOLERANCE, _ROUNDS = 0.01, 8
#: Factors of the position probability: the largest one, with a point in every block, and the resolution of logarithms.
_MOST, _RESOLUTION = 1e6, 1e-4


@dataclass(frozen=True)
class Start:
    """Gaussians to begin with.

    Attributes:
        gaussians: as the start gives them: scales of the network may lie below the refinement's floor.
        parameters: the same as raw parameters of `refine`.
        scale: how the refinement reads raw scales; see `refine.Activation`.
    """

    gaussians: Gaussians2D
    parameters: dict[str, Tensor]
    scale: Literal["floor", "abs"]


def network_start(network: Network, picture: Tensor, wanted: int | None, config: Config, trace: Trace) -> Start:
    """What the network gives.

    Args:
        picture: [1, 3, H, W] float32 in [0, 1].
        wanted: number of Gaussians; None: its own.

    Raises:
        MethodError: a number that dithering cannot meet.
    """
    if wanted is None:
        found = predict(network, picture, trace=trace)
    else:
        found = predict_count(network, picture, wanted, trace)
    with trace.stage("decoding"):
        size = (int(picture.shape[2]), int(picture.shape[3]))
        return _arranged(found.gaussians(size, config.compat), _raw(found), "floor")


def random_start(size: tuple[int, int], n: int, seed: int, config: Config, device: str, trace: Trace) -> Start:
    """n Gaussians as GaussianImage's RS variant draws them in the released code of Instant-GI."""
    with trace.stage("initialise"):
        parameters = {name: value.to(device) for name, value in random_parameters(n, seed).items()}
        return _arranged(Activation(size, "abs", config).gaussians(parameters), parameters, "abs")


def quad_start(image: np.ndarray, config: Config, device: str, trace: Trace) -> Start:
    """Ellipses and circles between the leaves of a quadtree, with the colours that the picture has there.

    Args:
        image: uint8 [H, W, 3].
    """
    with trace.stage("quadtree"):
        found = quadtree.quad_start(image)
        centres, sizes, turns = (torch.from_numpy(v).to(device) for v in (found.centres, found.sizes, found.turns))
        picture = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255
        # The published start takes -1 and 1 for the middles of the outermost pixels here, and nowhere else.
        colors = functional.grid_sample(picture, centres[None, None], padding_mode="border", align_corners=True)
        parameters = raw_parameters(centres, sizes, turns, colors[0, :, 0].T)
        size = (image.shape[0], image.shape[1])
        return _arranged(Activation(size, "floor", config).gaussians(parameters), parameters, "floor")


def _raw(found: Predicted) -> dict[str, Tensor]:
    return raw_parameters(found.means, found.scales, found.turns, found.colors)


def _arranged(gaussians: Gaussians2D, parameters: dict[str, Tensor], scale: Literal["floor", "abs"]) -> Start:
    """A sum does not care for the order, the caches do: neighbours are kept together, unless the 256-per-tile cap makes
    the order part of the picture."""
    if "tile_cap_256" not in gaussians.compat:
        order = torch.from_numpy(spatial_order(gaussians.means.cpu().numpy())).to(gaussians.device)
        gaussians = replace(gaussians, **{name: value[order] for name, value in gaussians.tensors().items()})
        parameters = {name: value[order] for name, value in parameters.items()}
    return Start(gaussians, parameters, scale)


def predict_count(network: Network, image: Tensor, wanted: int, trace: Trace) -> Predicted:
    """What the network gives with at most `wanted` Gaussians, and few less: see `meet_count`. Ours.

    The position probability is multiplied by a factor before dithering; what goes beyond 1 is cut.

    Args:
        image: [1, 3, H, W] float32 in [0, 1].

    Raises:
        MethodError: more than there are with a point in every block, or fewer than with none.
    """
    size = (int(image.shape[2]), int(image.shape[3]))
    with trace.stage("network"):
        features = network.features(image)
        density = network.density(features, size).float().cpu().numpy()
    triangles, factor = meet_count(density, network.block, size, wanted, trace)
    trace.note(
        f"position probability times {factor:.4g} to meet the count; the published method has a count of its own"
    )
    if triangles.note:
        trace.note(triangles.note)
    with trace.stage("decoding"):
        return decode(network, features, image, triangles)


def meet_count(
    density: np.ndarray, block: int, size: tuple[int, int], wanted: int, trace: Trace
) -> tuple[Triangles, float]:
    """A triangulation of at most `wanted` triangles, and the factor of the density that gives it.

    A triangulation is slow, dithering is not; and n points make nearly 2 n triangles. So the search is for a number of
    points, which each round corrects by half of what it missed. It ends within 1 % of `wanted`, or after eight rounds
    with the nearest found; where that lacks more than 1 %, a note says so.

    Args:
        density: [h, w] float32 in (0, 1), one value per block.

    Raises:
        MethodError: see `predict_count`.
    """
    best: tuple[Triangles, float] | None = None
    points, counts = wanted // 2, list[int]()
    for _ in range(_ROUNDS):
        with trace.stage("dithering"):
            factor = _factor_for(density, points)
            cells = _dithered(density, factor)
        with trace.stage("triangulation"):
            triangles = triangulate(points_of(cells, block, size), size)
        counts.append(len(triangles))
        if counts[-1] <= wanted and (best is None or counts[-1] > len(best[0])):
            best = triangles, factor
        if best is not None and len(best[0]) >= (1 - _TOLERANCE) * wanted:
            return best
        if counts[-1] < wanted and factor == _MOST:
            raise MethodError(
                f"blocks of {block}x{block} pixels hold at most {counts[-1]} Gaussians in this picture, {wanted} are "
                "wanted; ask for fewer"
            )
        if counts[-1] > wanted and points == 0:
            break
        points = max(0, points + (wanted - counts[-1]) // 2)
    if best is None:
        raise MethodError(
            f"the fewest Gaussians found for this picture are {min(counts)}, {wanted} are wanted; ask for more"
        )
    trace.note(f"{len(best[0])} Gaussians, not {wanted}: the nearest from below that {len(counts)} dithered maps gave")
    return best


def _dithered(density: np.ndarray, factor: float) -> np.ndarray:
    return dither(np.minimum(density * np.float32(factor), np.float32(1)))


def _factor_for(density: np.ndarray, points: int) -> float:
    """A factor, up to `_MOST`, that gives about so many points; more of it gives more of them but for a few."""

    def surplus(exponent: float) -> int:
        return int(_dithered(density, math.exp(exponent)).sum()) - points

    least, most = -math.log(_MOST), math.log(_MOST)
    if surplus(most) <= 0:
        return _MOST
    if points == 0 or surplus(least) >= 0:
        return 1 / _MOST
    return math.exp(brentq(surplus, least, most, xtol=_RESOLUTION))

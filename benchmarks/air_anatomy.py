"""What happens inside one pass of AIR over a picture: pictures, errors, Gaussians and features of every stage."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splatbench.fitting import psnr
from splatbench.method import get_method

#: Names of the layers that make raw vectors of features, in the published network and in AIR-small.
_LAST_LAYERS = ("gaussian_linear", "output")


@dataclass(frozen=True)
class View:
    """One stage.

    Attributes:
        picture: float32 [H, W, 3] in [0, 1], what is drawn after it.
        error: float32 [H, W], absolute difference from the image, mean over channels.
        psnr: dB, of `picture`.
        count: Gaussians of this stage and those before.
        positions: float32 [n, 2], (x, y) in pixels of the Gaussians that this stage adds.
        features: float32 [rows, columns, C], what the last layer of the head sees of each patch.
        patch: p in pixels.
    """

    picture: np.ndarray
    error: np.ndarray
    psnr: float
    count: int
    positions: np.ndarray
    features: np.ndarray
    patch: int

    @property
    def density(self) -> np.ndarray:
        """[rows, columns]: Gaussians that this stage adds, by the patch that their centre lies in.

        Centres outside the picture count for the nearest patch.
        """
        rows, columns = self.features.shape[:2]
        cells = np.floor(self.positions / self.patch).astype(int)
        cells = np.clip(cells, 0, [columns - 1, rows - 1])
        found = np.zeros((rows, columns), int)
        np.add.at(found, (cells[:, 1], cells[:, 0]), 1)
        return found


def part(name: str) -> ModuleType:
    """A file of AIR's folder."""
    return importlib.import_module(f"{get_method('air').__module__}.{name}")


@torch.inference_mode()
def look(image: np.ndarray, settings: Mapping[str, Any]) -> list[View]:
    """Runs AIR on uint8 [H, W, 3] with settings of the method; one view per stage.

    Raises:
        MethodError: settings or weights are at fault.
    """
    method = get_method("air")
    air: Any = method(method.make_config(dict(settings)))
    network, config = air.loaded.network, air.config
    target = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    stages = min(config.stages, network.stages)
    with _features_of(network) as features:
        chain = list(part("stages").run_stages(network, target, config.control(), config.drawing(), stages))
    count, views = 0, []
    for stage, seen in zip(chain, features, strict=True):
        count += int(stage.chosen.sum())
        views.append(_view(stage, seen, target, count, network.patch, config.drawing().stretch))
    return views


def _view(stage: Any, features: Tensor, target: Tensor, count: int, patch: int, stretch: bool) -> View:
    patches = part("patches")
    size = int(target.shape[2]), int(target.shape[3])
    grid, chosen = patches.PatchGrid(*size, patch), stage.chosen[0]
    values = patches.activate(stage.prediction.raw[0, chosen], patch)
    at = patches.means(values.offsets, grid.centres()[chosen], size, stretch)
    picture = stage.picture[0].clamp(0, 1)
    difference = picture - target[0]
    return View(
        picture=picture.permute(1, 2, 0).numpy(),
        error=difference.abs().mean(0).numpy(),
        psnr=psnr(float(difference.square().mean())),
        count=count,
        positions=at.numpy(),
        features=_by_patch(features, grid.rows, grid.columns),
        patch=patch,
    )


def _by_patch(features: Tensor, rows: int, columns: int) -> np.ndarray:
    """[1, C, rows, columns] or [1, L, C] -> [rows, columns, C]."""
    found = features[0].float()
    return (found.permute(1, 2, 0) if found.ndim == 3 else found.reshape(rows, columns, -1)).numpy()


@contextmanager
def _features_of(network: Any) -> Iterator[list[Tensor]]:
    """Collects, call by call, what the last layers of a network's heads get.

    Raises:
        ValueError: the network has no such layers.
    """
    module = network if isinstance(network, nn.Module) else network.net
    layers = [layer for name, layer in module.named_modules() if name.rpartition(".")[2] in _LAST_LAYERS]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no layer named {' or '.join(_LAST_LAYERS)}: no features to show"
        )
    seen: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Components:
    """Principal components of a stage's features.

    Attributes:
        shares: of the variance, falling; they add up to 1.
        colours: float64 [rows, columns, 3] in [0, 1]: the first three, each from its 1st to its 99th percentile.
    """

    shares: np.ndarray
    colours: np.ndarray


def components(features: np.ndarray) -> Components:
    """PCA of [rows, columns, C] over patches.

    Raises:
        ValueError: all patches have the same features.
    """
    rows, columns, channels = features.shape
    centred = features.reshape(-1, channels).astype(np.float64)
    centred -= centred.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    total = np.square(values).sum()
    if not total > 1e-12:
        raise ValueError("all patches have the same features: there are no components")
    first = np.zeros((rows * columns, 3))
    width = min(3, len(values))
    first[:, :width] = left[:, :width] * values[:width]
    low, high = np.percentile(first, [1, 99], axis=0)
    colours = np.clip((first - low) / np.maximum(high - low, 1e-12), 0, 1)
    return Components(np.square(values) / total, colours.reshape(rows, columns, 3))

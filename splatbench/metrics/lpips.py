"""LPIPS v0.1 with the network code of the package lpips and backbones from our own manifest."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import torch
from torch import Tensor

from splatbench.metrics import weights
from splatbench.metrics.registry import Metric, MetricNotRun
from splatbench.metrics.ssim import exact, tensor
from splatbench.metrics.strips import Bands, Span, Stream, spans, unit

#: Above this, pictures are cut into tiles: the package holds about 2.5 GB of VGG features for a megapixel.
WHOLE_PIXELS = 1 << 20

#: Side of a tile's core in pixels; like HALO a multiple of 16, the step of the deepest feature maps, so that the
#: features of a tile fall on the same grid as those of the whole picture.
TILE = 768

#: How far the deepest features see beyond a tile's core, rounded up to 16. For kernels k, paddings p and steps j (in
#: pixels) of the layers that is sum(p j) = 66, 90, 88 pixels to the left of a feature's own step and
#: 1 + sum((k - 1 - p) j) - 16 = 81, 90, 103 pixels to the right of it.
HALO = {"alex": 96, "vgg": 96, "squeeze": 112}

#: Step in pixels of each feature map that the package compares.
STEPS = {"alex": (4, 8, 16, 16, 16), "vgg": (1, 2, 4, 8, 16), "squeeze": (2, 4, 8, 16, 16, 16, 16)}


def whole(metric: Metric, picture: np.ndarray, reference: np.ndarray, device: str) -> float:
    """float32 [H, W, 3] against uint8 [H, W, 3] -> the package's value.

    Raises:
        MetricNotRun: the backbone's weights are not here; says how to get them.
    """
    model = load_model(_net(metric), device)
    with exact():
        return float(model(_signed(picture, device), _signed(unit(reference), device)))


def stream(metric: Metric, reference: np.ndarray, device: str) -> Stream:
    """Accumulates LPIPS over tiles; equal to `whole` up to float32 rounding.

    Raises:
        MetricNotRun: the backbone's weights are not here; says how to get them.
    """
    net = _net(metric)
    return LpipsStream(load_model(net, device), net, reference, device)


def _net(metric: Metric) -> str:
    return metric.name.removeprefix("lpips_")


def _signed(picture: np.ndarray, device: str) -> Tensor:
    """[0, 1] -> [-1, 1]: what the package expects unless told `normalize=True`."""
    return tensor(picture, device) * 2 - 1


class LpipsStream:
    """LPIPS is a sum over layers of spatial means, so it can be summed tile by tile.

    A tile's window is so wide that every feature of its core sees the same pixels, and at the picture's edges the same
    zero padding, as in the whole picture.
    """

    def __init__(self, model: Any, net: str, reference: np.ndarray, device: str, tile: int = TILE) -> None:
        height, width = reference.shape[:2]
        self._model, self._reference, self._device, self._steps = model, reference, device, STEPS[net]
        self._bands = Bands(height, tile, HALO[net])
        self._columns = spans(width, tile, HALO[net])
        self._sums, self._counts = np.zeros(len(self._steps)), np.zeros(len(self._steps), dtype=np.int64)

    def push(self, row0: int, picture: np.ndarray) -> None:
        for rows, window in self._bands.push(picture):
            reference = self._reference[rows.window0 : rows.window1]
            for columns in self._columns:
                cut = slice(columns.window0, columns.window1)
                with exact():
                    self._add(window[:, cut], reference[:, cut], rows, columns)

    def _add(self, picture: np.ndarray, reference: np.ndarray, rows: Span, columns: Span) -> None:
        model = self._model
        x, y = _signed(picture, self._device), _signed(unit(reference), self._device)
        features = zip(model.net(model.scaling_layer(x)), model.net(model.scaling_layer(y)), strict=True)
        for layer, (a, b) in enumerate(features):
            step = self._steps[layer]
            down, right = _core(rows, picture.shape[0], step), _core(columns, picture.shape[1], step)
            a, b = a[:, :, down, right], b[:, :, down, right]
            if a.numel() == 0:  # a core of a few pixels at the edge may own no deep feature
                continue
            difference = lpips.normalize_tensor(a).sub_(lpips.normalize_tensor(b)).square_()
            values = model.lins[layer](difference)
            self._sums[layer] += float(values.sum(dtype=torch.float64))
            self._counts[layer] += values.numel()

    def value(self) -> float:
        if not self._bands.finished():
            raise RuntimeError("LPIPS: the picture is incomplete")
        return float((self._sums / self._counts).sum())


def _core(span: Span, window: int, step: int) -> slice:
    """The features that belong to a tile's core; all that remain where the window ends with the picture's edge.

    Where the core is the last one, the picture's size need not be a multiple of the step.
    """
    begin = (span.core0 - span.window0) // step
    last = span.core1 - span.window0 == window
    return slice(begin, None if last else (span.core1 - span.window0) // step)


@functools.cache
def load_model(net: str, device: str) -> Any:
    """The package's LPIPS module, in evaluation mode on the device; loaded once per process.

    Raises:
        MetricNotRun: weights missing, damaged, or not those of this network.
    """
    backbone = weights.locate(f"lpips_{net}")
    linear = weights.linear(f"lpips_{net}", Path(lpips.__file__).parent / "weights" / "v0.1")
    return build_model(net, weights.load(backbone), weights.load(linear), str(backbone)).to(device)


def build_model(net: str, backbone: dict[str, Tensor], linear: dict[str, Tensor], source: str = "weights") -> Any:
    """The package's module with the given state; never downloads.

    Args:
        backbone: torchvision names, features.<layer>.<...>; other keys (the classifier) are left out.
        linear: the package's names, lin<i>.model.1.weight.
    """
    # On the meta device neither torchvision's random initialisation nor its unused classifier costs time or memory.
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchvision")  # the package calls torchvision's older interface
        model = lpips.LPIPS(net=net, version="0.1", pretrained=False, pnet_rand=True, verbose=False)
    model.scaling_layer = lpips.ScalingLayer()
    state = dict(linear)
    for name in model.net.state_dict():  # slice<k>.<layer>.<...>
        key = f"features.{name.split('.', 1)[1]}"
        if key not in backbone:
            raise MetricNotRun(f"{source} holds no {key!r}: not the weights of LPIPS's {net} backbone")
        state[f"net.{name}"] = backbone[key]
    try:
        model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise MetricNotRun(f"{source} does not fit LPIPS's {net} backbone: {error}") from error
    empty = [name for name, value in model.named_parameters() if value.is_meta]
    if empty:
        raise MetricNotRun(f"{source}: no values for {empty[0]} of LPIPS's {net} backbone")
    return model.requires_grad_(False).eval()

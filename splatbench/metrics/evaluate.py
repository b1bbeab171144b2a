"""One call for all metrics: a whole picture or strips, against an 8-bit original."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from typing import Protocol, cast

import numpy as np

from splatbench.metrics.registry import Metric, MetricError, MetricNotRun, get_metric
from splatbench.metrics.strips import Stream, StripSource, array_strips, check_values, checked_strips

Values = dict[str, float | None]

#: Strip sources of at most this many pixels are put together first, so that small pictures have one path.
_COLLECT_PIXELS = 1 << 20


class _Family(Protocol):
    """What a metric's module offers."""

    WHOLE_PIXELS: int

    def whole(self, metric: Metric, picture: np.ndarray, reference: np.ndarray, device: str) -> float: ...

    def stream(self, metric: Metric, reference: np.ndarray, device: str) -> Stream: ...


def evaluate(
    names: Iterable[str],
    picture: np.ndarray | StripSource,
    reference_u8: np.ndarray,
    device: str = "cpu",
    streamed: bool | None = None,
) -> tuple[Values, dict[str, str]]:
    """Measures a picture against its original.

    Small pictures go whole through the reference packages. Large ones, and large strip sources, are accumulated in one
    pass over strips, with the same values to 1e-6 and memory for a few megapixels.

    Args:
        names: names from REGISTRY.
        picture: float32 [H, W, C] in [0, 1] (clamped, not rounded), or its strips from top to bottom:
            (row, float32 [h, W, C]) from an iterable or from a function without arguments that returns one.
        reference_u8: uint8 [H, W, C]; may be memory-mapped. Metrics that are defined for RGB alone are not run where
            C is not 3.
        device: where SSIM and LPIPS are computed; PSNR and FLIP stay on the CPU.
        streamed: True accumulates over strips whatever the size, False measures the picture whole; None decides.

    Returns:
        Values by name (None where the metric was not run), and for each of these the reason and what to do.

    Raises:
        MetricError: unknown name (names the nearest); NaN, infinity or values outside [0, 1]; shapes or types that do
            not fit. Never a number for such a picture.
    """
    metrics = [get_metric(name) for name in dict.fromkeys(names)]
    height, width, channels = _check_reference(reference_u8)
    pixels = height * width
    not_run = {metric.name: why for metric in metrics if (why := _why_not(metric, height, width, channels))}
    if isinstance(picture, np.ndarray):
        _check_picture(picture, reference_u8)
    elif streamed is False or (streamed is None and pixels <= _COLLECT_PIXELS):
        picture = _collect(picture, (height, width, channels))

    values: Values = dict.fromkeys((metric.name for metric in metrics), None)
    streams: dict[str, Stream] = {}
    for metric in metrics:
        if metric.name in not_run:
            continue
        family = cast(_Family, importlib.import_module(f"splatbench.metrics.{metric.family}"))
        fits = streamed is False or (streamed is None and pixels <= family.WHOLE_PIXELS)
        try:
            if isinstance(picture, np.ndarray) and fits:
                values[metric.name] = _finite(metric, family.whole(metric, picture, reference_u8, device))
            else:
                streams[metric.name] = family.stream(metric, reference_u8, device)
        except MetricNotRun as reason:
            not_run[metric.name] = str(reason)
    if isinstance(picture, np.ndarray):
        _feed(streams, array_strips(picture))
    else:
        _feed(streams, checked_strips(picture, (height, width, channels)))
    for name, stream in streams.items():
        values[name] = _finite(get_metric(name), stream.value())
    return values, not_run


def _feed(streams: dict[str, Stream], strips: Iterable[tuple[int, np.ndarray]]) -> None:
    """One pass for all metrics: a large picture is rendered once."""
    for row0, strip in strips:
        for stream in streams.values():
            stream.push(row0, strip)


def _why_not(metric: Metric, height: int, width: int, channels: int) -> str:
    """Why a metric is not defined for such a picture, or ""."""
    if channels != 3 and not metric.any_channels:
        return f"{metric.title} is defined for RGB, the picture has {channels} channels; psnr takes any number"
    if min(height, width) < metric.min_side:
        return f"{metric.title} needs sides of at least {metric.min_side} pixels, the picture is {width}x{height}"
    return ""


def _check_reference(reference: np.ndarray) -> tuple[int, int, int]:
    if not isinstance(reference, np.ndarray) or reference.dtype != np.uint8:
        kind = getattr(reference, "dtype", type(reference).__name__)
        raise MetricError(f"reference: expected a uint8 array [H, W, C], got {kind}")
    if reference.ndim != 3 or reference.size == 0:
        raise MetricError(f"reference: expected shape [H, W, C] with H, W >= 1, got {list(reference.shape)}")
    height, width, channels = reference.shape
    return height, width, channels


def _check_picture(picture: np.ndarray, reference: np.ndarray) -> None:
    if picture.dtype != np.float32:
        raise MetricError(f"picture: expected float32 in [0, 1], got {picture.dtype}")
    if picture.shape != reference.shape:
        raise MetricError(
            f"picture of shape {list(picture.shape)} does not fit the reference of shape {list(reference.shape)}"
        )
    for row0, strip in array_strips(picture):
        check_values(strip, row0)


def _collect(source: StripSource, shape: tuple[int, int, int]) -> np.ndarray:
    picture = np.empty(shape, np.float32)
    for row0, strip in checked_strips(source, shape):
        picture[row0 : row0 + strip.shape[0]] = strip
    return picture


def _finite(metric: Metric, value: float) -> float:
    """A record holds no NaN: should a valid picture give one, that is a bug and must not pass as a score."""
    if not math.isfinite(value):
        raise MetricError(f"{metric.name} came out as {value}")
    return value

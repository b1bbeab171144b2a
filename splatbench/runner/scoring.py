"""Scoring one file: bytes to pixels under the clock, then metrics. Has the bytes and the original, nothing else."""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splatbench.codec import decode
from splatbench.method import Decoded, get_method
from splatbench.metrics import evaluate, get_metric
from splatbench.trace import Diverged, Trace

#: Pictures of more pixels than this are rendered and measured strip by strip: 2^24 pixels are 200 MB as float32 RGB.
STRIP_PIXELS = 1 << 24

Strip = tuple[int, np.ndarray]


@dataclass
class Score:
    """What `score` returns; seconds are wall time."""

    n_actual: int | None
    decode_seconds: float
    values: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)


def metric_version(name: str) -> str:
    """Changes when the definition of a metric changes; cached values of another version are measured again."""
    metric = get_metric(name)
    definition = [metric.name, metric.space, metric.data_range, metric.reference, metric.backbone, metric.min_side]
    return hashlib.sha256(repr(definition).encode()).hexdigest()[:8]


def score(
    data: bytes,
    reference: np.ndarray,
    metrics: Sequence[str],
    suffix: str = ".s2d",
    repeats: int = 1,
    strip_pixels: int = STRIP_PIXELS,
    decoder: Callable[[bytes, Trace], Decoded] | None = None,
) -> Score:
    """Decodes a file and measures its picture, clamped to [0, 1] and not rounded.

    Args:
        reference: the original, uint8 [H, W, 3].
        metrics: names; may be empty, then only the decoder is run.
        repeats: decodings to time; the median is kept.
        decoder: for files that need more than their bytes (`Method.decode`); None finds the method by the bytes and
            `suffix`.

    Raises:
        splatbench.codec.BitstreamError: the file cannot be decoded.
        Diverged: the picture holds NaN or infinity.
        ValueError: the picture has another size than the original.
    """
    height, width = reference.shape[:2]
    times, source = [], None
    for _ in range(max(repeats, 1)):
        clock = Trace()
        clock.start()
        decoded = decode(data, suffix) if decoder is None else decoder(data, clock)
        _check_size(decoded, height, width)
        source = _Strips(decoded) if height * width > strip_pixels else None
        picture = None if source is not None else to_picture(decoded)
        times.append(clock.seconds)
    decode_seconds = statistics.median(times)
    result = Score(None if isinstance(decoded, np.ndarray) else len(decoded), decode_seconds)
    if source is not None:
        begin = time.perf_counter()
        values, result.not_run = evaluate(metrics, source, reference)
        if not metrics:
            for _ in source():
                pass
        elapsed = time.perf_counter() - begin
        # Rendering is interleaved with the metrics; what it took belongs to decoding.
        result.decode_seconds += source.seconds
        result.seconds = dict.fromkeys(metrics, (elapsed - source.seconds) / max(len(metrics), 1))
        result.values = {name: value for name, value in values.items() if value is not None}
        return result
    assert picture is not None
    for name in metrics:
        begin = time.perf_counter()
        values, not_run = evaluate([name], picture, reference)
        value = values[name]
        if value is not None:
            result.values[name], result.seconds[name] = value, time.perf_counter() - begin
        result.not_run.update(not_run)
    return result


def decoder_of(method: str, settings: Mapping[str, Any], suffix: str) -> Callable[[bytes, Trace], Decoded] | None:
    """The decoder of a method's files where their bytes alone do not tell it; None for all others.

    Raises:
        MethodError: no such method or settings.
    """
    kind = get_method(method)
    if not kind.outside or suffix == ".s2d":
        return None
    return kind(kind.make_config(settings)).decode


def warm_up(metrics: Sequence[str]) -> None:
    """Measures noise once, so that imports and loading of weights are not counted as evaluation."""
    noise = np.random.default_rng(0).integers(0, 256, (176, 176, 3), dtype=np.uint8)
    evaluate(metrics, noise.astype(np.float32) / np.float32(255), noise)


def to_picture(decoded: Decoded) -> np.ndarray:
    """float32 [H, W, 3] in [0, 1] of what a decoder returned.

    Raises:
        Diverged: NaN or infinity in it.
    """
    if isinstance(decoded, np.ndarray):
        return decoded.astype(np.float32) / np.float32(255)
    from splatbench.render import render

    return _clamped(render(decoded).cpu().numpy(), 0)


def _clamped(picture: np.ndarray, row0: int) -> np.ndarray:
    if not math.isfinite(float(picture.sum(dtype=np.float64))):
        bad = int((~np.isfinite(picture)).sum())
        raise Diverged(f"the decoded picture holds {bad} values that are NaN or infinite (from row {row0})")
    return np.clip(picture, np.float32(0), np.float32(1))


def _check_size(decoded: Decoded, height: int, width: int) -> None:
    size = decoded.shape[:2] if isinstance(decoded, np.ndarray) else decoded.size
    if tuple(size) != (height, width):
        raise ValueError(f"the file holds {size[1]}x{size[0]} pixels, the original has {width}x{height}")


class _Strips:
    """A strip source for metrics that also knows how long rendering took."""

    def __init__(self, decoded: Decoded, rows: int = 256) -> None:
        self._decoded, self._rows = decoded, rows
        self.seconds = 0.0

    def __call__(self) -> Iterator[Strip]:
        strips = self._raw()
        while True:
            begin = time.perf_counter()
            strip = next(strips, None)
            self.seconds += time.perf_counter() - begin
            if strip is None:
                return
            yield strip

    def _raw(self) -> Iterator[Strip]:
        if isinstance(self._decoded, np.ndarray):
            for row in range(0, self._decoded.shape[0], self._rows):
                yield row, self._decoded[row : row + self._rows].astype(np.float32) / np.float32(255)
            return
        from splatbench.render import iter_strips

        for row, strip in iter_strips(self._decoded, rows=self._rows):
            yield row, _clamped(np.asarray(strip), row)

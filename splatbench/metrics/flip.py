"""LDR-FLIP through the package flip-evaluator, in bands that see everything its filters reach."""

from __future__ import annotations

import flip_evaluator
import numpy as np

from splatbench.metrics.registry import Metric
from splatbench.metrics.strips import Bands, Stream, unit

#: Above this, pictures are streamed: the package holds about ten float RGB maps of the picture.
WHOLE_PIXELS = 4 << 20

#: Pixels of a band without its halo.
BAND_PIXELS = 1 << 20

#: Pixels per degree of visual angle: 0.7 m from a display 0.7 m and 3840 pixels wide (the paper's setting and the
#: package's default).
PPD = 0.7 * 3840 / 0.7 * np.pi / 180

#: Rows that the widest filter reaches: the blue-yellow contrast filter, ceil(3 sqrt(0.04 / (2 pi²)) PPD) = 10 pixels
#: (section 4.1.1 of the paper); the feature filters reach ceil(3 * 0.5 * 0.082 PPD) = 9.
HALO = 12


def error_map(picture: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """float32 [h, W, 3] against uint8 [h, W, 3] -> the FLIP map, float32 [h, W, 1] in [0, 1]."""
    result = flip_evaluator.evaluate(
        unit(reference),
        np.ascontiguousarray(picture),
        "LDR",
        inputsRGB=True,
        applyMagma=False,
        computeMeanError=False,
        parameters={"ppd": PPD},
    )
    return np.asarray(result[0])


def whole(metric: Metric, picture: np.ndarray, reference: np.ndarray, device: str) -> float:
    """float32 [H, W, 3] against uint8 [H, W, 3] -> mean of the FLIP map; always on the CPU."""
    return float(error_map(picture, reference).mean(dtype=np.float64))


def stream(metric: Metric, reference: np.ndarray, device: str) -> Stream:
    """Accumulates the mean of the map over bands; the filters are local, so the map is the same."""
    return FlipStream(reference)


class FlipStream:
    """Bands of about a megapixel with HALO more rows on either side."""

    def __init__(self, reference: np.ndarray, rows: int | None = None) -> None:
        height, width = reference.shape[:2]
        self._reference, self._sum = reference, 0.0
        self._bands = Bands(height, rows or max(64, BAND_PIXELS // width), HALO)

    def push(self, row0: int, picture: np.ndarray) -> None:
        for span, window in self._bands.push(picture):
            errors = error_map(window, self._reference[span.window0 : span.window1])
            self._sum += float(errors[span.core0 - span.window0 : span.core1 - span.window0].sum(dtype=np.float64))

    def value(self) -> float:
        if not self._bands.finished():
            raise RuntimeError("FLIP: the picture is incomplete")
        height, width = self._reference.shape[:2]
        return self._sum / (height * width)

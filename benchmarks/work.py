"""What a kernel has to do at least: operations and bytes, from which its time on a perfect machine follows.

Operations are counted in multiply-adds; one of any other kind counts as one. The counts are of the plain algorithm,
each pair of pixel and Gaussian with a weight of at least 1/255 alone; what an implementation does beside (pairs outside
of the outline, binning, layout) is its own affair. Bytes are those of inputs and outputs, each once.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A weight: two of the exponent down a column, the comparison, and a 2^-t of five multiply-adds and three squarings.
_WEIGHT = 2 + 1 + 8
_DRAW = _WEIGHT + 3  # and a multiply-add for every channel
#: And of the gradients: colour (3), t = w G . colour (4), and the moments t, t x, t y, t x^2, t x y, t y^2.
_DIFFERENTIATE = _WEIGHT + 3 + 4 + 6
_GAUSSIAN = 8 + 24 + 12  # bytes of a mean, a covariance (float64), a colour
_TAPS = 11


@dataclass(frozen=True)
class Work:
    """Multiply-adds and bytes of one call."""

    fma: float
    bytes: float

    def seconds(self, fma_per_second: float, bytes_per_second: float) -> float:
        """The time of a machine that does nothing else, at the rates that were measured."""
        return max(self.fma / fma_per_second, self.bytes / bytes_per_second)

    def __add__(self, other: Work) -> Work:
        return Work(self.fma + other.fma, self.bytes + other.bytes)


def draw(pairs: int, count: int, values: int) -> Work:
    """`sum` forward; `values` = H W C."""
    return Work(_DRAW * pairs, _GAUSSIAN * count + 4 * values)


def differentiate(pairs: int, count: int, values: int) -> Work:
    """`sum` backward: reads the gradient of the picture, writes those of the Gaussians."""
    return Work(_DIFFERENTIATE * pairs, 2 * _GAUSSIAN * count + 4 * values)


def draw_topk(pairs: int, chosen: int, count: int, values: int) -> Work:
    """`topk` forward: every response is compared with the least of the chosen, the chosen are summed."""
    return Work(_WEIGHT * pairs + 4 * chosen, _GAUSSIAN * count + 4 * values)


def differentiate_topk(chosen: int, count: int, values: int) -> Work:
    """`topk` backward: the chosen alone."""
    return Work(_DIFFERENTIATE * chosen, 2 * _GAUSSIAN * count + 4 * values)


def map_forward(count: int, parameters: int) -> Work:
    """Parameters of a shape to covariances in float64."""
    return Work(8 * count, (4 * parameters + 24) * count)


def map_backward(count: int, parameters: int) -> Work:
    """Gradients of covariances to those of the parameters."""
    return Work(12 * count, (8 * parameters + 24) * count)


def loss(values: int, ssim: bool) -> Work:
    """Value and gradient against a uint8 image. SSIM: three maps forward (the image's own are kept: 8 bytes per value),
    three backward, each two passes of eleven taps; and about 30 operations per value."""
    if ssim:
        return Work((6 * 2 * _TAPS + 30) * values, (4 + 1 + 4 + 8) * values)
    return Work(3 * values, (4 + 1 + 4) * values)


def adam(parameters: int) -> Work:
    """Reads parameter, gradient and two averages, writes three of them."""
    return Work(12 * parameters, 7 * 4 * parameters)


def adan(parameters: int) -> Work:
    """Reads parameter, gradient, the gradient before and three averages, writes five of them."""
    return Work(18 * parameters, 11 * 4 * parameters)

"""Pictures on the CPU, drawn and differentiated by rows: `SumDrawing` and `TopkDrawing`, one interface."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from splatbench.gaussians import TOP_K, TOPK_EPSILON, TOPK_MIN_RESPONSE

from .cpu_tiles import Gradients
from .cpu_topk import TopkRasterizer, check_rule
from .lease import Lease
from .published import CompatRasterizer


class Drawing(Protocol):
    """A picture of Gaussians, whatever their blend."""

    size: tuple[int, int]
    channels: int

    def draw_rows(self, row0: int = 0, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Rows row0 .. row1 - 1, [row1 - row0, W, C] float32, written to `out` if given.

        row0, row1: multiples of 256, or the end of the picture (the default).
        """
        ...

    def backward_rows(self, row0: int, grad: np.ndarray) -> None:
        """Adds to the gradients what comes from rows row0 ..., which were drawn before.

        grad: [h, W, C] float32, dL/dpicture of these rows. row0 and the end of the rows: as for `draw_rows`.
        """
        ...

    def gradients(self) -> Gradients:
        """The sums since the last call: means [N, 2] float32, covariance [N, 3] float64, colours [N, C] float32."""
        ...

    def scratch(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Uninitialised float32 that the next picture will have again, until this one is gone."""
        ...


@dataclass(frozen=True)
class TopkRule:
    """What decides which Gaussians a pixel of blend `topk` averages, and how; see `rasterize_topk`.

    Raises:
        ValueError: a value out of range.
    """

    k: int = TOP_K
    epsilon: float = TOPK_EPSILON
    min_response: float = TOPK_MIN_RESPONSE
    compat: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_rule(**asdict(self))


def as_numpy(value: Tensor) -> np.ndarray:
    """The values of a tensor on the CPU, contiguous."""
    return value.detach().contiguous().numpy()


def _three_channels(values: np.ndarray, first: int) -> np.ndarray:
    """Channels first .. first + 2 (the last axis), zeros where there are no more."""
    if values.shape[-1] == 3:
        return values
    part = values[..., first : first + 3]
    if part.shape[-1] == 3:
        return np.ascontiguousarray(part)
    padded = np.zeros((*part.shape[:-1], 3), np.float32)
    padded[..., : part.shape[-1]] = part
    return padded


class SumDrawing:
    """One picture of blend `sum`; a workspace for every three channels.

    Args:
        means: [N, 2] float32, (x, y) in pixels, the centre of the first pixel being at (0.5, 0.5).
        covariance: [N, 3] float64, (Sxx, Sxy, Syy).
        colors: [N, C >= 1] float32.
        size: (H, W).
        compat: subset of `splatbench.gaussians.COMPAT_FLAGS`.
    """

    def __init__(
        self,
        means: np.ndarray,
        covariance: np.ndarray,
        colors: np.ndarray,
        size: tuple[int, int],
        compat: frozenset[str] = frozenset(),
    ) -> None:
        self.size, self.channels = size, colors.shape[1]
        self._leases = [Lease(CompatRasterizer) for _ in range(0, self.channels, 3)]
        self._gradients: list[Gradients] | None = None
        for i, lease in enumerate(self._leases):
            lease.rasterizer.take(means, covariance, _three_channels(colors, 3 * i), size, compat)

    def draw_rows(self, row0: int = 0, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """See `Drawing`."""
        if self.channels == 3:
            return self._leases[0].rasterizer.draw_rows(row0, row1, out)
        height, width = self.size
        rows = (height if row1 is None else row1) - row0
        out = np.empty((rows, width, self.channels), np.float32) if out is None else out
        for i, lease in enumerate(self._leases):
            part = lease.rasterizer.draw_rows(row0, row1)
            out[..., 3 * i : 3 * i + 3] = part[..., : self.channels - 3 * i]
        return out

    def backward_rows(self, row0: int, grad: np.ndarray) -> None:
        """See `Drawing`."""
        if self._gradients is None:
            self._gradients = [lease.rasterizer.zero_gradients() for lease in self._leases]
        for i, (lease, gradients) in enumerate(zip(self._leases, self._gradients, strict=True)):
            lease.rasterizer.backward_rows(row0, _three_channels(grad, 3 * i), gradients)

    def gradients(self) -> Gradients:
        """See `Drawing`."""
        if self._gradients is None:
            raise RuntimeError("gradients need a `backward_rows` before them")
        parts, self._gradients = self._gradients, None
        means, covariance, _ = parts[0]
        for more in parts[1:]:
            means += more[0]
            covariance += more[1]
        colors = parts[0][2] if len(parts) == 1 else np.concatenate([part[2] for part in parts], 1)
        return means, covariance, colors[:, : self.channels]

    def scratch(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """See `Drawing`."""
        return self._leases[0].rasterizer.buffer(name, shape, np.float32)


class TopkDrawing:
    """One picture of blend `topk`; the arguments are those of `TopkRasterizer.take`."""

    def __init__(
        self,
        means: np.ndarray,
        covariance: np.ndarray,
        colors: np.ndarray,
        size: tuple[int, int],
        rule: TopkRule,
        rows_kept: int | None = None,
    ) -> None:
        self.size, self.channels = size, colors.shape[1]
        self._lease = Lease(TopkRasterizer)
        self._gradients: Gradients | None = None
        self._lease.rasterizer.take(means, covariance, colors, size, **asdict(rule), rows_kept=rows_kept)

    def draw_rows(self, row0: int = 0, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """See `Drawing`."""
        return self._lease.rasterizer.draw_rows(row0, row1, out)

    def backward_rows(self, row0: int, grad: np.ndarray) -> None:
        """See `Drawing`; the rows must have been kept."""
        if self._gradients is None:
            self._gradients = self._lease.rasterizer.zero_gradients()
        self._lease.rasterizer.backward_rows(row0, grad, self._gradients)

    def gradients(self) -> Gradients:
        """See `Drawing`."""
        if self._gradients is None:
            raise RuntimeError("gradients need a `backward_rows` before them")
        gradients, self._gradients = self._gradients, None
        return gradients

    def scratch(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """See `Drawing`."""
        return self._lease.rasterizer.buffer(name, shape, np.float32)

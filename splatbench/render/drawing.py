"""`SumDrawing`: a picture of blend `sum` on the CPU with any number of channels, drawn and differentiated by rows."""

from __future__ import annotations

import numpy as np

from .cpu_tiles import Gradients
from .published import CompatRasterizer
from .threads import thread_count

_free: list[CompatRasterizer] = []  # workspaces that no picture is waiting for


class _Lease:
    """A workspace that goes back when nothing can ask for its gradients any more."""

    def __init__(self) -> None:
        self.rasterizer = _free.pop() if _free else CompatRasterizer()
        self.rasterizer.threads = thread_count()

    def __del__(self) -> None:
        _free.append(self.rasterizer)


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
    """One picture; a workspace for every three channels.

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
        self._leases = [_Lease() for _ in range(0, self.channels, 3)]
        self._gradients: list[Gradients] | None = None
        for i, lease in enumerate(self._leases):
            lease.rasterizer.take(means, covariance, _three_channels(colors, 3 * i), size, compat)

    def draw_rows(self, row0: int = 0, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Rows row0 .. row1 - 1, [row1 - row0, W, C] float32, written to `out` if given.

        row0, row1: multiples of 256, or the end of the picture (the default).
        """
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
        """Adds to the gradients what comes from rows row0 ...; grad [h, W, C] float32 is dL/dpicture of these rows.

        row0 and the end of the rows: as for `draw_rows`.
        """
        if self._gradients is None:
            self._gradients = [lease.rasterizer.zero_gradients() for lease in self._leases]
        for i, (lease, gradients) in enumerate(zip(self._leases, self._gradients, strict=True)):
            lease.rasterizer.backward_rows(row0, _three_channels(grad, 3 * i), gradients)

    def gradients(self) -> Gradients:
        """The sums since the last call: means [N, 2] float32, covariance [N, 3] float64, colours [N, C] float32."""
        if self._gradients is None:
            raise RuntimeError("gradients need a `backward_rows` before them")
        parts, self._gradients = self._gradients, None
        means, covariance, _ = parts[0]
        for more in parts[1:]:
            means += more[0]
            covariance += more[1]
        colors = parts[0][2] if len(parts) == 1 else np.concatenate([part[2] for part in parts], 1)
        return means, covariance, colors[:, : self.channels]

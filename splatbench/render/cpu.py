"""`SumRasterizer`: blend `sum` on the CPU, forward and backward, on numpy arrays."""

from __future__ import annotations

import numpy as np

from . import cpu_plan, cpu_sum
from .cpu_tiles import Gradients, TileRasterizer, plain, require
from .threads import run_shared


class SumRasterizer(TileRasterizer):
    """image[y, x] = sum over n of w_n(x, y) colour_n, w = exp(-1/2 d^T S^-1 d), where w >= 1/255; and its gradients.

    Three channels; float32 arithmetic from whitened coordinates that are formed in float64. Gaussians whose covariance
    is singular, or whose mean or covariance is NaN or infinite, are not seen and get zero gradients. A colour that is
    not finite makes the pixels around it not finite. The same input gives the same bits for any number of threads.
    Workspaces are kept between calls; one instance serves one picture at a time.

    Args:
        threads: at most this many (default: all that are allowed, see `thread_count`).
    """

    def forward(
        self,
        means: np.ndarray,
        shapes: np.ndarray,
        colors: np.ndarray,
        height: int,
        width: int,
        out: np.ndarray | None = None,
        centre: float = 0.5,
        clip: np.ndarray | None = None,
        form: str = "conic",
    ) -> np.ndarray:
        """Draws a picture.

        Args:
            means: [N, 2] float32, (x, y) in pixels.
            shapes: [N, 3] float64 or float32: inverse covariances (A, B, C) or covariances (Sxx, Sxy, Syy).
            colors: [N, 3] float32.
            out: [height, width, 3] float32, written and returned; made if None.
            centre: coordinate of the centre of pixel 0.
            clip: [N, 4] int32 (x0, x1, y0, y1), x1 and y1 exclusive: pixels that each Gaussian may touch. Columns must
                be multiples of 8 and rows of 2, or the border of the picture.
            form: "conic" or "covariance": what `shapes` holds.

        Returns:
            [height, width, 3] float32, not clamped.
        """
        self.begin(means, shapes, colors, height, width, centre, clip, form)
        return self.draw_rows(0, out=out)

    def draw_rows(self, row0: int, row1: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Rows row0 .. row1 - 1 of the picture (default: to its end).

        Args:
            row0, row1: multiples of 256, or the end of the picture.
            out: [row1 - row0, width, 3] float32, written and returned; made if None.
        """
        scene = self.scene
        row1 = scene.height if row1 is None else row1
        start, first = self.window(row0, row1)
        shape = row1 - row0, scene.width, 3
        out = np.empty(shape, np.float32) if out is None else out
        require("out", out, shape, np.float32)
        place = scene.records, scene.order, start, first, scene.centre
        run_shared(self.threads, len(start) - 1, cpu_sum.draw, *place, *self._scratch(), out)
        return out

    def _scratch(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pitch = -(-cpu_sum.WORK_FLOATS // 16) * 16
        return (
            self.buffer("work", (self.threads, pitch), np.float32),
            self.buffer("ints", (self.threads, cpu_sum.WORK_INTS), np.int32),
            self.buffer("doubles", (self.threads, cpu_sum.DOUBLES), np.float64),
        )

    def backward(self, grad: np.ndarray, out: Gradients | None = None) -> Gradients:
        """Gradients of the last `forward`.

        Args:
            grad: [height, width, 3] float32, dL/dimage.
            out: arrays to write to, shaped and typed like the result.

        Returns:
            (means [N, 2] float32, shapes [N, 3] in the type of the shapes, colours [N, 3] float32). The off-diagonal
            element of a shape is one parameter: its gradient is the true derivative.
        """
        if out is None:
            out = self.zero_gradients()
        else:
            self.require_gradients(out)
            for array in out:
                array.fill(0)
        self.backward_rows(0, grad, out)
        return out

    def backward_rows(self, row0: int, grad: np.ndarray, out: Gradients) -> None:
        """Adds to `out` the gradients that come from rows row0 ... of the picture of the last `begin` or `forward`.

        Args:
            row0: a multiple of 256.
            grad: [h, width, 3] float32, dL/dpicture of these rows; h a multiple of 256, or to the end of the picture.
            out: arrays like those of `zero_gradients`.
        """
        scene = self.scene
        start, first = self.window(row0, row0 + len(grad))
        if grad.shape[1:] != (scene.width, 3):
            raise ValueError(f"grad: expected shape {(len(grad), scene.width, 3)}, got {grad.shape}")
        self.require_gradients(out)
        room = -(-scene.width // 8) * ((len(grad) + 1) // 2 * cpu_plan.CELL + 16)
        cells = self.buffer("cells", (room,), np.float32)
        place = scene.records, scene.order, start, first, scene.centre, scene.conic
        board = 4 * self.threads + len(start)
        arrays = plain(grad, np.float32), cells, *self._scratch(), out
        run_shared(self.threads, board, cpu_sum.collect, *place, *arrays)

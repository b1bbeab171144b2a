"""`LayeredPicture`: what a decoder returns whose picture is more than one set of Gaussians."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class LayeredPicture(Protocol):
    """A picture that composes several drawings of Gaussians, levels of resolution for one, and draws itself.

    Everything that takes `Gaussians2D` to look at them takes one: `render`, `render_u8`, `iter_strips`, the metrics and
    the report. Its length is the number of Gaussians of all layers.
    """

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        ...

    def __len__(self) -> int: ...

    def render(self) -> Tensor:
        """[H, W, C] float32, not clamped."""
        ...

    def check_finite(self) -> None:
        """Raises ValueError naming what holds NaN or infinity."""
        ...

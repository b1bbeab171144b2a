"""Raw parameters, and the elementwise functions that make means and covariances of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Function = Literal["identity", "tanh", "sigmoid", "abs", "relu", "inverse"]
FUNCTIONS: tuple[Function, ...] = get_args(Function)


@dataclass(frozen=True)
class Activation:
    """y = offset + gain f(x + shift), with f(x) = x, tanh x, 1 / (1 + exp -x), |x|, max(x, 0) or 1 / x.

    A floor, max(x, c), is Activation("relu", shift=-c, offset=c).

    Raises:
        ValueError: another function.
    """

    function: Function = "identity"
    shift: float = 0.0
    gain: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"Activation: expected a function of {list(FUNCTIONS)}, got {self.function!r}")


@dataclass(frozen=True)
class Parametrisation:
    """What raw parameters mean.

    Attributes:
        means: of the two columns, to x and y in pixels.
        shape: of three values, to a Cholesky factor (l11, l21, l22) in pixels, or to two scales in pixels and an angle
            in radians, as `splatbench.render` defines them.
        kind: "cholesky", raw values [N, 3]; or "scales", raw values [N, 2], and [N] or [N, 1].
        double_offdiagonal_gradient: as in `splatbench.render.covariance_from_cholesky`.

    Raises:
        ValueError: another kind, or another number of activations.
    """

    means: tuple[Activation, Activation]
    shape: tuple[Activation, Activation, Activation]
    kind: Literal["cholesky", "scales"] = "cholesky"
    double_offdiagonal_gradient: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("cholesky", "scales"):
            raise ValueError(f'Parametrisation: expected kind "cholesky" or "scales", got {self.kind!r}')
        if len(self.means) != 2 or len(self.shape) != 3:
            raise ValueError(
                f"Parametrisation: expected 2 activations of means and 3 of shape, got {len(self.means)} and "
                f"{len(self.shape)}"
            )

    @property
    def activations(self) -> tuple[Activation, ...]:
        """All five, means first."""
        return (*self.means, *self.shape)

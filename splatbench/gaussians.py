"""Gaussians2D: the one type that crosses every border of the project.

Coordinates: x to the right, y down, in pixels; the pixel in row i and column j has its centre at
(j + 0.5, i + 0.5). Angles turn +x towards +y: covariance = R diag(s1^2, s2^2) R^T with
R = [[cos, -sin], [sin, cos]].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Blend = Literal["sum", "topk", "alpha"]

#: A pair of pixel and Gaussian contributes where its weight reaches this value (DESIGN: support).
MIN_WEIGHT = 1.0 / 255.0

#: Blend `topk`: how many Gaussians a pixel averages, what is added to the sum of their responses (both Image-GS), and
#: the response below which a Gaussian takes no part (ours; the published kernels end with the tiles of a square of 3
#: sigma, "tiles_3sigma"). Left out are at most TOP_K * TOPK_MIN_RESPONSE of responses, a tenth of TOPK_EPSILON.
TOP_K = 10
TOPK_EPSILON = 1e-4
TOPK_MIN_RESPONSE = 1e-6


@dataclass(frozen=True)
class TopkSettings:
    """What blend `topk` averages at a pixel; the defaults are those of Image-GS.

    Attributes:
        k: how many Gaussians, at least 1.
        epsilon: added to the sum of their responses, at least 1e-30.
        min_response: below it a Gaussian takes no part, in (0, 1].

    Raises:
        ValueError: a value out of range.
    """

    k: int = TOP_K
    epsilon: float = TOPK_EPSILON
    min_response: float = TOPK_MIN_RESPONSE

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"topk: k must be at least 1, got {self.k}")
        if not (1e-30 <= self.epsilon < float("inf")):
            raise ValueError(f"topk: epsilon must be finite and at least 1e-30, got {self.epsilon!r}")
        if not 0 < self.min_response <= 1:
            raise ValueError(f"topk: min_response must be in (0, 1], got {self.min_response!r}")


#: Published deviations from the exact support that a decoder must repeat to show the published picture.
#: "tiles_3sigma": a Gaussian is seen only by the 16x16 tiles that the square of half side
#:   ceil(3 sqrt(largest eigenvalue)) around its mean touches.
#: "tile_cap_256": of each 16x16 tile only the 256 Gaussians with the lowest indices contribute.
COMPAT_FLAGS = ("tiles_3sigma", "tile_cap_256")


@dataclass(frozen=True, eq=False)
class Gaussians2D:
    """An image as N 2D Gaussians (immutable).

    Attributes:
        means: [N, 2] float32, (x, y) in pixels.
        colors: [N, C] float32, any real value (for `sum` the colour carries the amplitude).
        size: (H, W) of the picture in pixels.
        scales, angles: [N, 2] standard deviations in pixels and [N] radians, or
        cholesky: [N, 3] lower factor (l11, l21, l22) in pixels; exactly one of the two forms.
        opacities: [N] in [0, 1], or None for 1.
        blend: how weights become a pixel (`sum`, `topk`, `alpha`).
        compat: subset of COMPAT_FLAGS; empty means the exact mathematics.
        topk: the numbers of blend `topk`; other blends do not look at them.
        gamma: what is shown is the blended picture, clamped to [0, 1], to the power 1 / gamma; with 1 it is the blended
            picture as it is, not clamped.
        background: what is behind blend `alpha`, in all channels.

    Raises:
        ValueError: shapes, types or fields that do not fit together.
    """

    means: Tensor
    colors: Tensor
    size: tuple[int, int]
    scales: Tensor | None = None
    angles: Tensor | None = None
    cholesky: Tensor | None = None
    opacities: Tensor | None = None
    blend: Blend = "sum"
    compat: frozenset[str] = frozenset()
    topk: TopkSettings = TopkSettings()
    gamma: float = 1.0
    background: float = 0.0

    def __post_init__(self) -> None:
        n = self.means.shape[0] if self.means.ndim == 2 else -1
        if (self.cholesky is None) == (self.scales is None) or (self.scales is None) != (self.angles is None):
            raise ValueError("give the covariance either as scales and angles, or as cholesky")
        expected: dict[str, tuple[int, ...]] = {
            "means": (n, 2),
            "scales": (n, 2),
            "angles": (n,),
            "cholesky": (n, 3),
            "opacities": (n,),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"Gaussians2D.{name}: expected shape {list(shape)}, got {list(value.shape)}")
        if self.colors.ndim != 2 or self.colors.shape[0] != n or self.colors.shape[1] < 1:
            raise ValueError(f"Gaussians2D.colors: expected shape [{n}, C >= 1], got {list(self.colors.shape)}")
        for name in (*expected, "colors"):
            value = getattr(self, name)
            if value is not None and value.dtype != torch.float32:
                raise ValueError(f"Gaussians2D.{name}: expected float32, got {value.dtype}")
        height, width = self.size
        if height < 1 or width < 1:
            raise ValueError(f"Gaussians2D.size: expected (H, W) of at least 1 x 1, got {self.size}")
        if self.blend not in get_args(Blend):
            raise ValueError(f"Gaussians2D.blend: expected one of {get_args(Blend)}, got {self.blend!r}")
        unknown = set(self.compat) - set(COMPAT_FLAGS)
        if unknown:
            raise ValueError(f"Gaussians2D.compat: unknown {sorted(unknown)}; known: {list(COMPAT_FLAGS)}")
        if not 0 < self.gamma < float("inf"):
            raise ValueError(f"Gaussians2D.gamma: expected a positive number, got {self.gamma!r}")
        if not math.isfinite(self.background) or (self.background and self.blend != "alpha"):
            raise ValueError(
                f"Gaussians2D.background: expected a finite number, 0 but for blend 'alpha'; got {self.background!r}"
            )
        object.__setattr__(self, "compat", frozenset(self.compat))
        object.__setattr__(self, "size", (int(height), int(width)))

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def device(self) -> torch.device:
        return self.means.device

    def tensors(self) -> dict[str, Tensor]:
        """The attributes that are present, by name."""
        names = ("means", "scales", "angles", "cholesky", "colors", "opacities")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def to(self, device: torch.device | str) -> Gaussians2D:
        """The same Gaussians on another device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self.tensors().items()}
        return replace(self, **moved)

    def detach(self) -> Gaussians2D:
        """The same Gaussians cut from the autograd graph."""
        cut: dict[str, Any] = {name: value.detach() for name, value in self.tensors().items()}
        return replace(self, **cut)

    def resized(self, size: tuple[int, int] | float) -> Gaussians2D:
        """The same picture at another size: the plane is stretched, its corners stay its corners.

        So with a ratio of r, means and scales are multiplied by r. Renderers that sample pixels at their upper left
        corners keep the centre of the first pixel in place instead, which moves the picture by (r - 1) / 2 pixels.

        Args:
            size: (H, W) in pixels, or the ratio of the new sides to the old (rounded to whole pixels, at least 1).

        Returns:
            Gaussians of the same form; with `cholesky` where the ratios of height and width differ, because a scaled
            axis is no axis then. Flags of `compat` count at the new size.

        Raises:
            ValueError: a size below 1 x 1, or a ratio that is not positive.
        """
        if not isinstance(size, tuple):
            if not 0 < size < float("inf"):
                raise ValueError(f"resized: expected a ratio above 0, got {size!r}")
            size = (max(1, round(size * self.size[0])), max(1, round(size * self.size[1])))
        y, x = size[0] / self.size[0], size[1] / self.size[1]
        changes: dict[str, Any] = {"size": size, "means": self.means * self.means.new_tensor([x, y])}
        if self.cholesky is not None:
            changes["cholesky"] = self.cholesky * self.cholesky.new_tensor([x, y, y])
        elif x == y:
            changes["scales"] = self.scales * x  # type: ignore[operator]
        else:
            stretch = torch.tensor([x, y], dtype=torch.float64, device=self.device)
            changes |= {"scales": None, "angles": None, "cholesky": self._factor(stretch)}
        return replace(self, **changes)

    def _factor(self, stretch: Tensor) -> Tensor:
        """[N, 3] float32 Cholesky factors of the covariances of scales and angles, axes x and y times `stretch` [2].

        From the axes themselves, not from their squares: thin Gaussians keep their width.
        """
        assert self.scales is not None and self.angles is not None
        cos, sin = torch.cos(self.angles.double()), torch.sin(self.angles.double())
        rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
        root = rotation * self.scales.double()[:, None] * stretch[:, None]  # S = root root^T = (QR)^T QR = R^T R
        upper = torch.linalg.qr(root.mT, mode="r").R
        return torch.stack([upper[:, 0, 0], upper[:, 0, 1], upper[:, 1, 1]], 1).float()

    def check_finite(self) -> None:
        """Raises ValueError naming the first attribute that holds NaN or infinity."""
        for name, value in self.tensors().items():
            bad = ~torch.isfinite(value)
            if bool(bad.any()):
                rows = bad.reshape(len(value), -1).any(1).nonzero()[:3, 0].tolist()
                raise ValueError(
                    f"Gaussians2D.{name}: {int(bad.sum())} values are NaN or infinite (Gaussians {rows} ...)"
                )

    def covariance(self) -> Tensor:
        """[N, 3] float64 (Sxx, Sxy, Syy) in square pixels.

        Float64 because conics of thin Gaussians cancel in float32.
        """
        if self.cholesky is not None:
            l11, l21, l22 = self.cholesky.double().unbind(1)
            return torch.stack([l11 * l11, l11 * l21, l21 * l21 + l22 * l22], 1)
        assert self.scales is not None and self.angles is not None
        v1, v2 = self.scales.double().square().unbind(1)
        cos, sin = torch.cos(self.angles.double()), torch.sin(self.angles.double())
        return torch.stack([cos * cos * v1 + sin * sin * v2, cos * sin * (v1 - v2), sin * sin * v1 + cos * cos * v2], 1)

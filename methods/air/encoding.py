"""What AIR makes of a picture: which patches have a Gaussian in each stage, and their values, or codes for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from splatbench.codec import spatial_order
from splatbench.gaussians import Gaussians2D

from .accounting import published_bits
from .channels import Ranges, dequantise
from .patches import RAW, PatchGrid, Values, means


@dataclass(frozen=True)
class Encoding:
    """What AIR makes of a picture.

    Attributes:
        size: (H, W) in pixels.
        patch: p in pixels.
        stretch: whether positions get the published W / (W - 1) stretch.
        compat: flags of `Gaussians2D`.
        masks: bool [S, L] on the CPU, the patches that got a Gaussian in each stage that ran.
        values: of N = masks.sum() Gaussians, float32 on the CPU: stage after stage, each row by row.
        codes: uint8 [N, 8], or None where nothing is quantised; `values` are then what they stand for.
        ranges: [8] each, with codes.

    Raises:
        ValueError: parts that do not fit together.
    """

    size: tuple[int, int]
    patch: int
    stretch: bool
    compat: frozenset[str]
    masks: Tensor
    values: Values
    codes: np.ndarray | None = None
    ranges: Ranges | None = None

    def __post_init__(self) -> None:
        if self.masks.ndim != 2 or self.masks.shape[1] != len(self.grid) or self.masks.dtype != torch.bool:
            raise ValueError(
                f"AIR: masks must be bool [stages, {len(self.grid)}], got {self.masks.dtype} {list(self.masks.shape)}"
            )
        n = int(self.masks.sum())
        expected = {"offsets": (n, 2), "scales": (n, 2), "angles": (n,), "colors": (n, 3)}
        for name, value in self.values._asdict().items():
            if tuple(value.shape) != expected[name]:
                raise ValueError(f"AIR: {name} must have shape {list(expected[name])}, got {list(value.shape)}")
        if (self.codes is None) != (self.ranges is None):
            raise ValueError("AIR: codes and ranges go together")
        if self.codes is not None and (self.codes.shape != (n, RAW) or self.codes.dtype != np.uint8):
            raise ValueError(f"AIR: codes must be uint8 [{n}, {RAW}], got {self.codes.dtype} {list(self.codes.shape)}")

    def __len__(self) -> int:
        return len(self.values.angles)

    @property
    def grid(self) -> PatchGrid:
        return PatchGrid(*self.size, self.patch)

    def quantised(self, codes: np.ndarray, ranges: Ranges) -> Encoding:
        """The same patches with what codes [N, 8] stand for."""
        return replace(self, values=dequantise(codes, ranges), codes=codes, ranges=ranges)

    def upto(self, stages: int) -> Encoding:
        """The Gaussians of the first stages."""
        masks = self.masks[:stages]
        first = slice(0, int(masks.sum()))
        codes = None if self.codes is None else self.codes[first]
        return replace(self, masks=masks, values=Values(*(value[first] for value in self.values)), codes=codes)

    def gaussians(self) -> Gaussians2D:
        """In the order of the file: neighbours together; under the cap of 256 per tile, where the order is part of the
        picture, stage after stage."""
        centres = self.grid.centres()[self.masks.nonzero()[:, 1]]
        at = means(self.values.offsets, centres, self.size, self.stretch)
        _, scales, angles, colors = self.values
        if "tile_cap_256" not in self.compat:
            order = torch.from_numpy(spatial_order(at.numpy()))
            at, scales, angles, colors = at[order], scales[order], angles[order], colors[order]
        return Gaussians2D(at, colors, self.size, scales=scales, angles=angles, compat=self.compat)

    def nominal_bits(self) -> int | None:
        """Bits as the released code counts them, which is only for codes; see `accounting`."""
        return None if self.codes is None else published_bits(self.codes, len(self.grid), len(self.masks))

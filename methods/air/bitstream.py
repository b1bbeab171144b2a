"""The .s2d content of AIR: final Gaussians in float32, or codes with the masks from which their patches follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from splatbench import codec
from splatbench.codec import (
    Attribute,
    BitstreamError,
    Header,
    S2DFile,
    gaussians_from_arrays,
    read,
    read_header,
    spatial_order,
)
from splatbench.gaussians import Gaussians2D

from .accounting import published_bits
from .patches import RAW, PatchGrid, Values, means
from .quantiser import Ranges, dequantise

METHOD = "air"
#: Stages that a file can hold: one bit each in the element of a patch.
MAX_STAGES = 8
#: Codes by attribute: columns of the eight channels.
_CODES = {
    "offsets": slice(0, 2),
    "scales": slice(2, 4),
    "angles": slice(4, 5),
    "luma": slice(5, 6),
    "chroma": slice(6, 8),
}
#: Largest magnitude of a step or a lowest value: sums stay far from what float32 cannot hold.
_LARGEST_RANGE = float(1 << 20)


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


def write(encoding: Encoding) -> bytes:
    """The file: codes if there are any, else float32 Gaussians bit for bit."""
    return write_plain(encoding) if encoding.codes is None else write_quantised(encoding)


def write_plain(encoding: Encoding) -> bytes:
    """Final Gaussians in float32. Positions in Morton order are smaller than offsets with masks."""
    gaussians = encoding.gaussians()
    attributes = [Attribute(name, value.numpy()) for name, value in gaussians.tensors().items()]
    return codec.write(METHOD, encoding.size, "sum", encoding.compat, attributes, {"variant": "plain"})


def write_quantised(encoding: Encoding) -> bytes:
    """Codes, ranges, and the masks once; the patches of the Gaussians, and so their centres, follow from the masks.

    Raises:
        ValueError: there are no codes, or more stages than a file holds.
    """
    if encoding.codes is None or encoding.ranges is None:
        raise ValueError("AIR: this encoding is not quantised; write_plain stores it")
    attributes = [
        Attribute("masks", _join(encoding.masks.numpy())),
        Attribute("ranges", torch.stack(list(encoding.ranges)).detach().cpu().numpy()),
        *(Attribute(name, np.ascontiguousarray(encoding.codes[:, part])) for name, part in _CODES.items()),
    ]
    meta = {
        "variant": "codes",
        "patch": encoding.patch,
        "stages": len(encoding.masks),
        "stretch": int(encoding.stretch),
    }
    return codec.write(METHOD, encoding.size, "sum", encoding.compat, attributes, meta)


def read_gaussians(data: bytes) -> Gaussians2D:
    """Gaussians of a file that `write` made.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    header = read_header(data)
    if header.blend != "sum":
        raise BitstreamError(f"AIR's Gaussians are blended by a sum, the file says {header.blend!r}")
    variant = header.meta.get("variant")
    if variant == "plain":
        file = read(data, method=METHOD)
        return gaussians_from_arrays(file, file.arrays)
    if variant == "codes":
        file, encoding = _read_codes(data, header)
        plain = {name: value.numpy() for name, value in encoding.gaussians().tensors().items()}
        return gaussians_from_arrays(file, plain)
    raise BitstreamError(f"unknown variant {variant!r} of {METHOD}")


def read_encoding(data: bytes) -> Encoding:
    """The encoding of a file of codes, with its stages.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    return _read_codes(data, read_header(data))[1]


def _read_codes(data: bytes, header: Header) -> tuple[S2DFile, Encoding]:
    patch, stages, stretch = (_whole(header, name) for name in ("patch", "stages", "stretch"))
    if not (1 <= patch <= max(header.size) and 0 <= stages <= MAX_STAGES and stretch in (0, 1)):
        raise BitstreamError(f"patches of {patch} pixels, {stages} stages, stretch {stretch}: out of range")
    grid = PatchGrid(*header.size, patch)
    _check_shapes(header, len(grid))
    file = read(data, method=METHOD)
    joined, (step, low) = file.arrays["masks"], file.arrays["ranges"]
    codes = np.concatenate([file.arrays[name] for name in _CODES], 1)
    if joined.size and int(joined.max()) >> stages:
        raise BitstreamError(f"the masks speak of more than {stages} stages")
    masks = _split(joined, stages)
    if int(masks.sum()) != len(codes):
        raise BitstreamError(f"the masks choose {int(masks.sum())} patches, there are codes of {len(codes)}")
    if not float(np.abs(file.arrays["ranges"]).max()) <= _LARGEST_RANGE:
        raise BitstreamError("the ranges are NaN, infinite or beyond 2^20")
    ranges = Ranges(torch.from_numpy(step), torch.from_numpy(low))
    values = dequantise(codes, ranges)
    at = torch.from_numpy(masks)
    return file, Encoding(header.size, patch, bool(stretch), header.compat, at, values, codes, ranges)


def _whole(header: Header, name: str) -> int:
    value = header.meta.get(name)
    if not isinstance(value, int):
        raise BitstreamError(f"meta value {name!r} is missing or not a whole number")
    return value


def _check_shapes(header: Header, patches: int) -> None:
    """Types and shapes that fit the picture and each other, before anything is decoded; or a BitstreamError."""
    entries = {entry.name: entry for entry in header.entries}
    n = next((entry.shape[0] for entry in header.entries if entry.name == "angles" and entry.shape), -1)
    expected = {"masks": ("uint8", (patches,)), "ranges": ("float32", (2, RAW))}
    expected |= {name: ("uint8", (n, part.stop - part.start)) for name, part in _CODES.items()}
    for name, (kind, shape) in expected.items():
        if name not in entries or (entries[name].dtype, entries[name].shape) != (np.dtype(kind), shape):
            raise BitstreamError(f"attribute {name!r} is missing or not {kind} {list(shape)}")


def _join(masks: np.ndarray) -> np.ndarray:
    """bool [S, L] to uint8 [L]: bit s says whether a patch has a Gaussian of stage s.

    One symbol per patch, so that the entropy coder sees what stages have in common: where, as is usual, a patch that is
    done stays done, S + 1 of the 2^S symbols occur.
    """
    if len(masks) > MAX_STAGES:
        raise ValueError(f"AIR: a file holds at most {MAX_STAGES} stages, got {len(masks)}")
    weights = (1 << np.arange(len(masks))).astype(np.uint8)
    return (masks * weights[:, None]).sum(0, dtype=np.uint8)


def _split(joined: np.ndarray, stages: int) -> np.ndarray:
    """Inverse of `_join`."""
    return (joined >> np.arange(stages, dtype=np.uint8)[:, None] & 1).astype(bool)

"""The .s2d content of AIR: final Gaussians in float32, or codes with the masks from which their patches follow.

Variant "plain" holds means, scales, angles and colours. Variant "codes" (meta values patch, stages, stretch) holds:

- masks: uint8 [L], patches row by row; bit s says whether the patch has a Gaussian of stage s;
- ranges: float32 [2, 8], step and lowest value of each channel;
- xy, scale, angle, luma, chroma: uint8 [n, C], columns dx dy, s1 s2, angle, Y, Cr Cb of the codes, stage after stage
  and each row by row; those of the first stage end in 0, those of all later stages in 1.

Values are code * step + lowest, positions those from the centre of the patch, colours Y Cr Cb (`channels`, `patches`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from splatbench import codec
from splatbench.codec import (
    Attribute,
    BitstreamError,
    Header,
    S2DFile,
    gaussians_from_arrays,
    read,
    read_header,
)
from splatbench.gaussians import COMPAT_FLAGS, Gaussians2D

from .channels import Ranges, dequantise
from .encoding import Encoding
from .patches import RAW, PatchGrid

METHOD = "air"
#: Stages that a file can hold: one bit each in the element of a patch.
MAX_STAGES = 8
_LARGEST_PATCH = 1 << 16
#: Columns of the codes by attribute. Those of the first stage, which describes the picture, and of the stages after it,
#: which describe what is left, are apart ("xy0", "xy1"): that makes files 2 to 4 % smaller.
_CODES = {"xy": slice(0, 2), "scale": slice(2, 4), "angle": slice(4, 5), "luma": slice(5, 6), "chroma": slice(6, 8)}
_FIRST, _LATER = "0", "1"
#: Largest magnitude of a step or a lowest value: sums stay far from what float32 cannot hold.
_LARGEST_RANGE = float(1 << 20)


def write(encoding: Encoding) -> bytes:
    """The file: codes if there are any, else float32 Gaussians bit for bit."""
    return write_plain(encoding) if encoding.codes is None else write_quantised(encoding)


def write_plain(encoding: Encoding) -> bytes:
    """Final Gaussians in float32. Positions in Morton order take 38 bits each, offsets 53 and the masks.

    Raises:
        ValueError: values that are NaN or infinite.
    """
    gaussians = encoding.gaussians()
    gaussians.check_finite()
    attributes = [Attribute(name, value.numpy()) for name, value in gaussians.tensors().items()]
    return codec.write(METHOD, encoding.size, "sum", encoding.compat, attributes, {"variant": "plain"})


def write_quantised(encoding: Encoding) -> bytes:
    """Codes, ranges, and the masks once; the patches of the Gaussians, and so their centres, follow from the masks.

    Raises:
        ValueError: there are no codes, or more stages than a file holds.
    """
    if encoding.codes is None or encoding.ranges is None:
        raise ValueError("AIR: this encoding is not quantised; write_plain stores it")
    first = int(encoding.masks[:1].sum())
    parts = {_FIRST: encoding.codes[:first], _LATER: encoding.codes[first:]}
    attributes = [
        Attribute("masks", _join(encoding.masks.numpy())),
        Attribute("ranges", torch.stack(list(encoding.ranges)).detach().cpu().numpy()),
        *(
            Attribute(name + part, codes[:, columns])
            for part, codes in parts.items()
            for name, columns in _CODES.items()
        ),
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
    header = _header(data)
    if header.meta.get("variant") == "plain":
        file = read(data)
        return gaussians_from_arrays(file, file.arrays)
    file, encoding = _read_codes(data, header)
    return gaussians_from_arrays(file, {n: value.numpy() for n, value in encoding.gaussians().tensors().items()})


def read_encoding(data: bytes) -> Encoding:
    """The encoding of a file of codes, with its stages.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    return _read_codes(data, _header(data))[1]


def _header(data: bytes) -> Header:
    header = read_header(data)
    if header.method != METHOD:
        raise BitstreamError(f"the file was made by method {header.method!r}, not by {METHOD!r}")
    if header.blend != "sum":
        raise BitstreamError(f"AIR's Gaussians are blended by a sum, the file says {header.blend!r}")
    if unknown := sorted(header.compat - set(COMPAT_FLAGS)):
        raise BitstreamError(f"unknown compat flags {unknown}; known: {', '.join(COMPAT_FLAGS)}")
    return header


def _read_codes(data: bytes, header: Header) -> tuple[S2DFile, Encoding]:
    """Nothing of the arrays' size is allocated before their shapes fit the picture."""
    if (variant := header.meta.get("variant")) != "codes":
        raise BitstreamError(f"a file of variant {variant!r} holds no codes of {METHOD}")
    patch, stages, stretch = (_whole(header, name) for name in ("patch", "stages", "stretch"))
    if not (1 <= patch <= _LARGEST_PATCH and 0 <= stages <= MAX_STAGES and stretch in (0, 1)):
        raise BitstreamError(f"patches of {patch} pixels, {stages} stages, stretch {stretch}: out of range")
    _check_shapes(header, len(PatchGrid(*header.size, patch)))
    file = read(data)
    joined, ranges = file.arrays["masks"], file.arrays["ranges"]
    if not float(np.abs(ranges).max()) <= _LARGEST_RANGE:
        raise BitstreamError("the ranges are NaN, infinite or beyond 2^20")
    if int(joined.max()) >> stages:
        raise BitstreamError(f"the masks speak of more than {stages} stages")
    masks = _split(joined, stages)
    first, later = (_join_columns(file.arrays, part) for part in (_FIRST, _LATER))
    chosen = int(masks[:1].sum()), int(masks[1:].sum())
    if chosen != (len(first), len(later)):
        raise BitstreamError(f"the masks choose {chosen} patches, there are codes of {len(first), len(later)}")
    codes = np.concatenate([first, later])
    ranges = Ranges(*torch.from_numpy(ranges))
    values = dequantise(codes, ranges)
    return file, Encoding(
        header.size, patch, bool(stretch), header.compat, torch.from_numpy(masks), values, codes, ranges
    )


def _whole(header: Header, name: str) -> int:
    value = header.meta.get(name)
    if not isinstance(value, int):
        raise BitstreamError(f"meta value {name!r} is missing or not a whole number")
    return value


def _check_shapes(header: Header, patches: int) -> None:
    """Raises BitstreamError unless types and shapes fit the picture and each other."""
    found = {entry.name: (entry.dtype, entry.shape) for entry in header.entries}
    expected: dict[str, tuple[str, tuple[int, ...]]] = {"masks": ("uint8", (patches,)), "ranges": ("float32", (2, RAW))}
    for part in (_FIRST, _LATER):
        _, shape = found.get("angle" + part, (None, ()))
        for name, columns in _CODES.items():
            expected[name + part] = "uint8", (shape[0] if shape else 0, columns.stop - columns.start)
    for name, (kind, wanted) in expected.items():
        if found.get(name) != (np.dtype(kind), wanted):
            raise BitstreamError(f"attribute {name!r} is missing or not {kind} {list(wanted)}")


def _join_columns(arrays: Mapping[str, np.ndarray], part: str) -> np.ndarray:
    """Codes [n, 8] of the first stage or of those after it."""
    return np.concatenate([arrays[name + part] for name in _CODES], 1)


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

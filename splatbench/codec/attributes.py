"""One named array in a file: which coder stores it, and how it comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splatbench.codec import morton, planes
from splatbench.codec.errors import BitstreamError
from splatbench.codec.symbols import (
    DTYPES,
    bit_width,
    from_unsigned,
    pack,
    packed_size,
    to_unsigned,
    unpack_into,
    unsigned_dtype,
)

RAW, PLANES, MORTON = 0, 1, 2  # codes in the file
MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class Attribute:
    """An array to be stored bit for bit.

    Attributes:
        name: at most 127 UTF-8 bytes, unique in a file; short names of `primitives.WORDS` cost one byte.
        values: any shape of up to 8 axes, of an element type in `symbols.DTYPES`. With two or more axes the last one
            (up to 64 long) holds channels, which get models of their own where that pays.
        coder: `auto` takes the smallest; `raw` fixed-length codes; `entropy` never fixed-length codes for the whole.

    Raises:
        ValueError: an element type, shape or coder that the format does not have.
    """

    name: str
    values: np.ndarray
    coder: Literal["auto", "raw", "entropy"] = "auto"

    def __post_init__(self) -> None:
        if self.values.dtype not in DTYPES:
            names = ", ".join(d.name for d in DTYPES)
            raise ValueError(f"attribute {self.name!r}: type {self.values.dtype} cannot be stored; use one of {names}")
        if self.values.ndim > MAX_DIMENSIONS:
            raise ValueError(f"attribute {self.name!r}: at most {MAX_DIMENSIONS} axes, got {self.values.ndim}")
        if self.coder not in ("auto", "raw", "entropy"):
            raise ValueError(f"attribute {self.name!r}: coder must be auto, raw or entropy, got {self.coder!r}")


def encode(attribute: Attribute) -> tuple[int, bytes]:
    """(coder, payload): the smallest of the coders that the attribute allows; nothing at all for an empty array."""
    values = attribute.values.astype(attribute.values.dtype.newbyteorder("<"), order="C", copy=False)
    if values.size == 0:
        return RAW, b""
    candidates: list[tuple[int, bytes]] = []
    unsigned = to_unsigned(values).reshape(-1)
    if attribute.coder != "entropy":
        bits = bit_width(unsigned, values.dtype)
        candidates.append((RAW, bytes([bits]) + pack(unsigned, bits)))
    if attribute.coder != "raw":
        columns = planes.columns_of(values.shape)
        candidates.append((PLANES, planes.encode(unsigned.reshape(-1, columns), values.dtype, columns)))
        if morton.applies(values) and (coded := morton.encode(values)) is not None:
            candidates.append((MORTON, coded))
    return min(candidates, key=lambda candidate: len(candidate[1]))


def decode(coder: int, data: memoryview, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a payload.

    Raises:
        BitstreamError: the payload is not one of such an array.
    """
    count = math.prod(shape)
    if count == 0:
        if len(data) or coder != RAW:
            raise BitstreamError("an empty array has data")
        return np.zeros(shape, dtype)
    if coder == MORTON:
        out = np.empty(shape, dtype)
        if not morton.applies(out):
            raise BitstreamError(f"positions cannot have shape {shape} and type {dtype}")
        return morton.decode(data, dtype, count // 2)
    if coder == PLANES:
        columns = planes.columns_of(shape)
        unsigned = planes.decode(data, dtype, count // columns, columns)
    else:
        unsigned = _decode_raw(data, dtype, count)
    return from_unsigned(unsigned, dtype).reshape(shape)


def _decode_raw(data: memoryview, dtype: np.dtype, count: int) -> np.ndarray:
    bits = data[0] if len(data) else 0
    if not 1 <= bits <= 8 * dtype.itemsize or len(data) - 1 != packed_size(count, bits):
        raise BitstreamError(f"{count} values of {bits} bits and type {dtype} do not fill {len(data) - 1} bytes")
    unsigned = np.zeros(count, unsigned_dtype(dtype))
    unpack_into(unsigned, data[1:], bits)
    return unsigned

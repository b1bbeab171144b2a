"""Arrays as unsigned integers, and unsigned integers as bits: lossless, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from splatbench.codec.errors import BitstreamError

#: Element types by their code in the file. Part of format version 1.
DTYPES = tuple(np.dtype(name) for name in ("u1", "<u2", "<u4", "i1", "<i2", "<i4", "<f2", "<f4"))

#: Values handled at a time; a multiple of 8, so that fixed-length codes of a block end on a byte.
BLOCK = 1 << 16


def unsigned_dtype(dtype: np.dtype) -> np.dtype:
    """The unsigned integer type of the same size."""
    return np.dtype(f"<u{dtype.itemsize}")


def to_unsigned(values: np.ndarray) -> np.ndarray:
    """Any array of DTYPES as unsigned integers of the same size: signed integers zigzag, floats by their bits."""
    raw = np.ascontiguousarray(values)
    if values.dtype.kind != "i":
        return raw.view(unsigned_dtype(values.dtype))
    sign = raw >> (8 * raw.itemsize - 1)
    return ((raw << 1) ^ sign).view(unsigned_dtype(values.dtype))


def from_unsigned(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Inverse of `to_unsigned`."""
    if dtype.kind != "i":
        return values.view(dtype)
    return (values >> 1).view(dtype) ^ -((values & 1).view(dtype))


def bit_width(values: np.ndarray, dtype: np.dtype) -> int:
    """Bits that every value of an unsigned array fits, at least 1; floats always take their full width."""
    if dtype.kind == "f":
        return 8 * dtype.itemsize
    return max(1, int(values.max(initial=0)).bit_length())


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    for begin in range(0, count, size):
        yield slice(begin, min(count, begin + size))


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` fixed-length codes."""
    return (count * bits + 7) // 8


def pack(values: np.ndarray, bits: int) -> bytes:
    """Unsigned values [n] as codes of `bits` bits each, most significant bit first, zero bits at the end."""
    parts = []
    for block in blocks(len(values)):
        part = values[block].astype(np.uint32)
        matrix = np.empty((len(part), bits), np.uint8)
        for j in range(bits):
            matrix[:, j] = part >> np.uint32(bits - 1 - j) & np.uint32(1)
        parts.append(np.packbits(matrix.reshape(-1)).tobytes())
    return b"".join(parts)


def unpack_into(out: np.ndarray, data: memoryview, bits: int, shift: int = 0) -> None:
    """Ors the codes of `pack`, shifted left, into the unsigned vector `out` [n].

    Raises:
        BitstreamError: too few bytes, or bits set behind the last code.
    """
    if len(data) != packed_size(len(out), bits):
        raise BitstreamError(f"{len(out)} codes of {bits} bits do not fill {len(data)} bytes")
    raw = np.frombuffer(data, np.uint8)
    for block in blocks(len(out)):
        count = block.stop - block.start
        begin = block.start * bits // 8
        matrix = np.unpackbits(raw[begin : begin + packed_size(count, bits)])
        if matrix[count * bits :].any():
            raise BitstreamError("bits are set behind the last fixed-length code")
        value = np.zeros(count, np.uint32)
        for j in range(bits):
            value = value << np.uint32(1) | matrix[j : count * bits : bits]
        out[block] |= (value << np.uint32(shift)).astype(out.dtype)

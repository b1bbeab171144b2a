"""Positions in Morton order: the freedom of order, turned into bytes.

A sum does not care for the order of its Gaussians, so log2(N!) bits of an ordered list say nothing. Sorted along a
Morton (Z-order) curve of the stored bit patterns, N positions are coded as differences of neighbouring keys; their
size is an entropy-coded class, the rest plain bits. 28 000 float16 positions take about 14.5 instead of 32 bits each.
"""

from __future__ import annotations

import numpy as np

from splatbench.codec.entropy import SMOOTHINGS, Decoder, Encoder, adaptive_bits
from splatbench.codec.errors import BitstreamError
from splatbench.codec.primitives import Cursor, varint

#: Classes of 64-bit differences: 2 per power of two.
_CLASS_BITS = 7
_SPREAD = ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333),
           (1, 0x5555555555555555))  # fmt: skip


def applies(values: np.ndarray) -> bool:
    """Whether an array is made of positions: [N >= 1, 2] of 16 or 32 bits per coordinate."""
    return values.ndim == 2 and values.shape[1] == 2 and len(values) > 0 and values.dtype.itemsize in (2, 4)


def spatial_order(positions: np.ndarray) -> np.ndarray:
    """Permutation int64 [N] that sorts positions along the Morton curve; equal positions keep their order.

    Args:
        positions: [N, 2] (x, y) exactly as they will be stored (float16, float32 or integers of 16 or 32 bits): the
            curve runs over their bit patterns, so the order of values before a rounding is a different one.

    Raises:
        ValueError: not such an array.
    """
    positions = np.asarray(positions)
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.itemsize not in (2, 4):
        raise ValueError(f"positions: expected [N, 2] of 16 or 32 bits, got {positions.shape} {positions.dtype}")
    return np.argsort(_keys(positions), kind="stable")


def encode(values: np.ndarray) -> bytes | None:
    """Payload of positions in Morton order, or None if they are in another order."""
    keys = _keys(values)
    if (keys[1:] < keys[:-1]).any():
        return None
    deltas = np.diff(keys, prepend=np.uint64(0))
    length = _bit_length(deltas)
    rest = np.maximum(length - 2, 0)
    # 0, 1, then two classes per power of two: the bit below the leading one.
    second = (deltas >> rest.astype(np.uint64)).astype(np.int64) & 1
    classes = np.where(length < 2, length, 2 * (length - 1) + second)
    smoothing = min(range(len(SMOOTHINGS)), key=lambda i: adaptive_bits(classes, _CLASS_BITS, SMOOTHINGS[i]))
    coder = Encoder()
    coder.encode(classes, _CLASS_BITS, SMOOTHINGS[smoothing])
    coded = coder.finish()
    return bytes([smoothing]) + varint(len(coded)) + coded + _pack_variable(deltas, rest)


def decode(data: memoryview, dtype: np.dtype, count: int) -> np.ndarray:
    """Positions [count, 2] of a payload of `encode`.

    Raises:
        BitstreamError: the payload does not describe so many positions.
    """
    cursor = Cursor(data)
    code = cursor.byte()
    if code >= len(SMOOTHINGS):
        raise BitstreamError(f"unknown stream mode {code:#x}")
    decoder = Decoder(cursor.take(cursor.varint()))
    bits = _BitReader(cursor.take(cursor.left))
    out = np.empty((count, 2), dtype)
    width = 8 * dtype.itemsize
    last = np.uint64(0)
    for begin, classes in decoder.decode(count, _CLASS_BITS, SMOOTHINGS[code]):
        rest = np.maximum((classes >> 1) - 1, 0)
        top = np.where(classes < 2, classes, 2 + (classes & 1)).astype(np.uint64)
        deltas = top << rest.astype(np.uint64) | bits.take(rest)
        deltas[:1] += last  # a slice wraps around silently; the next lines refuse it
        keys = np.cumsum(deltas)
        wrapped = keys[0] < last or (keys[1:] < keys[:-1]).any()
        if wrapped or (width < 32 and int(keys[-1]) >> (2 * width)):
            raise BitstreamError("positions leave the range of their type")
        last = keys[-1]
        for axis in range(2):
            ordered = _gather(keys >> np.uint64(axis)).astype(f"<u{dtype.itemsize}")
            out[begin : begin + len(keys), axis] = _from_ordered(ordered, dtype)
    decoder.finish()
    bits.finish()
    return out


def _keys(positions: np.ndarray) -> np.ndarray:
    """Morton keys uint64 [N]: bit 2i of a key is bit i of x, bit 2i + 1 is bit i of y, both made order-preserving."""
    x, y = (_spread(_to_ordered(np.ascontiguousarray(positions[:, axis]))) for axis in range(2))
    return x | y << np.uint64(1)


def _to_ordered(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the values: floats with the sign turned, signed integers with an offset."""
    if values.dtype.kind == "u":
        return values
    raw = values.view(f"<u{values.dtype.itemsize}")
    top = raw.dtype.type(1 << (8 * raw.itemsize - 1))
    if values.dtype.kind == "i":
        return raw ^ top
    return np.where(raw & top, ~raw, raw | top)


def _from_ordered(ordered: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "u":
        return ordered
    top = ordered.dtype.type(1 << (8 * ordered.itemsize - 1))
    if dtype.kind == "i":
        return (ordered ^ top).view(dtype)
    return np.where(ordered & top, ordered ^ top, ~ordered).view(dtype)


def _spread(values: np.ndarray) -> np.ndarray:
    """Bit i to bit 2i."""
    out = values.astype(np.uint64)
    for shift, mask in _SPREAD:
        out = (out | out << np.uint64(shift)) & np.uint64(mask)
    return out


def _gather(keys: np.ndarray) -> np.ndarray:
    """Inverse of `_spread`, ignoring the odd bits."""
    out = keys & np.uint64(0x5555555555555555)
    for i, (shift, _) in enumerate(reversed(_SPREAD)):
        mask = _SPREAD[-2 - i][1] if i + 1 < len(_SPREAD) else 0x00000000FFFFFFFF
        out = (out | out >> np.uint64(shift)) & np.uint64(mask)
    return out


def _bit_length(values: np.ndarray) -> np.ndarray:
    """int64 [N]: position of the leading one, counted from 1; 0 for 0."""
    length, left = np.zeros(len(values), np.int64), values.copy()
    for shift in (32, 16, 8, 4, 2, 1):
        high = left >> np.uint64(shift) != 0
        length[high] += shift
        left[high] >>= np.uint64(shift)
    return length + (left != 0)


def _pack_variable(values: np.ndarray, lengths: np.ndarray) -> bytes:
    """The lowest lengths[i] bits of each value, most significant first, one after the other."""
    ends = np.cumsum(lengths)
    bits = np.zeros(int(ends[-1]), np.uint8)
    for j in range(int(lengths.max(initial=0))):  # bit j counted from the least significant
        has = lengths > j
        bits[ends[has] - 1 - j] = values[has] >> np.uint64(j) & np.uint64(1)
    return np.packbits(bits).tobytes()


class _BitReader:
    """Reads what `_pack_variable` wrote, some values at a time."""

    def __init__(self, data: memoryview) -> None:
        self._bytes = np.frombuffer(data, np.uint8)
        self._position = 0

    def take(self, lengths: np.ndarray) -> np.ndarray:
        """uint64 values of the given lengths in bits."""
        ends = np.cumsum(lengths, dtype=np.int64)
        begin, self._position = self._position, self._position + int(ends[-1])
        if self._position > 8 * len(self._bytes):
            raise BitstreamError("the plain bits of the positions end early")
        first = begin // 8
        bits = np.unpackbits(self._bytes[first : (self._position + 7) // 8])
        starts = ends - lengths + (begin - 8 * first)
        values = np.zeros(len(lengths), np.uint64)
        for j in range(int(lengths.max(initial=0))):
            has = lengths > j
            values[has] = values[has] << np.uint64(1) | bits[starts[has] + j]
        return values

    def finish(self) -> None:
        unused = 8 * len(self._bytes) - self._position
        if unused >= 8 or (unused and self._bytes[-1] & (1 << unused) - 1):
            raise BitstreamError("plain bits are left behind the last position")

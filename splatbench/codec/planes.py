"""Bit planes of an attribute, each coded raw, as a constant, or by adaptive entropy coding: whichever is smallest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splatbench.codec.entropy import MAX_BITS, SMOOTHINGS, Decoder, Encoder, adaptive_bits
from splatbench.codec.errors import BitstreamError
from splatbench.codec.primitives import Cursor, varint
from splatbench.codec.symbols import bit_width, pack, packed_size, unpack_into, unsigned_dtype

RAW, CONSTANT, ADAPTIVE = 0, 1, 2  # ADAPTIVE + i: smoothing SMOOTHINGS[i]
_POOLED = 0x80
#: A wider last axis is not made of channels; its columns share their models.
_MAX_COLUMNS = 64


def columns_of(shape: tuple[int, ...]) -> int:
    """Number of channels: the last of two or more axes if it is at most 64 long, else 1."""
    return shape[-1] if len(shape) >= 2 and 1 <= shape[-1] <= _MAX_COLUMNS else 1


def plane_bits(bits: int) -> list[int]:
    """Widths of the planes of `bits`-bit values, lowest plane first: one up to 12 bits, else bytes."""
    if bits <= MAX_BITS:
        return [bits]
    return [min(8, bits - low) for low in range(0, bits, 8)]


@dataclass(frozen=True)
class _Stream:
    """A stream with the mode that codes it in the fewest bits."""

    symbols: np.ndarray
    width: int
    mode: int
    cost: float  # bits


def _choose(symbols: np.ndarray, width: int) -> _Stream:
    if symbols.min() == symbols.max():
        return _Stream(symbols, width, CONSTANT, 8.0 * len(varint(int(symbols[0]))))
    best = _Stream(symbols, width, RAW, 8.0 * packed_size(len(symbols), width))
    for i, smoothing in enumerate(SMOOTHINGS):
        cost = adaptive_bits(symbols, width, smoothing)
        if cost < best.cost:
            best = _Stream(symbols, width, ADAPTIVE + i, cost)
    return best


def encode(values: np.ndarray, dtype: np.dtype, columns: int) -> bytes:
    """Payload of unsigned values [n, columns], n >= 1, that stand for elements of `dtype`."""
    bits = bit_width(values, dtype)
    header, raw, coder, low = bytearray([bits]), bytearray(), Encoder(), 0
    for width in plane_bits(bits):
        plane = (values >> low & ((1 << width) - 1)).astype(np.int32)
        low += width
        streams = [_choose(plane.reshape(-1), width)]
        pooled = _POOLED
        if columns > 1:
            apart = [_choose(plane[:, j], width) for j in range(columns)]
            if sum(s.cost for s in apart) + 8 * (columns - 1) < streams[0].cost:
                streams, pooled = apart, 0
        for stream in streams:
            header.append(stream.mode | pooled)
            if stream.mode == CONSTANT:
                header += varint(int(stream.symbols[0]))
            elif stream.mode == RAW:
                raw += pack(stream.symbols, width)
            else:
                coder.encode(stream.symbols, width, SMOOTHINGS[stream.mode - ADAPTIVE])
    return bytes(header + raw) + coder.finish()


def decode(data: memoryview, dtype: np.dtype, count: int, columns: int) -> np.ndarray:
    """Unsigned values [count * columns] of a payload of `encode`.

    Raises:
        BitstreamError: the payload does not describe so many values.
    """
    cursor = Cursor(data)
    bits = cursor.byte()
    if not 1 <= bits <= 8 * dtype.itemsize:
        raise BitstreamError(f"{bits} bits per value cannot be of type {dtype}")
    # (mode, constant value, plane width, shift, column or None for all)
    table: list[tuple[int, int, int, int, int | None]] = []
    low = 0
    for width in plane_bits(bits):
        for j in range(columns):
            code = cursor.byte()
            mode, pooled = code & ~_POOLED, bool(code & _POOLED)
            if mode >= ADAPTIVE + len(SMOOTHINGS) or (pooled and j > 0):
                raise BitstreamError(f"unknown stream mode {code:#x}")
            constant = cursor.varint() if mode == CONSTANT else 0
            if constant >> width:
                raise BitstreamError(f"constant {constant} does not fit {width} bits")
            table.append((mode, constant, width, low, None if pooled else j))
            if pooled:
                break
        low += width
    out = np.zeros((count, columns), unsigned_dtype(dtype))
    for mode, _, width, shift, column in table:
        if mode == RAW:
            target = out.reshape(-1) if column is None else out[:, column]
            unpack_into(target, cursor.take(packed_size(len(target), width)), width, shift)
    decoder = Decoder(cursor.take(cursor.left))
    for mode, constant, width, shift, column in table:
        target = out.reshape(-1) if column is None else out[:, column]
        if mode == CONSTANT:
            target |= out.dtype.type(constant << shift)
        elif mode != RAW:
            for begin, symbols in decoder.decode(len(target), width, SMOOTHINGS[mode - ADAPTIVE]):
                target[begin : begin + len(symbols)] |= (symbols << shift).astype(out.dtype)
    decoder.finish()
    return out.reshape(-1)

"""Varints, strings and a bounds-checked cursor: the atoms of the .s2d header."""

from __future__ import annotations

from splatbench.codec.errors import BitstreamError

#: Strings that cost one byte in a header. Part of format version 1: never reorder, append only (at most 128).
WORDS = (
    "", "sum", "topk", "alpha", "tiles_3sigma", "tile_cap_256",
    "means", "colors", "scales", "angles", "cholesky", "opacities",
    "xyz", "covariance", "step", "beta", "codebooks", "indices", "pixels",
    "variant", "rs", "cholesky-q", "rs-q", "bits", "seed", "filter",
)  # fmt: skip
_WORD_CODE = {word: 0x80 + i for i, word in enumerate(WORDS)}
_MAX_LITERAL = 0x7F


def varint(value: int) -> bytes:
    """Unsigned LEB128: 7 bits per byte, least significant first, high bit set on all but the last byte.

    Raises:
        ValueError: negative, or 2^64 and more.
    """
    if not 0 <= value < 1 << 64:
        raise ValueError(f"a varint holds 0 to 2^64 - 1, got {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """Signed to unsigned: 0, -1, 1, -2 ... become 0, 1, 2, 3 ..."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    return value >> 1 if value & 1 == 0 else -((value + 1) >> 1)


def string(text: str) -> bytes:
    """One byte for a string of WORDS, else its length in UTF-8 bytes (at most 127) and the bytes.

    Raises:
        ValueError: longer than 127 bytes.
    """
    if text in _WORD_CODE:
        return bytes([_WORD_CODE[text]])
    raw = text.encode()
    if len(raw) > _MAX_LITERAL:
        raise ValueError(
            f"strings in a .s2d header hold at most {_MAX_LITERAL} bytes, got {len(raw)}: {text[:40]!r} ..."
        )
    return bytes([len(raw)]) + raw


class Cursor:
    """Reads forward through bytes; whatever is not there is a BitstreamError."""

    def __init__(self, data: bytes | memoryview, position: int = 0) -> None:
        self._data = memoryview(data)
        self.position = position

    @property
    def left(self) -> int:
        return len(self._data) - self.position

    def take(self, count: int) -> memoryview:
        if count > self.left:
            raise BitstreamError(f"the data end early: {count} bytes wanted at byte {self.position}, {self.left} left")
        self.position += count
        return self._data[self.position - count : self.position]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value
        raise BitstreamError(f"a number before byte {self.position} does not fit 64 bits")

    def string(self) -> str:
        code = self.byte()
        if code > _MAX_LITERAL:
            if code - 0x80 >= len(WORDS):
                raise BitstreamError(f"unknown word code {code:#x} before byte {self.position}")
            return WORDS[code - 0x80]
        try:
            return str(self.take(code), "utf-8")
        except UnicodeDecodeError:
            raise BitstreamError(f"a string before byte {self.position} is not UTF-8") from None

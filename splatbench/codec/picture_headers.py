"""What a picture's file says of itself before anything is decoded: its format, and the size of WebP and JPEG XL."""

from __future__ import annotations

from typing import Literal

from splatbench.codec.errors import BitstreamError

PictureFormat = Literal["PNG", "JPEG", "WebP", "AVIF", "JPEG XL"]

#: Offset and value of the first bytes of each format. JPEG XL without its container, which nobody here writes.
_MAGIC: dict[PictureFormat, tuple[int, bytes]] = {
    "PNG": (0, b"\x89PNG\r\n\x1a\n"),
    "JPEG": (0, b"\xff\xd8\xff"),
    "WebP": (8, b"WEBP"),
    "AVIF": (4, b"ftypavif"),
    "JPEG XL": (0, b"\xff\x0a"),
}


def picture_format(data: bytes) -> PictureFormat:
    """The format by its first bytes.

    Raises:
        BitstreamError: none of the formats.
    """
    for format, (at, magic) in _MAGIC.items():
        if data[at : at + len(magic)] == magic:
            return format
    raise BitstreamError(f"not a picture of a known format ({', '.join(_MAGIC)})")


def webp_size(data: bytes) -> tuple[int, int]:
    """(H, W) of a still WebP file without alpha channel: one VP8 or VP8L chunk (RFC 9649, sections 2.5 and 2.6).

    Raises:
        BitstreamError: cut off, or another kind of WebP file.
    """
    chunk = data[12:16]
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return height, width
    if chunk == b"VP8L" and data[20:21] == b"\x2f" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        if bits >> 28 & 1:
            raise BitstreamError("expected an RGB picture, got WebP with an alpha channel")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    raise BitstreamError("not a still WebP picture of one chunk")


#: JPEG XL, width by height, where the header gives the height and one of these (ISO/IEC 18181-1, SizeHeader).
_JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def jxl_size(data: bytes) -> tuple[int, int]:
    """(H, W) of a bare JPEG XL codestream with 8 bits per sample, one frame and no extra channel (ISO/IEC 18181-1,
    SizeHeader and ImageMetadata).

    Raises:
        BitstreamError: cut off, or another kind of JPEG XL picture.
    """
    bits = _Bits(data[2:24])  # enough for the longest header that is read here
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else _jxl_side(bits)
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = _JXL_RATIOS[ratio - 1]
        width = height * numerator // denominator
    else:
        width = 8 * (bits.take(5) + 1) if small else _jxl_side(bits)
    if not bits.take(1):  # not all metadata at their defaults
        # Orientation, preview, animation; float samples; 8 bits are choice 0.
        if bits.take(1) or bits.take(1) or bits.take(2):
            raise BitstreamError("expected a still JPEG XL picture with 8 bits per sample")
        bits.take(1)  # whether 16-bit buffers suffice
        if bits.take(2):
            raise BitstreamError("expected an RGB picture, got JPEG XL with extra channels")
    return height, width


def _jxl_side(bits: _Bits) -> int:
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


class _Bits:
    """Reads unsigned numbers, least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise BitstreamError("the picture's header is cut off")
        number = self._value & ((1 << count) - 1)
        self._value, self._left = self._value >> count, self._left - count
        return number

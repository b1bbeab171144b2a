"""The .s2d file: one picture as named arrays behind a compact binary header. The layout is in docs/s2d.md."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from splatbench.codec import attributes as coding
from splatbench.codec.attributes import Attribute
from splatbench.codec.errors import BitstreamError
from splatbench.codec.primitives import Cursor, string, unzigzag, varint, zigzag
from splatbench.codec.symbols import DTYPES

MAGIC = b"S2D"
VERSION = 1
CHECKSUM_BYTES = 8
MAX_ENTRIES = 64  # attributes, meta values, compat flags: each

#: A file may declare at most this many decoded bytes: FREE_BYTES + EXPANSION * its length. Writers pad with zeros.
FREE_BYTES, EXPANSION = 1 << 20, 1 << 10
#: A reader's working memory besides the decoded arrays and the file: blocks of at most 65536 symbols.
WORKING_BYTES = 32 << 20

Meta = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Limits:
    """What a reader accepts at most.

    Attributes:
        rows: length of the longest axis of any array (Gaussians).
        pixels: H * W of the picture.
        decoded_bytes: all arrays together.
    """

    rows: int = 1 << 26
    pixels: int = 1 << 31
    decoded_bytes: int = 4 << 30


@dataclass(frozen=True)
class Entry:
    """A line of the attribute table; `offset` and `length` of the payload in the file, in bytes."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    coder: int
    offset: int
    length: int

    @property
    def decoded_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Header:
    """Everything of a file but its arrays."""

    method: str
    size: tuple[int, int]
    blend: str
    compat: frozenset[str]
    meta: dict[str, int | float | str]
    entries: tuple[Entry, ...]
    file_bytes: int

    @property
    def decoded_bytes(self) -> int:
        return sum(entry.decoded_bytes for entry in self.entries)

    @property
    def bound_bytes(self) -> int:
        """Bytes of memory that `read` allocates at most, known before any payload is touched."""
        # Each array exists at most three times at once: symbols, their signed or float view, the result.
        largest = max((entry.decoded_bytes for entry in self.entries), default=0)
        return self.decoded_bytes + 2 * largest + 2 * self.file_bytes + WORKING_BYTES


@dataclass(frozen=True)
class S2DFile:
    """A decoded file.

    Attributes:
        method: folder name of the method that made it.
        size: (H, W) of the picture in pixels.
        blend, compat: as in Gaussians2D; `blend` is "" for pictures that are not made of Gaussians.
        meta: small values that the method needs to decode.
        arrays: the attributes by name, bit for bit as written.
    """

    method: str
    size: tuple[int, int]
    blend: str
    compat: frozenset[str]
    meta: dict[str, int | float | str]
    arrays: dict[str, np.ndarray]


# -- writing ----------------------------------------------------------------------------------------------------------
def write(
    method: str,
    size: tuple[int, int],
    blend: str,
    compat: Iterable[str],
    attributes: Sequence[Attribute],
    meta: Meta | None = None,
) -> bytes:
    """The bytes of a .s2d file; equal arguments give equal bytes.

    Args:
        method: folder name of the method, by which `decode` finds it.
        size: (H, W), each at least 1.
        blend: `sum`, `topk`, `alpha`, or "" where there are no Gaussians.
        compat: names of compat flags.
        attributes: at most 64 arrays with names of their own.
        meta: at most 64 ints (64 bits), finite floats, or strings of up to 127 bytes.

    Raises:
        ValueError: something that the format cannot hold, or that readers would refuse (`Limits`).
    """
    flags, meta = sorted(set(compat)), dict(meta or {})
    names = [attribute.name for attribute in attributes]
    if len(set(names)) != len(names) or max(len(names), len(meta), len(flags)) > MAX_ENTRIES:
        raise ValueError(f"at most {MAX_ENTRIES} attributes, meta values and flags, with different names; got {names}")
    _check_size((int(size[0]), int(size[1])), Limits())
    # Most attributes have one row per Gaussian: that number is written once.
    lengths = [a.values.shape[0] for a in attributes if a.values.ndim]
    rows = max(lengths, key=lambda n: (lengths.count(n), n), default=0)
    head = bytearray(MAGIC + bytes([VERSION]) + string(method) + varint(size[0]) + varint(size[1]) + string(blend))
    head += varint(len(flags)) + b"".join(map(string, flags)) + varint(len(meta))
    for key, value in meta.items():
        head += string(key) + _meta_value(key, value)
    head += varint(rows) + varint(len(attributes))
    payloads = []
    for attribute in attributes:
        coder, payload = coding.encode(attribute)
        values = attribute.values
        head += string(attribute.name) + bytes([DTYPES.index(values.dtype) | coder << 4, values.ndim])
        head += b"".join(varint(0 if n == rows else n + 1) for n in values.shape) + varint(len(payload))
        payloads.append(payload)
    body = bytes(head) + b"".join(payloads)
    decoded = sum(a.values.nbytes for a in attributes)
    shortest = -(-(decoded - FREE_BYTES) // EXPANSION) - CHECKSUM_BYTES
    body = body.ljust(shortest, b"\0") if shortest > 0 else body
    data = body + _checksum(body)
    _parse(data, Limits())  # what we write, we can read
    return data


def _meta_value(key: str, value: int | float | str) -> bytes:
    if isinstance(value, bool | int | np.integer):
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"meta {key!r}: {value} does not fit 64 bits")
        return b"\0" + varint(zigzag(int(value)))
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            raise ValueError(f"meta {key!r}: {value} is not finite")
        return b"\1" + struct.pack("<d", value)
    return b"\2" + string(value)


def _checksum(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM_BYTES).digest()


# -- reading ----------------------------------------------------------------------------------------------------------
def peek_method(data: bytes) -> str:
    """The method's name, from the first bytes of a file (which may be cut off behind it).

    Raises:
        BitstreamError: not a .s2d file, or of a later version.
    """
    return _start(data).string()


def read_header(data: bytes, limits: Limits | None = None) -> Header:
    """Parses and checks everything but the payloads; allocates nothing of their size.

    Raises:
        BitstreamError: damaged, cut off, beyond the limits, or more declared than such a file can carry.
    """
    return _parse(data, limits or Limits())


def read(data: bytes, limits: Limits | None = None, method: str | None = None) -> S2DFile:
    """Decodes a file within `Header.bound_bytes` of memory.

    Args:
        method: the method whose files are expected; None takes any.

    Raises:
        BitstreamError: damaged, cut off, beyond the limits, of another format or of another method.
    """
    header = read_header(data, limits)
    if method is not None and header.method != method:
        raise BitstreamError(f"the file was made by method {header.method!r}, not by {method!r}")
    view, arrays = memoryview(data), {}
    for entry in header.entries:
        payload = view[entry.offset : entry.offset + entry.length]
        try:
            arrays[entry.name] = coding.decode(entry.coder, payload, entry.dtype, entry.shape)
        except BitstreamError as error:
            raise BitstreamError(f"attribute {entry.name!r}: {error}") from error
    return S2DFile(header.method, header.size, header.blend, header.compat, header.meta, arrays)


def _start(data: bytes) -> Cursor:
    cursor = Cursor(data)
    if bytes(data[:3]) != MAGIC:
        raise BitstreamError("not a .s2d file: it does not begin with 'S2D'")
    cursor.position = 3
    if (version := cursor.byte()) != VERSION:
        raise BitstreamError(f".s2d version {version} is not known to this release, which reads version {VERSION}")
    return cursor


def _parse(data: bytes, limits: Limits) -> Header:
    cursor = _start(data)
    body = memoryview(data)[:-CHECKSUM_BYTES]
    if _checksum(body) != bytes(data[-CHECKSUM_BYTES:]):
        raise BitstreamError("the checksum does not fit: the file is damaged or cut off")
    cursor = Cursor(body, cursor.position)
    method = cursor.string()
    size = (cursor.varint(), cursor.varint())
    _check_size(size, limits)
    blend = cursor.string()
    compat = frozenset(cursor.string() for _ in range(_count(cursor, "compat flags")))
    meta: dict[str, int | float | str] = {}
    for _ in range(_count(cursor, "meta values")):
        key = cursor.string()
        meta[key] = _read_meta(cursor)
    rows = cursor.varint()
    table = [_read_entry(cursor, rows) for _ in range(_count(cursor, "attributes"))]
    entries, offset = [], cursor.position
    for name, dtype, shape, coder, length in table:
        entries.append(Entry(name, dtype, shape, coder, offset, length))
        offset += length
    header = Header(method, size, blend, compat, meta, tuple(entries), len(data))
    if len({entry.name for entry in entries}) != len(entries):
        raise BitstreamError("two attributes have the same name")
    if offset > len(body) or any(body[offset:]):
        raise BitstreamError(f"the payloads end at byte {offset}, the file at byte {len(body)}")
    _check_declared(header, limits)
    return header


def _count(cursor: Cursor, what: str) -> int:
    if (count := cursor.varint()) > MAX_ENTRIES:
        raise BitstreamError(f"{count} {what} are more than {MAX_ENTRIES}")
    return count


def _read_meta(cursor: Cursor) -> int | float | str:
    match cursor.byte():
        case 0:
            return unzigzag(cursor.varint())
        case 1:
            (value,) = struct.unpack("<d", cursor.take(8))
            if math.isfinite(value):
                return float(value)
            raise BitstreamError("a meta value is not finite")
        case 2:
            return cursor.string()
        case kind:
            raise BitstreamError(f"unknown kind {kind} of meta value")


def _read_entry(cursor: Cursor, rows: int) -> tuple[str, np.dtype, tuple[int, ...], int, int]:
    name, kind, ndim = cursor.string(), cursor.byte(), cursor.byte()
    if kind & 15 >= len(DTYPES) or kind >> 4 > coding.MORTON or ndim > coding.MAX_DIMENSIONS:
        raise BitstreamError(f"attribute {name!r}: unknown type, coder or number of axes ({kind:#x}, {ndim})")
    shape = tuple(rows if (n := cursor.varint()) == 0 else n - 1 for _ in range(ndim))
    return name, DTYPES[kind & 15], shape, kind >> 4, cursor.varint()


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    if min(size) < 1 or size[0] * size[1] > limits.pixels:
        raise BitstreamError(f"a picture of {size[1]}x{size[0]} pixels is outside 1 to {limits.pixels} pixels")


def _check_declared(header: Header, limits: Limits) -> None:
    longest = max((n for entry in header.entries for n in entry.shape), default=0)
    if longest > limits.rows:
        raise BitstreamError(f"an array of length {longest} is beyond the limit of {limits.rows}")
    decoded = header.decoded_bytes
    if decoded > limits.decoded_bytes:
        raise BitstreamError(f"{decoded} decoded bytes are beyond the limit of {limits.decoded_bytes}")
    if decoded > FREE_BYTES + EXPANSION * header.file_bytes:
        raise BitstreamError(f"{decoded} decoded bytes cannot come from a file of {header.file_bytes} bytes")

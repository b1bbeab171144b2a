"""Arrays of a .npz file, read without trusting a word of it."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from splatbench.exchange.errors import ExchangeError, twice
from splatbench.exchange.limits import Declared

MAX_MEMBERS = 16
#: A file may unpack to FREE_BYTES + EXPANSION * its length. Packing makes Gaussians ten times smaller at most.
FREE_BYTES, EXPANSION = 16 << 20, 64
#: The text before an array's numbers: type and shape take some hundred characters.
MAX_HEADER = 10_000
#: A table of contents is read in one go. That of MAX_MEMBERS arrays has some thousand bytes, and zipfile looks for its
#: place in the last 2^16.
MAX_DIRECTORY = 1 << 17
#: Arrays are unpacked in such pieces, into their own memory.
_PIECE = 1 << 20


class _Front(io.BytesIO):
    """A file whose table of contents is refused if it is long: zipfile makes an object of each of its lines."""

    opened = False

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        if not self.opened and len(found) > MAX_DIRECTORY:
            raise ExchangeError(f"its table of contents takes {len(found)} bytes; that is no file of Gaussians")
        return found


@dataclass(frozen=True)
class _Header:
    """Of a .npy file; `begin`: bytes before its numbers."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    begin: int

    @property
    def length(self) -> int:
        return self.begin + math.prod(self.shape) * self.dtype.itemsize


def read_npz(data: bytes, check: Callable[[Mapping[str, Declared]], None]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name.

    Args:
        check: called with the type and shape of each before any is unpacked; raises for what is not wanted.

    Raises:
        ExchangeError: damaged, not such a file, too large, or holding anything but plain arrays.
    """
    try:
        stream = _Front(data)
        with zipfile.ZipFile(stream) as archive:
            stream.opened = True
            members = archive.infolist()
            _check(members, len(data))
            headers = {member.filename: _peek(archive, member) for member in members}
            check(
                {_name(member): (headers[member.filename].dtype, headers[member.filename].shape) for member in members}
            )
            return {_name(member): _unpack(archive, member, headers[member.filename]) for member in members}
    except ExchangeError:
        raise
    except Exception as error:  # zipfile, zlib and numpy's parser of headers raise a dozen kinds for damaged bytes
        raise ExchangeError(f"not a readable .npz file: {error or type(error).__name__}") from error


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _check(members: list[zipfile.ZipInfo], length: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise ExchangeError(f"the file has {len(members)} members; at most {MAX_MEMBERS} are read")
    if doubled := twice(member.filename for member in members):
        raise ExchangeError(f"the file holds {doubled!r} twice")
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ExchangeError(f"the file holds {member.filename!r}, which is not an array (.npy)")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ExchangeError(f"{member.filename!r} is packed in a way that numpy does not write")
    unpacked = sum(member.file_size for member in members)
    if unpacked > FREE_BYTES + EXPANSION * length:
        raise ExchangeError(f"{length} bytes would unpack to {unpacked}; that is no file of Gaussians")


def _peek(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    with archive.open(member) as file:
        return _header(member.filename, file.read(2 * MAX_HEADER), member.file_size)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: _Header) -> np.ndarray:
    """With as many bytes as the header says, which the caller has found acceptable."""
    content = np.empty(header.length - header.begin, np.uint8)
    with archive.open(member) as file:
        file.read(header.begin)
        for begin in range(0, len(content), _PIECE):
            piece = content[begin : begin + _PIECE]
            piece[:] = np.frombuffer(file.read(len(piece)), np.uint8)  # fewer bytes do not fit
    return _view(content, header)


def parse_npy(name: str, data: bytes) -> np.ndarray:
    """The array of a .npy file; nothing is allocated that the file does not hold.

    Args:
        name: of the file, for messages.

    Raises:
        ExchangeError: damaged, of another type than numbers and text, or not of the length that its header says.
    """
    try:
        header = _header(name, data[: 2 * MAX_HEADER], len(data))
        return _view(np.frombuffer(data, np.uint8, offset=header.begin), header)
    except ExchangeError:
        raise
    except Exception as error:  # numpy's parser of headers raises a dozen kinds
        raise ExchangeError(f"{name!r} is not a readable .npy file: {error}") from error


def _header(name: str, data: bytes, length: int) -> _Header:
    """From the beginning of a .npy file, whose header says exactly as many bytes as follow."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=MAX_HEADER)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream, max_header_size=MAX_HEADER)
    else:
        raise ExchangeError(f"{name!r} is a .npy file of version {version}; 1.0 and 2.0 are read")
    if dtype.kind not in "fiubUS":
        raise ExchangeError(f"{name!r} has elements of type {dtype}; only numbers are read, and text for the facts")
    header = _Header(dtype, shape, fortran, stream.tell())
    if min(shape, default=0) < 0 or header.length != length:
        raise ExchangeError(f"{name!r} says {dtype} {list(shape)}, but {length - header.begin} bytes follow")
    return header


def _view(content: np.ndarray, header: _Header) -> np.ndarray:
    return content.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")

"""Arrays of a .npz file, read without trusting a word of it."""

from __future__ import annotations

import io
import math
import zipfile

import numpy as np

from splatbench.exchange.errors import ExchangeError

MAX_MEMBERS = 16
#: A file may unpack to FREE_BYTES + EXPANSION * its length. Packing makes Gaussians ten times smaller at most.
FREE_BYTES, EXPANSION = 16 << 20, 64
#: The text before an array's numbers: type and shape take some hundred characters.
MAX_HEADER = 10_000


def read_npz(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name. Nothing is allocated beyond what the file's length allows.

    Raises:
        ExchangeError: damaged, not such a file, too large, or holding anything but plain arrays.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check(members, len(data))
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    # With a number of bytes, no more than these are unpacked, whatever the file says elsewhere.
                    arrays[member.filename.removesuffix(".npy")] = _array(member.filename, file.read(member.file_size))
            return arrays
    except ExchangeError:
        raise
    except Exception as error:  # zipfile, zlib and numpy's parser of headers raise a dozen kinds for damaged bytes
        raise ExchangeError(f"not a readable .npz file: {error or type(error).__name__}") from error


def _check(members: list[zipfile.ZipInfo], length: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise ExchangeError(f"the file has {len(members)} members; at most {MAX_MEMBERS} are read")
    names = [member.filename for member in members]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ExchangeError(f"the file holds {twice!r} twice")
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ExchangeError(f"the file holds {member.filename!r}, which is not an array (.npy)")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ExchangeError(f"{member.filename!r} is packed in a way that numpy does not write")
    unpacked = sum(member.file_size for member in members)
    if unpacked > FREE_BYTES + EXPANSION * length:
        raise ExchangeError(f"{length} bytes would unpack to {unpacked}; that is no file of Gaussians")


def parse_npy(name: str, data: bytes) -> np.ndarray:
    """The array of a .npy file; nothing is allocated that the file does not hold.

    Args:
        name: of the file, for messages.

    Raises:
        ExchangeError: damaged, of another type than numbers and text, or not of the length that its header says.
    """
    try:
        return _array(name, data)
    except ExchangeError:
        raise
    except Exception as error:  # numpy's parser of headers raises a dozen kinds
        raise ExchangeError(f"{name!r} is not a readable .npy file: {error}") from error


def _array(name: str, data: bytes) -> np.ndarray:
    """The array of a .npy file whose header says exactly as many bytes as follow."""
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
    begin = stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - begin:
        raise ExchangeError(f"{name!r} says {dtype} {list(shape)}, but {len(data) - begin} bytes follow")
    return np.frombuffer(data, dtype, offset=begin).reshape(shape, order="F" if fortran else "C")

"""Files of named arrays: what is in them, before anybody asks what it means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatbench.exchange.archive import read_npz
from splatbench.exchange.errors import ExchangeError
from splatbench.exchange.facts import Facts, parse
from splatbench.exchange.tensors import read_safetensors

SUFFIXES = (".npz", ".safetensors")
#: Length of a file that is read: 2^26 Gaussians of nine 32-bit numbers.
MAX_BYTES = 9 * 4 << 26
#: Name of the text array (.npz) or of the metadata entry (.safetensors) that holds the facts as JSON.
FACTS = "facts"
#: Arrays that a file may hold; docs/import.md says what each one is.
ARRAYS = ("means", "colors", "opacities", "scales", "angles", "cholesky", "covariance", "conic")


@dataclass(frozen=True)
class NamedArrays:
    """The content of a file: arrays of numbers by name (of `ARRAYS`), and what the file says about them."""

    arrays: dict[str, np.ndarray]
    facts: Facts


def read_arrays(path: Path | str) -> NamedArrays:
    """Reads a .npz or .safetensors file.

    Raises:
        ExchangeError: naming the file; longer than MAX_BYTES, or see `parse_arrays`.
        OSError: it cannot be opened.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ExchangeError("this is not a file")
        if path.exists() and (length := path.stat().st_size) > MAX_BYTES:
            raise ExchangeError(f"{length} bytes are more than the {MAX_BYTES} that are read")
        return parse_arrays(path.read_bytes(), path.suffix)
    except ExchangeError as error:
        raise ExchangeError(f"{path}: {error}") from error


def parse_arrays(data: bytes, suffix: str) -> NamedArrays:
    """The content of a file of named arrays.

    Types are real or whole numbers of up to 64 bits; shapes are as in the file.

    Args:
        suffix: of the file's name, one of `SUFFIXES`.

    Raises:
        ExchangeError: damaged, unpacking to too much, of another format, holding anything but the arrays that are
            known, or not stating its facts.
    """
    if suffix not in SUFFIXES:
        raise ExchangeError(f"the name must end in {' or '.join(SUFFIXES)}")
    if suffix == ".npz":
        arrays = read_npz(data)
        text = _text(arrays.pop(FACTS, None))
    else:
        arrays, metadata = read_safetensors(data)
        text = metadata.get(FACTS)
    if text is None:
        raise ExchangeError(f"the file does not say what its numbers mean: {FACTS!r} is missing (docs/import.md)")
    for name, values in arrays.items():
        if name not in ARRAYS:
            raise ExchangeError(f"unknown array {name!r} (known: {', '.join(ARRAYS)})")
        if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:
            raise ExchangeError(f"the array {name!r} holds {values.dtype}; expected numbers of up to 64 bits")
    return NamedArrays(arrays, parse(text))


def _text(values: np.ndarray | None) -> str | None:
    """The one string of a text array."""
    if values is None:
        return None
    if values.dtype.kind not in "US" or values.size != 1:
        raise ExchangeError(f"{FACTS!r} must be one JSON string, not {values.dtype} {list(values.shape)}")
    try:
        item = values.reshape(-1)[0]
        return item.decode() if isinstance(item, bytes) else str(item)
    except ValueError as error:
        raise ExchangeError(f"{FACTS!r} is not text: {error}") from None

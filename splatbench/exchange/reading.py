"""Files of named arrays: what is in them, before anybody asks what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatbench.exchange.archive import read_npz
from splatbench.exchange.errors import ExchangeError
from splatbench.exchange.facts import MAX_CHARACTERS, Facts, parse
from splatbench.exchange.limits import MAX_BYTES, Declared, check_declared
from splatbench.exchange.tensors import read_safetensors

SUFFIXES = (".npz", ".safetensors")
#: Name of the text array (.npz) or of the metadata entry (.safetensors) that holds the facts as JSON.
FACTS = "facts"


@dataclass(frozen=True)
class NamedArrays:
    """The content of a file: arrays of numbers by name (of `ARRAYS`), and what the file says about them."""

    arrays: dict[str, np.ndarray]
    facts: Facts


def read_arrays(path: Path | str, allowed: int | None = None) -> NamedArrays:
    """Reads a .npz or .safetensors file.

    Args:
        allowed: number of Gaussians that a budget allows.

    Raises:
        ExchangeError: naming the file; see `parse_arrays`.
        OSError: it cannot be opened.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ExchangeError("this is not a file")
        if path.exists():
            _check_length(path.stat().st_size)
        return parse_arrays(path.read_bytes(), path.suffix, allowed)
    except ExchangeError as error:
        raise ExchangeError(f"{path}: {error}") from error


def parse_arrays(data: bytes, suffix: str, allowed: int | None = None) -> NamedArrays:
    """The content of a file of named arrays. Types and shapes are as in the file, and looked at before anything is
    unpacked: no more memory is taken than the arrays have.

    Args:
        suffix: of the file's name, one of `SUFFIXES`.
        allowed: number of Gaussians that a budget allows.

    Raises:
        ExchangeError: longer than MAX_BYTES, damaged, unpacking to too much, of another format, holding anything but
            the arrays that are known with one row per Gaussian, or not stating its facts.
    """
    if suffix not in SUFFIXES:
        raise ExchangeError(f"the name must end in {' or '.join(SUFFIXES)}")
    _check_length(len(data))
    if suffix == ".npz":

        def check(declared: Mapping[str, Declared]) -> None:
            _check_text(declared.get(FACTS))
            check_declared({name: value for name, value in declared.items() if name != FACTS}, allowed)

        arrays = read_npz(data, check)
        return NamedArrays(arrays, parse(_text(arrays.pop(FACTS))))
    arrays, metadata = read_safetensors(data, lambda declared: check_declared(declared, allowed))
    if FACTS not in metadata:
        raise _no_facts()
    return NamedArrays(arrays, parse(metadata[FACTS]))


def _check_length(length: int) -> None:
    if length > MAX_BYTES:
        raise ExchangeError(f"{length} bytes are more than the {MAX_BYTES} that are read")


def _no_facts() -> ExchangeError:
    return ExchangeError(f"the file does not say what its numbers mean: {FACTS!r} is missing (docs/import.md)")


def _check_text(declared: Declared | None) -> None:
    """Raises ExchangeError unless an array is one string that is not too long."""
    if declared is None:
        raise _no_facts()
    dtype, shape = declared
    if dtype.kind not in "US" or any(side != 1 for side in shape):
        raise ExchangeError(f"{FACTS!r} must be one JSON string, not {dtype} {list(shape)}")
    if dtype.itemsize > 4 * MAX_CHARACTERS:  # of UTF-32; those that UTF-8 has more of are counted later
        raise ExchangeError(f"the facts take {dtype.itemsize} bytes; at most {MAX_CHARACTERS} characters are read")


def _text(values: np.ndarray) -> str:
    """The one string of a text array."""
    try:
        item = values.reshape(-1)[0]
        return item.decode() if isinstance(item, bytes) else str(item)
    except ValueError as error:
        raise ExchangeError(f"{FACTS!r} is not text: {error}") from None

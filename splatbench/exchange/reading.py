"""Files of named arrays: what is in them, before anybody asks what it means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatbench.exchange.archive import read_npz
from splatbench.exchange.errors import ExchangeError
from splatbench.exchange.facts import MAX_CHARACTERS, Facts, parse

SUFFIXES = (".npz", ".safetensors")
#: Length of a file that is read: 2^26 Gaussians of nine 32-bit numbers.
MAX_BYTES = 9 * 4 << 26
#: Name of the text array (.npz) or of the metadata entry (.safetensors) that holds the facts as JSON.
FACTS = "facts"
#: Arrays that a file may hold; docs/import.md says what each one is.
ARRAYS = ("means", "colors", "opacities", "scales", "angles", "cholesky", "covariance", "conic")
_TYPES = {"F16", "F32", "F64", "U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64"}


@dataclass(frozen=True)
class NamedArrays:
    """The content of a file: arrays of numbers by name (of `ARRAYS`), and what the file says about them."""

    arrays: dict[str, np.ndarray]
    facts: Facts


def read_arrays(path: Path | str) -> NamedArrays:
    """Reads a .npz or .safetensors file.

    Types are real or whole numbers of up to 64 bits; shapes are as in the file.

    Raises:
        ExchangeError: naming the file; it is damaged, too large, of another format, holds anything but the arrays that
            are known, or does not state its facts.
        OSError: it cannot be opened.
    """
    path = Path(path)
    try:
        return _read(path)
    except ExchangeError as error:
        raise ExchangeError(f"{path}: {error}") from error


def _read(path: Path) -> NamedArrays:
    if path.suffix not in SUFFIXES:
        raise ExchangeError(f"the name must end in {' or '.join(SUFFIXES)}")
    if not path.is_file():
        if path.exists():
            raise ExchangeError("this is not a file")
        raise FileNotFoundError(2, "No such file or directory", str(path))
    if (length := path.stat().st_size) > MAX_BYTES:
        raise ExchangeError(f"{length} bytes are more than the {MAX_BYTES} that are read")
    if path.suffix == ".npz":
        arrays = read_npz(path.read_bytes())
        text = _text(arrays.pop(FACTS, None))
    else:
        arrays, text = _read_safetensors(path)
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
    if values.dtype.kind not in "US" or values.size != 1 or values.nbytes > 4 * MAX_CHARACTERS:
        raise ExchangeError(f"{FACTS!r} must be one JSON string, not {values.dtype} {list(values.shape)}")
    try:
        item = values.reshape(-1)[0]
        return item.decode() if isinstance(item, bytes) else str(item)
    except ValueError as error:
        raise ExchangeError(f"{FACTS!r} is not text: {error}") from None


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
    from safetensors import SafetensorError, safe_open

    try:
        _check_names(path)
        with safe_open(path, framework="np") as file:
            arrays = {}
            for name in file.keys():  # noqa: SIM118  (not a mapping)
                if (kind := file.get_slice(name).get_dtype()) not in _TYPES:
                    raise ExchangeError(f"the array {name!r} holds {kind}; expected one of {', '.join(sorted(_TYPES))}")
                arrays[name] = file.get_tensor(name)
            return arrays, (file.metadata() or {}).get(FACTS)
    except SafetensorError as error:
        raise ExchangeError(f"not a readable .safetensors file: {error}") from error


def _check_names(path: Path) -> None:
    """Raises ExchangeError for names that are there twice: the library keeps one of them silently."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ExchangeError(f"the file names {next(n for n in names if names.count(n) > 1)!r} twice")
        return dict(pairs)

    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, 2 * MAX_CHARACTERS + 1))
    if length > 2 * MAX_CHARACTERS:
        raise ExchangeError(f"its header has {length} bytes; at most {2 * MAX_CHARACTERS} are read")
    try:
        json.loads(header, object_pairs_hook=once)
    except ExchangeError:
        raise
    except (ValueError, RecursionError) as error:
        raise ExchangeError(f"not a readable .safetensors file: {error}") from None

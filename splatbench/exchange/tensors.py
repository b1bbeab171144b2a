"""Arrays of a .safetensors file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from splatbench.exchange.errors import ExchangeError, twice
from splatbench.exchange.limits import Declared

#: Bytes of the header: names, types and shapes of some arrays, and the facts.
MAX_HEADER = 1 << 18
TYPES = {
    "F16": "f2",
    "F32": "f4",
    "F64": "f8",
    "U8": "u1",
    "U16": "u2",
    "U32": "u4",
    "U64": "u8",
    "I8": "i1",
    "I16": "i2",
    "I32": "i4",
    "I64": "i8",
}


def read_safetensors(
    data: bytes, check: Callable[[Mapping[str, Declared]], None]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a .safetensors file by name, and its metadata. Arrays together are no larger than the file.

    Args:
        check: called with the type and shape of each before any is read; raises for what is not wanted.

    Raises:
        ExchangeError: damaged, not such a file, a name given twice, or elements that numpy has no type for.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    header = _header(data)
    metadata = header.pop("__metadata__", {})
    check({name: _declared(name, entry) for name, entry in header.items()})
    try:
        return load(data), metadata
    except (SafetensorError, ValueError) as error:
        raise ExchangeError(f"not a readable .safetensors file: {error}") from error


def _declared(name: str, entry: dict[str, Any]) -> Declared:
    kind, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(kind, str) or kind not in TYPES:
        raise ExchangeError(f"the array {name!r} holds {kind}; expected one of {', '.join(TYPES)}")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise ExchangeError(f"not a readable .safetensors file: the shape of {name!r} is {shape}")
    return np.dtype(TYPES[kind]), tuple(shape)


def _header(data: bytes) -> dict[str, dict[str, Any]]:
    """Looked at here, since the library keeps one of two arrays of the same name and says nothing."""
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise ExchangeError(f"not a .safetensors file: its header would have {length} bytes, at most {MAX_HEADER}")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_once)
    except ExchangeError:
        raise
    except (ValueError, RecursionError) as error:
        raise ExchangeError(f"not a readable .safetensors file: {error}") from None
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise ExchangeError("not a readable .safetensors file: its header is no table of arrays")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if doubled := twice(name for name, _ in pairs):
        raise ExchangeError(f"the file names {doubled!r} twice")
    return dict(pairs)

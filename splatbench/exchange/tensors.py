"""Arrays of a .safetensors file."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from splatbench.exchange.errors import ExchangeError

#: Bytes of the header: names, types and shapes of some arrays, and the facts.
MAX_HEADER = 1 << 18
TYPES = ("F16", "F32", "F64", "U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64")


def read_safetensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a .safetensors file by name, and its metadata. Arrays together are no larger than the file.

    Raises:
        ExchangeError: damaged, not such a file, a name given twice, or elements that numpy has no type for.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    header = _header(data)
    for name, entry in header.items():
        if name != "__metadata__" and (kind := entry.get("dtype")) not in TYPES:
            raise ExchangeError(f"the array {name!r} holds {kind}; expected one of {', '.join(TYPES)}")
    try:
        return load(data), header.get("__metadata__") or {}
    except (SafetensorError, ValueError) as error:
        raise ExchangeError(f"not a readable .safetensors file: {error}") from error


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
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ExchangeError(f"the file names {twice!r} twice")
    return dict(pairs)

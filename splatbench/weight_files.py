"""Weights of methods that learn: which file it is, and what tells it from others."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from splatbench.files import sha256_file
from splatbench.method import WeightsMissing
from splatbench.metrics.weights import folders

_MEBIBYTE = 1 << 20
#: Files up to this size are hashed as a whole.
_WHOLE = 64 * _MEBIBYTE


def find_weights(name: str, shipped: Path, hint: str = "") -> Path:
    """The file: an absolute path, or one below the folder of what comes with the method, below the folders of
    SPLATBENCH_WEIGHTS, or below the current folder.

    Args:
        hint: how to get it, for the message.

    Raises:
        WeightsMissing: in none of them; names the places.
    """
    path = Path(name).expanduser()
    places = [path] if path.is_absolute() else [shipped / path, *(folder / path for folder in folders()), path]
    for place in places:
        if place.is_file():
            return place
    raise WeightsMissing(
        f"weights {path} not found; looked for {', '.join(map(str, places))}" + (f"; {hint}" if hint else "")
    )


def fingerprint(path: Path) -> str:
    """16 digits that tell files of weights apart: SHA-256 of the content; of more than 64 MiB, of the length and of the
    first and last MiB, which in a checkpoint hold the checksums of all tensors."""
    return _fingerprint(path, path.stat().st_mtime_ns)


@functools.cache
def _fingerprint(path: Path, modified: int) -> str:
    size = path.stat().st_size
    if size <= _WHOLE:
        return sha256_file(path)[:16]
    with open(path, "rb") as file:
        first = file.read(_MEBIBYTE)
        file.seek(size - _MEBIBYTE)
        return hashlib.sha256(b"%d:" % size + first + file.read()).hexdigest()[:16]

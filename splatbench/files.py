"""Files that appear whole or not at all, and JSON that knows its own content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: The key that `sealed` adds.
DIGEST = "digest"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Damaged(ValueError):
    """Content that is not what was written; the text says how that shows."""


def write_atomic(path: Path | str, data: bytes | Iterable[bytes]) -> None:
    """Writes aside, flushes to disk, renames. On failure (full disk, read-only folder) nothing is left behind.

    After a power cut the file is the old one or the new one, never a part: the content is on the disk before the name
    is, and the name before this returns.

    Args:
        data: the content, whole or in parts that need not be in memory together.

    Raises:
        OSError: naming the path; on a full disk also what is free.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _flush_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {_explained(error, path.parent)}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Puts a rename on the disk. Only POSIX systems open folders, and not every network file system flushes them."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _explained(error: OSError, folder: Path) -> str:
    text = error.strerror or str(error)
    if error.errno not in _NO_SPACE:
        return text
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free / 2**20
        text += f" ({folder} is on a disk with {free:.1f} MiB free)"
    return f"{text}; what is finished stays: free some space and repeat"


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(document: Mapping[str, Any], place: str) -> bytes:
    """A document as JSON (indented, sorted) with a digest of its content and of the place that it belongs to.

    A changed digit is valid JSON and often a valid number, and a file may be put where another belongs: neither shows
    without a digest. It guards against accidents, not against somebody who computes it anew.

    Raises:
        ValueError: NaN or infinity in it.
    """
    text = json.dumps({**document, DIGEST: _digest(document, place)}, indent=1, sort_keys=True, allow_nan=False)
    return (text + "\n").encode()


def unseal(data: bytes, place: str, bare: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document in what `sealed` wrote, without its digest.

    Args:
        bare: values by which documents of before there were digests are known: those alone may have none.

    Raises:
        Damaged: no JSON object, or its digest is missing, or that of another content or place.
    """
    try:
        document = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Damaged("it is not JSON" if data else "it is empty") from None
    if not isinstance(document, dict):
        raise Damaged("it is not a JSON object")
    if DIGEST not in document:
        if bare is None or any(document.get(name) != value for name, value in bare.items()):
            raise Damaged("its digest is missing")
    elif document.pop(DIGEST) != _digest(document, place):
        raise Damaged("its digest belongs to another content or place")
    return document


def _digest(document: Mapping[str, Any], place: str) -> str:
    canonical = json.dumps([place, document], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _refuse(constant: str) -> None:
    raise ValueError(constant)

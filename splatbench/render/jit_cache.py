"""numba's cache files with a checksum.

numba renames them into place without flushing them, and believes what it finds: after a power cut an empty index ends
every start with an EOFError, and machine code with a changed bit is run. Here what is damaged is compiled anew.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import contextlib
import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

from numba.core.caching import IndexDataCacheFile

from splatbench.files import write_atomic

_LENGTH = 32  # bytes of the SHA-256 at the end of each file; unpickling ends before it


def check_cache(dispatcher: Any) -> None:
    """Gives a cached function's files a checksum. They have to be in a folder of their own: numba's have none."""
    cache = dispatcher._cache
    files = getattr(cache, "_cache_file", None)
    if isinstance(files, IndexDataCacheFile):  # else a numba that keeps its files in another way
        cache._cache_file = _CheckedFiles(cache._cache_path, cache._impl.filename_base, files._source_stamp)


class _CheckedFiles(IndexDataCacheFile):
    def save(self, key, data):
        try:
            super().save(key, data)
        except OSError as error:
            warnings.warn(f"a compiled kernel cannot be kept: {error}", RuntimeWarning, stacklevel=2)

    def _load_index(self):
        return super()._load_index() if _is_whole(self._index_path) else {}

    def _load_data(self, name):
        if not _is_whole(self._data_path(name)):
            raise FileNotFoundError(name)  # what numba takes for "not there"
        return super()._load_data(name)

    @contextlib.contextmanager
    def _open_for_write(self, filepath):
        buffer = io.BytesIO()
        yield buffer
        content = buffer.getvalue()
        write_atomic(filepath, content + hashlib.sha256(content).digest())


def _is_whole(path: str | os.PathLike[str]) -> bool:
    """Whether a file is what was written; False for one that cannot be read."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data[:-_LENGTH]).digest() == data[-_LENGTH:]

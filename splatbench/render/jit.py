"""`kernel`: numba's njit with a disk cache that notices every change of the kernels.

numba's own cache looks only at the file that defines a function: after a change of a module that the function inlines
(the vector type, say) it would silently keep the old machine code. Here the cache folder is named by a hash of all
kernel sources, so a change anywhere compiles everything anew, into a folder of its own.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import platformdirs

from .jit_cache import check_cache

_config: Any = numba.config  # its settings are made at run time
_PACKAGE = Path(__file__).resolve().parent
#: "contract" lets a multiplication and an addition become one instruction; sums are never reordered.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "fastmath": {"contract", "nsz"}}


def kernel_sources() -> list[Path]:
    """The files whose content decides the machine code."""
    losses = sorted((_PACKAGE.parent / "losses").glob("*.py"))
    return [*sorted(_PACKAGE.glob("*.py")), *losses, _PACKAGE.parent / "optim.py"]


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: `$SPLATBENCH_CACHE` or the user's cache folder; None where that is read-only."""
    digest = hashlib.sha256()
    for path in kernel_sources():
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    base = os.environ.get("SPLATBENCH_CACHE") or platformdirs.user_cache_dir("splatbench")
    folder = Path(base).expanduser() / f"numba-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        warnings.warn(
            f"compiled kernels cannot be kept in {folder} ({error.strerror}): every start will compile them anew, "
            "about 15 seconds; set SPLATBENCH_CACHE to a writable folder",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorator: `numba.njit` without reordering of sums, without the GIL, cached in `cache_folder()`."""
    if function is None:
        return functools.partial(kernel, **options)
    folder = cache_folder()
    if folder is None:
        return numba.njit(**(_OPTIONS | options))(function)
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)  # read once, while the dispatcher is made
    try:
        made = numba.njit(**(_OPTIONS | {"cache": True} | options))(function)
    finally:
        _config.CACHE_DIR = before
    check_cache(made)
    return made


def part(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorator of what only kernels call: compiled into them, without an entry for Python and a place in the cache."""
    if function is None:
        return functools.partial(part, **options)
    return numba.njit(**(_OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True} | options))(function)

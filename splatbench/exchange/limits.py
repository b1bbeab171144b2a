"""What a file may declare, looked at before any of its numbers is unpacked."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from splatbench.exchange.errors import ExchangeError

#: Arrays that a file may hold, with their columns (None: channels); docs/import.md says what each one is.
COLUMNS: dict[str, int | None] = {
    "means": 2,
    "colors": None,
    "opacities": 1,
    "scales": 2,
    "angles": 1,
    "cholesky": 3,
    "covariance": 3,
    "conic": 3,
}
ARRAYS = tuple(COLUMNS)
MAX_GAUSSIANS = 1 << 24
MAX_CHANNELS = 16
#: Bytes of a file, and of its arrays: 2^24 Gaussians of nine 64-bit numbers.
MAX_BYTES = 9 * 8 << 24

#: Type and shape.
Declared = tuple[np.dtype, tuple[int, ...]]


def check_declared(declared: Mapping[str, Declared], allowed: int | None = None) -> None:
    """Raises ExchangeError unless all arrays are known ones, of real or whole numbers of up to 64 bits, for the same
    number of Gaussians, and not too large.

    Args:
        allowed: number of Gaussians that a budget allows.
    """
    for name, (dtype, _) in declared.items():
        if name not in ARRAYS:
            raise ExchangeError(f"unknown array {name!r} (known: {', '.join(ARRAYS)})")
        if dtype.kind not in "fiu" or dtype.itemsize > 8:
            raise ExchangeError(f"the array {name!r} holds {dtype}; expected numbers of up to 64 bits")
    if "means" not in declared:
        raise ExchangeError("the array 'means' is missing")
    n = next(iter(declared["means"][1]), 0)
    if not 1 <= n <= MAX_GAUSSIANS:
        raise ExchangeError(f"the array 'means' holds {n} Gaussians; expected 1 to {MAX_GAUSSIANS}")
    if allowed is not None and n > allowed:
        raise ExchangeError(f"it holds {n} Gaussians, the budget allows {allowed}")
    for name, (_, shape) in declared.items():
        _check_shape(name, shape, n)
    total = sum(dtype.itemsize * math.prod(shape) for dtype, shape in declared.values())
    if total > MAX_BYTES:
        raise ExchangeError(f"its arrays would take {total} bytes; at most {MAX_BYTES} are read")


def _check_shape(name: str, shape: tuple[int, ...], n: int) -> None:
    columns = COLUMNS[name]
    if columns == 1 and shape == (n,):
        return
    if len(shape) != 2 or shape[0] != n or columns not in (None, shape[1]):
        wanted = f"[{n}]" if columns == 1 else f"[{n}, {columns or 'channels'}]"
        raise ExchangeError(f"the array {name!r} has shape {list(shape)}; expected {wanted}")
    if columns is None and not 1 <= shape[1] <= MAX_CHANNELS:
        raise ExchangeError(f"the array {name!r} has {shape[1] or 'no'} channels; expected 1 to {MAX_CHANNELS}")

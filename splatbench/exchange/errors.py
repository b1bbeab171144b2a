"""The errors of this package that a reader of files has to expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np


class ExchangeError(ValueError):
    """A file of named arrays that cannot be read, does not say what it holds, or does not hold Gaussians."""


class BadValues(ExchangeError):
    """Values that no Gaussian has.

    Args:
        name: of the array. rows: the Gaussians, counted from 0.
        among: of how many Gaussians, where not all were looked at.
    """

    def __init__(self, name: str, rows: np.ndarray, why: str, among: int | None = None) -> None:
        first = ", ".join(map(str, rows[:3])) + (" ..." if len(rows) > 3 else "")
        of = "" if among is None else f" of the first {among}"
        super().__init__(f"the array {name!r}: values of {len(rows)} Gaussians{of} are {why} (counted from 0: {first})")
        self.name, self.rows, self.why = name, rows, why


def twice(names: Iterable[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)

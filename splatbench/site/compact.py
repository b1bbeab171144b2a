"""Numbers for scripts: no longer than what any table or plot shows of them."""

from __future__ import annotations

import math


def compact(value: float | None, digits: int = 6) -> float | int | None:
    """A number with six significant digits; None for what JSON does not have."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() else short

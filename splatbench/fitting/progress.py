"""What every fit reports: its quality, and the steps that its convergence curve holds."""

from __future__ import annotations

import math


def psnr(error: float) -> float:
    """10 log10(1 / MSE), capped at 100 dB for an exact reconstruction."""
    return min(100.0, -10 * math.log10(error)) if error > 0 else 100.0


def on_curve(i: int, n: int) -> bool:
    """Whether step i of n belongs on the convergence curve: about 20 points per decade, and the last."""
    if i == n or i <= 10:
        return True
    return math.floor(20 * math.log10(i)) != math.floor(20 * math.log10(i - 1))

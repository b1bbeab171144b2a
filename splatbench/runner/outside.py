"""Whether what others made is of the picture, and within the budget that their code was given."""

from __future__ import annotations

import numpy as np

from splatbench.budget import RATE_TOLERANCE, Budget
from splatbench.method import Decoded, MethodError
from splatbench.metrics import bits_per_pixel
from splatbench.trace import Trace


def check_outside(data: bytes, decoded: Decoded, suffix: str, image: np.ndarray, budget: Budget, trace: Trace) -> None:
    """Looks at a file that a program, or somebody elsewhere, has made.

    Args:
        data, decoded, suffix: its content, what came of it, and the end of its name.
        image: uint8 [H, W, C], the picture that it is of.
        trace: learns what could not be looked at.

    Raises:
        MethodError: another size or number of channels; more Gaussians than the budget, or no Gaussians in a .s2d file
            where the budget counts them; a file beyond a budget in bits per pixel by more than RATE_TOLERANCE.
    """
    height, width, channels = image.shape
    given = decoded.shape[:2] if isinstance(decoded, np.ndarray) else decoded.size
    if tuple(given) != (height, width):
        raise MethodError(f"the file holds {given[1]}x{given[0]} pixels, the picture has {width}x{height}")
    colors = decoded if isinstance(decoded, np.ndarray) else getattr(decoded, "colors", None)
    if colors is not None and colors.shape[-1] != channels:
        raise MethodError(f"its colours have {colors.shape[-1]} channels, the picture has {channels}")
    allowed = budget.count(height, width)
    if allowed is not None and isinstance(decoded, np.ndarray):
        if suffix == ".s2d":
            raise MethodError(
                f"the file holds pixels and no Gaussians, the budget allows {allowed} Gaussians: give a codec a budget "
                "of bits per pixel, or `native`"
            )
        trace.note(
            f"its decoder gives a picture: nobody here has counted its Gaussians, of which {allowed} are allowed"
        )
    elif allowed is not None and len(decoded) > allowed:
        raise MethodError(f"the file holds {len(decoded)} Gaussians, the budget allows {allowed}")
    rate = bits_per_pixel(8 * len(data), height, width)
    if budget.bpp is not None and rate > budget.bpp * (1 + RATE_TOLERANCE):
        raise MethodError(f"the file takes {rate:.4g} bits per pixel, the budget allows {budget.bpp:g}")

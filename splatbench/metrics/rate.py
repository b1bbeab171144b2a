"""Rates in bits per pixel."""

from __future__ import annotations


def bits_per_pixel(bits: int, height: int, width: int) -> float:
    """bits / (H W): a file's length x 8, or a published formula's bit count.

    Raises:
        ValueError: a negative bit count or an empty picture.
    """
    if bits < 0 or height < 1 or width < 1:
        raise ValueError(f"bits per pixel: got {bits} bits for {width}x{height} pixels")
    return bits / (height * width)

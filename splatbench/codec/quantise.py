"""Quantisers of the file formats, in numpy: what a decoder needs, and the encoder's exact counterpart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splatbench.codec.errors import BitstreamError

#: Of a constant array: its values are then all the offset.
SMALLEST_STEP = 1e-8


@dataclass(frozen=True)
class Grid:
    """Uniform quantisation between the smallest and the largest value, of an array or of each of its columns.

    Attributes:
        step, offset: float32 [1] or [C]; value = code * step + offset.
        bits: 1 to 16.
    """

    step: np.ndarray
    offset: np.ndarray
    bits: int

    @classmethod
    def of(cls, values: np.ndarray, bits: int, per_channel: bool = False) -> Grid:
        """The grid of float32 values [N >= 1, C]: step max((max - min) / (2^bits - 1), 1e-8), offset min.

        Raises:
            ValueError: bits out of range, no values, or values that are not finite.
        """
        values = np.asarray(values, np.float32)
        if not 1 <= bits <= 16:
            raise ValueError(f"bits must be 1 to 16, got {bits}")
        if values.ndim != 2 or not len(values) or not np.isfinite(values).all():
            raise ValueError("a grid needs finite values [N, C] of at least one Gaussian")
        flat = values if per_channel else values.reshape(-1, 1)
        low, high = flat.min(0), flat.max(0)
        return cls(np.maximum((high - low) / np.float32((1 << bits) - 1), np.float32(SMALLEST_STEP)), low, bits)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Codes of values [N, C]; see `uniform_codes`."""
        return uniform_codes(values, self.step, self.offset, self.bits)

    def values(self, codes: np.ndarray) -> np.ndarray:
        """Values of codes; see `uniform_values`."""
        return uniform_values(codes, self.step, self.offset)


def uniform_codes(values: np.ndarray, step: np.ndarray, offset: np.ndarray, bits: int) -> np.ndarray:
    """Codes of uniform quantisation: rint(clip((x - offset) / step, 0, 2^bits - 1)), in float32, half to even.

    Args:
        values: float32 [N, C].
        step, offset: float32 [C], step > 0.
        bits: 1 to 16.

    Returns:
        [N, C], uint8 up to 8 bits, else uint16.

    Raises:
        ValueError: a step that is not positive, a value that is not finite, or bits out of range.
    """
    step, offset = np.asarray(step, np.float32), np.asarray(offset, np.float32)
    if not 1 <= bits <= 16:
        raise ValueError(f"bits must be 1 to 16, got {bits}")
    if not (np.isfinite(values).all() and np.isfinite(offset).all() and np.isfinite(step).all() and (step > 0).all()):
        raise ValueError("uniform quantisation needs finite values and offsets and positive steps")
    scaled = (values.astype(np.float32) - offset) / step
    return np.rint(np.clip(scaled, 0, (1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def uniform_values(codes: np.ndarray, step: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """code * step + offset in float32, one rounding per operation, as float32 tensors compute it; [N, C]."""
    return codes.astype(np.float32) * np.asarray(step, np.float32) + np.asarray(offset, np.float32)


def to_float16(values: np.ndarray) -> np.ndarray:
    """Nearest float16, ties to even.

    Raises:
        ValueError: a finite value beyond the range of float16 (65504).
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(values).astype(np.float16)
    if (np.isinf(rounded) & np.isfinite(values)).any():
        raise ValueError("a value does not fit float16 (magnitude over 65504)")
    return rounded


def vector_values(indices: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
    """Sum over the stages of a residual vector quantiser, in float32, first stage first.

    Args:
        indices: unsigned integers [N, stages].
        codebooks: float32 [stages, entries, D].

    Returns:
        float32 [N, D].

    Raises:
        BitstreamError: shapes that do not fit, or an index outside its codebook.
    """
    if indices.ndim != 2 or codebooks.ndim != 3 or indices.shape[1] != codebooks.shape[0]:
        raise BitstreamError(f"indices {indices.shape} do not fit codebooks {codebooks.shape}")
    if indices.size and int(indices.max()) >= codebooks.shape[1]:
        raise BitstreamError(f"index {int(indices.max())} is outside a codebook of {codebooks.shape[1]} entries")
    total = np.zeros((len(indices), codebooks.shape[2]), np.float32)
    for stage, codebook in enumerate(codebooks):
        total += codebook[indices[:, stage]]
    return total

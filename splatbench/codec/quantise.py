"""Quantisers of the file formats, in numpy: what a decoder needs, and the encoder's exact counterpart."""

from __future__ import annotations

import numpy as np

from splatbench.codec.errors import BitstreamError


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

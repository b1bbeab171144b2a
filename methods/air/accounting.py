"""How AIR's authors count bits: the figure of their tables, which is not the length of a file."""

from __future__ import annotations

import constriction
import numpy as np

from .quantiser import GROUPS

_WORD_BITS = 32


def published_bits(codes: np.ndarray, patches: int, stages: int) -> int:
    """Bits of a quantised set as the released code counts them (AIR paper, Table VII).

    Each channel is a stream: payload of a stack coder (ANS) whose model is the channel's own histogram, in whole 32-bit
    words; 8 bits for each distinct code; the histogram as variable-length bytes of zigzag differences; the payload's
    length in words and, per group, the two dimensions as variable-length bytes.

    It counts too much: the masks of the stages after the first, one bit per patch each, are added to each of the four
    groups, so four times, and not entropy-coded. It leaves out the ranges (16 numbers, without which nobody can
    decode), size of picture and patch. A channel of one single code has no payload here; the released code stops there
    with an error.

    Args:
        codes: uint8 [N, 8].
        patches: L.
        stages: S that ran.
    """
    return sum(_group_bits(codes[:, part]) + max(stages - 1, 0) * patches for part in GROUPS.values())


def _group_bits(codes: np.ndarray) -> int:
    return sum(map(_number_bits, codes.shape)) + sum(_stream_bits(channel) for channel in codes.T)


def _stream_bits(channel: np.ndarray) -> int:
    distinct, symbols, counts = np.unique(channel, return_inverse=True, return_counts=True)
    words = _payload_words(symbols.astype(np.int32), counts)
    differences = np.diff(counts, prepend=0).tolist()
    histogram = sum(_number_bits(2 * d if d >= 0 else -2 * d - 1) for d in differences)
    return _WORD_BITS * words + 8 * len(distinct) + histogram + _number_bits(words)


def _number_bits(value: int) -> int:
    """Of a whole number in bytes that hold 7 bits each."""
    return 8 * max(1, -(-value.bit_length() // 7))


def _payload_words(symbols: np.ndarray, counts: np.ndarray) -> int:
    if len(counts) < 2:
        return 0
    model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(symbols, model)
    return len(coder.get_compressed())

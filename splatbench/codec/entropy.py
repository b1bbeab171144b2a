"""Entropy coding with constriction's range coder and block-adaptive integer models.

No model tables are stored. Both sides start from a flat model, code a block of symbols, count them and build the model
of the next block from the counts. Blocks start at 16 symbols and grow with what has been seen, so an alphabet of 64
costs about 20 to 45 bytes to learn, less than a table of its frequencies.

Models are integers: weights that sum to 2^24 minus the alphabet's size. Given as float64 to
`Categorical(perfect=False)` they pass through unrounded (its scale factor is exactly 1), each symbol gets its
weight + 1 out of 2^24, and a decoder in any language can build the same model. docs/s2d.md gives the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np

from splatbench.codec.errors import BitstreamError

PRECISION = 24
#: Largest alphabet: bounds the cost of a model, and a model of 4096 symbols already learns slowly.
MAX_BITS = 12
#: Passes of the (1, 2, 1) kernel over the counts: alphabets with an order learn faster from neighbours.
SMOOTHINGS = (0, 1, 3)
_FIRST_BLOCK, _GROWTH, _LARGEST_BLOCK = 16, 16, 1 << 16
_MAX_COUNT = 1 << 22  # counts are halved above this, so that 64-bit integers suffice


def block_lengths(count: int) -> Iterator[int]:
    """Lengths of the blocks of `count` symbols: a sixteenth of what has been seen, 16 to 65536."""
    seen = 0
    while seen < count:
        length = min(count - seen, _LARGEST_BLOCK, max(_FIRST_BLOCK, seen // _GROWTH))
        yield length
        seen += length


class AdaptiveModel:
    """Symbol counts of one stream, and the model that they give.

    Args:
        bits: alphabet {0 ... 2^bits - 1}, bits in 1 ... 12.
        smoothing: passes of the (1, 2, 1) kernel, one of SMOOTHINGS.
    """

    def __init__(self, bits: int, smoothing: int) -> None:
        self.counts = np.zeros(1 << bits, np.int64)
        self.smoothing = smoothing

    def weights(self) -> np.ndarray:
        """int64 [2^bits], non-negative, sum 2^24 - 2^bits; symbol s has probability (weight + 1) / 2^24."""
        smooth = self.counts
        for _ in range(self.smoothing):
            padded = np.concatenate([smooth[:1], smooth, smooth[-1:]])
            smooth = padded[:-2] + 2 * smooth + padded[2:]
        # Prior: half a count per symbol (Krichevsky-Trofimov); an eighth where neighbours already fill the gaps.
        prior = 2 * smooth + 1 if self.smoothing == 0 else 8 * smooth + 4**self.smoothing
        free = (1 << PRECISION) - len(prior)
        weights = prior * free // prior.sum()
        weights[np.argmax(weights)] += free - weights.sum()
        return weights

    def categorical(self) -> constriction.stream.model.Categorical:
        return constriction.stream.model.Categorical(self.weights().astype(np.float64), perfect=False)

    def update(self, symbols: np.ndarray) -> None:
        self.counts += np.bincount(symbols, minlength=len(self.counts))
        while self.counts.sum() > _MAX_COUNT:
            self.counts >>= 1


def adaptive_bits(symbols: np.ndarray, bits: int, smoothing: int) -> float:
    """Size in bits of the symbols [n] under the adaptive model, without coding them."""
    model, total, begin = AdaptiveModel(bits, smoothing), 0.0, 0
    for length in block_lengths(len(symbols)):
        block = symbols[begin : begin + length]
        counts = np.bincount(block, minlength=1 << bits)
        total += length * PRECISION - float(counts @ np.log2(model.weights() + 1))
        model.update(block)
        begin += length
    return total


class Encoder:
    """One range coder shared by all streams of an attribute."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: np.ndarray, bits: int, smoothing: int) -> None:
        """Appends a stream of symbols [n] in {0 ... 2^bits - 1} with a model of its own."""
        model, begin = AdaptiveModel(bits, smoothing), 0
        for length in block_lengths(len(symbols)):
            block = np.ascontiguousarray(symbols[begin : begin + length], np.int32)
            self._coder.encode(block, model.categorical())
            model.update(block)
            begin += length

    def finish(self) -> bytes:
        """Big-endian 32-bit words without the zero bytes at the end, which the decoder puts back."""
        return self._coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")


class Decoder:
    """Inverse of `Encoder`: the same streams must be asked for in the same order."""

    def __init__(self, data: bytes | memoryview) -> None:
        padded = bytes(data) + bytes(-len(data) % 4)
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def decode(self, count: int, bits: int, smoothing: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (position, symbols int32) block by block.

        Raises:
            BitstreamError: the bytes are impossible under the model.
        """
        model, begin = AdaptiveModel(bits, smoothing), 0
        for length in block_lengths(count):
            try:
                symbols = self._coder.decode(model.categorical(), length)
            except AssertionError as error:  # how constriction reports a code point outside the model
                raise BitstreamError("entropy-coded data are damaged") from error
            model.update(symbols)
            yield begin, symbols
            begin += length

    def finish(self) -> None:
        """Raises BitstreamError if bytes are left that the symbols did not use."""
        if not self._coder.maybe_exhausted():
            raise BitstreamError("entropy-coded data go on behind the last symbol")

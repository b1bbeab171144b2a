from __future__ import annotations

import numpy as np
import pytest

from splatbench.codec.primitives import varint, zigzag

GROUPS = ((0, 2), (2, 4), (4, 5), (5, 8))


@pytest.fixture(scope="module")
def accounting(part):
    return part("accounting")


def test_constant_channels_have_no_payload(accounting):
    """100 Gaussians of one code: per channel 8 bits for the symbol, 16 for the count (zigzag 200), 8 for no words; per
    group 16 for the dimensions; three masks of 50 patches in each of the four groups."""
    assert accounting.published_bits(np.full((100, 8), 7, np.uint8), 50, 4) == 8 * (8 + 16 + 8) + 4 * 16 + 4 * 3 * 50


def test_no_gaussians(accounting):
    """Only dimensions, and the lengths of eight empty streams; no mask where no or one stage ran."""
    empty = np.zeros((0, 8), np.uint8)
    assert accounting.published_bits(empty, 50, 0) == accounting.published_bits(empty, 50, 1) == 4 * 16 + 8 * 8


def test_two_symbols_by_hand(accounting):
    """A fair coin, 3200 times: 3200 bits, 100 words, and the 64 bits with which the coder's state begins at most."""
    codes = np.zeros((3200, 8), np.uint8)
    codes[1::2, 4] = 5
    rest = 7 * (8 + 16 + 8) + 4 * (16 + 8)  # zigzag(3200) takes two bytes, and so does 3200
    found = accounting.published_bits(codes, 9, 4) - rest - 4 * 3 * 9
    # two symbols; counts 1600, +0: two bytes and one; length of the stream: one byte
    assert found - (16 + 16 + 8 + 8) in (3200, 3200 + 32, 3200 + 64)


def test_bits_are_those_of_the_empirical_entropy_and_the_tables(accounting):
    """Payload against sum of -log2 p in float64; everything else counted again, to the bit."""
    rng = np.random.default_rng(4)
    spread = np.array([40, 30, 20, 12, 25, 50, 3, 2])
    codes = np.clip(np.rint(rng.normal(64, spread, (5000, 8))), 0, 255).astype(np.uint8)
    codes[:, 7] = 3
    least = most = 0
    for begin, end in GROUPS:
        fixed = len(varint(5000)) + len(varint(end - begin))
        for channel in codes[:, begin:end].T:
            counts = np.bincount(channel)
            counts = counts[counts > 0]
            ideal = -float((counts * np.log2(counts / 5000)).sum())
            words = int(np.ceil(ideal / 32))
            fixed += len(counts) + len(varint(words))
            fixed += sum(len(varint(zigzag(int(d)))) for d in np.diff(counts, prepend=0))
            least, most = least + 32 * words, most + 32 * (words + 2 * (ideal > 0))
        least, most = least + 8 * fixed + 3 * 740, most + 8 * fixed + 3 * 740
    assert least <= accounting.published_bits(codes, 740, 4) <= most
    assert most - least < 0.003 * least


def test_stages_and_patches_cost_four_masks_each(accounting):
    codes = np.zeros((10, 8), np.uint8)
    bits = [accounting.published_bits(codes, patches, 4) for patches in (0, 8140)]
    assert bits[1] - bits[0] == 12 * 8140

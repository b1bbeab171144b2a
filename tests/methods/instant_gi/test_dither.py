from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splatbench.method import MethodError

maps = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.floats(0, 1, width=32),
)


def rows(cells):
    return " ".join("".join("01"[int(c)] for c in row) for row in cells)


def by_lists(density):
    """Weights of the released code in a dictionary, one numpy float32 at a time."""
    h, w = density.shape
    values = {(y, x): np.float32(density[y, x]) for y in range(h) for x in range(w)}
    out = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            out[y, x] = values[y, x] >= 0.5
            error = np.float32(values[y, x] - np.float32(out[y, x]))
            if y == h - 1:
                shares = {(0, 1): 1}
            elif w == 1:
                shares = {(1, 0): 1}
            elif x == 0:
                shares = {(0, 1): 7 / 13, (1, 0): 5 / 13, (1, 1): 1 / 13}
            elif x == w - 1:
                shares = {(1, -1): 3 / 8, (1, 0): 5 / 8}
            else:
                shares = {(0, 1): 7 / 16, (1, -1): 3 / 16, (1, 0): 5 / 16, (1, 1): 1 / 16}
            for (dy, dx), share in shares.items():
                if (y + dy, x + dx) in values:
                    values[y + dy, x + dx] += error * np.float32(share)
    return out


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (np.full((3, 5), 0.3), "00100 10010 00101"),
        (np.full((4, 6), 0.5), "101010 010101 101010 010101"),
        (
            np.array(
                [
                    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
                    [0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
                    [0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
                    [0.9, 0.8, 0.7, 0.3, 0.2, 0.1],
                ]
            ),
            "000101 010101 010110 110100",
        ),
    ],
)
def test_known_maps(part, density, expected):
    assert rows(part("dither").dither(density)) == expected


@given(density=maps)
def test_equals_a_plain_version_to_the_bit(part, density):
    assert np.array_equal(part("dither").dither(density), by_lists(density))


@given(seed=st.integers(0, 10_000), size=st.tuples(st.integers(20, 60), st.integers(1, 6)), power=st.floats(0.2, 5))
def test_only_the_last_error_is_lost(part, seed, size, power):
    """All others are handed on in full, so the number of points is the map's sum but for what the last row keeps: it
    hands everything to the right, and may gather a third of a point per column."""
    density = (np.random.default_rng(seed).random(size) ** power).astype(np.float32)
    missed = density.sum(dtype=np.float64) - part("dither").dither(density).sum()
    assert abs(missed) <= 0.6 + size[1] / 3


def test_keeps_local_means(part):
    x = np.linspace(0.05, 0.95, 400, dtype=np.float32)
    cells = part("dither").dither(np.tile(x, (200, 1)))
    found = cells.reshape(200, 20, 20).mean((0, 2))
    assert np.abs(found - x.reshape(20, 20).mean(1)).max() < 0.01


def test_leaves_the_map_alone(part):
    density = np.full((8, 9), 0.37, np.float32)
    part("dither").dither(density)
    assert (density == np.float32(0.37)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_what_is_not_finite(part, bad):
    density = np.full((4, 4), 0.5, np.float32)
    density[2, 1] = bad
    with pytest.raises(MethodError, match="NaN or infinity"):
        part("dither").dither(density)


@pytest.mark.parametrize("shape", [(0, 3), (5,), (1, 2, 3)])
def test_refuses_what_is_no_map(part, shape):
    with pytest.raises(MethodError, match="densities"):
        part("dither").dither(np.zeros(shape))


def test_points_are_centres_of_blocks_row_by_row(part):
    cells = np.zeros((3, 3), bool)
    cells[0, 2] = cells[1, 0] = cells[2, 1] = True
    points = part("dither").points_of(cells, 3, (9, 9))
    assert points.dtype == np.float32
    assert points.tolist() == [[7.5, 1.5], [1.5, 4.5], [4.5, 7.5]]
    assert part("dither").points_of(cells, 4, (12, 12)).tolist() == [[10, 2], [2, 6], [6, 10]]


def test_points_beyond_the_picture_are_dropped(part):
    """Block 4: a last block of one or two pixels has its centre outside."""
    cells = np.ones((3, 3), bool)
    points = part("dither").points_of(cells, 4, (10, 11))
    assert points.tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]


def test_no_cell_no_point(part):
    assert part("dither").points_of(np.zeros((4, 4), bool), 3, (12, 12)).shape == (0, 2)

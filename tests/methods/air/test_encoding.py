from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.render import render


@pytest.fixture(scope="module")
def encoding_of(part):
    """An encoding of given masks, bool [S, L], whose Gaussians are round, red and at the centres of their patches."""

    def make(size, patch, masks, stretch=False, compat=frozenset(), scale=2.0):
        n = int(masks.sum())
        values = part("patches").Values(
            torch.zeros(n, 2), torch.full((n, 2), scale), torch.zeros(n), torch.tensor([0.5, 0, 0]).repeat(n, 1)
        )
        return part("encoding").Encoding(size, patch, stretch, compat, masks, values)

    return make


def test_centres_follow_from_the_masks(encoding_of):
    """A picture of 2 x 3 patches of 7 pixels; the last column and row reach beyond it."""
    masks = torch.tensor([[1, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0]], dtype=torch.bool)
    encoding = encoding_of((9, 16), 7, masks, compat=frozenset({"tile_cap_256"}))
    # Samples at integers: centres 3, 10 and min(17, 15), rows 3 and min(10, 8); half a pixel more in our coordinates.
    expected = [[3.5, 3.5], [15.5, 8.5], [15.5, 3.5], [3.5, 8.5]]
    assert encoding.gaussians().means.tolist() == expected
    free = encoding_of((9, 16), 7, masks).gaussians().means.tolist()
    assert sorted(free) == sorted(expected) and free[0] == [3.5, 3.5] and free[-1] == [15.5, 8.5]


def test_published_stretch_moves_the_last_sample_one_pixel_out(encoding_of):
    masks = torch.tensor([[1, 0, 0, 0, 0, 1]], dtype=torch.bool)
    means = encoding_of((9, 16), 7, masks, stretch=True).gaussians().means
    expected = [[3 * 16 / 15 + 0.5, 3 * 9 / 8 + 0.5], [16.5, 9.5]]
    torch.testing.assert_close(means, torch.tensor(expected))


def test_first_stages_draw_what_is_left_without_the_others(part, encoding_of):
    masks = torch.rand(3, 12, generator=torch.Generator().manual_seed(1)) < 0.6
    encoding = encoding_of((21, 28), 7, masks)
    encoding = encoding.quantised(
        np.random.default_rng(1).integers(0, 256, (len(encoding), 8), np.uint8),
        part("channels").Ranges(torch.full((8,), 0.01), torch.tensor([-1.0, -1, 1, 1, 0, -0.5, -1, -1])),
    )
    parts = [encoding.upto(stages) for stages in range(5)]
    assert [len(p) for p in parts] == [0, *masks.sum(1).cumsum(0).tolist(), len(encoding)]
    assert not render(parts[0].gaussians()).any()
    only_last = type(encoding)(
        encoding.size, 7, False, frozenset(), masks[2:], encoding.values.select(slice(len(parts[2]), None))
    )
    total = render(parts[2].gaussians()) + render(only_last.gaussians())
    torch.testing.assert_close(render(encoding.gaussians()), total, atol=1e-5, rtol=0)
    assert torch.equal(render(parts[4].gaussians()), render(encoding.gaussians()))


def test_scales_that_a_range_makes_zero_or_negative(encoding_of):
    """The lowest level may lie below 0: a negative scale draws what the positive one does, 0 draws nothing."""
    masks = torch.ones(1, 1, dtype=torch.bool)
    pictures = {scale: render(encoding_of((7, 7), 7, masks, scale=scale).gaussians()) for scale in (-2.0, 0.0, 2.0)}
    assert pictures[2.0][3, 3, 0] == pytest.approx(0.5) and torch.equal(pictures[2.0], pictures[-2.0])
    assert not pictures[0.0].any()
    needle = encoding_of((7, 7), 7, masks)
    needle.values.scales[0, 1] = 0
    assert not render(needle.gaussians()).any()


def test_parts_that_do_not_fit_are_refused(part, encoding_of):
    masks = torch.ones(2, 6, dtype=torch.bool)
    good = vars(encoding_of((9, 16), 7, masks))
    ranges = part("channels").Ranges(torch.ones(8), torch.zeros(8))
    codes = np.zeros((12, 8), np.uint8)
    for change, reason in (
        ({"masks": masks[:, :5]}, r"masks must be bool \[stages, 6\]"),
        ({"masks": masks.long()}, "masks must be bool"),
        ({"masks": masks & torch.tensor([1, 1, 1, 1, 1, 0], dtype=torch.bool)}, r"offsets must have shape \[10, 2\]"),
        ({"codes": codes}, "codes and ranges"),
        ({"ranges": ranges}, "codes and ranges"),
        ({"codes": codes[:, :7], "ranges": ranges}, r"codes must be uint8 \[12, 8\]"),
        ({"codes": codes.astype(np.int32), "ranges": ranges}, "codes must be uint8"),
    ):
        with pytest.raises(ValueError, match=reason):
            part("encoding").Encoding(**(good | change))


def test_nominal_bits_are_for_codes(part, encoding_of):
    encoding = encoding_of((9, 16), 7, torch.ones(4, 6, dtype=torch.bool))
    assert encoding.nominal_bits() is None
    codes = np.random.default_rng(2).integers(0, 256, (24, 8), np.uint8)
    quantised = encoding.quantised(codes, part("channels").Ranges(torch.ones(8), torch.zeros(8)))
    assert quantised.nominal_bits() == part("accounting").published_bits(codes, 6, 4)

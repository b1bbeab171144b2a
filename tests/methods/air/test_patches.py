"""Patches, activations and positions against values written from the paper's formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def patches(part):
    return part("patches")


@pytest.mark.parametrize(
    ("height", "width", "patch", "length"),
    [
        (512, 768, 7, 74 * 110),
        (512, 768, 5, 103 * 154),
        (512, 768, 6, 86 * 128),
        (678, 1020, 7, 97 * 146),
        (1, 1, 7, 1),
    ],
)
def test_candidates_per_stage_are_those_of_the_paper(patches, height, width, patch, length):
    assert len(patches.PatchGrid(height, width, patch)) == length


def test_centres_are_those_of_whole_patches_and_stay_inside_the_picture(patches):
    centres = patches.PatchGrid(15, 10, 7).centres().reshape(3, 2, 2)
    assert centres[0].tolist() == [[3.0, 3.0], [9.0, 3.0]]  # 7 + 3 = 10 is beyond the last pixel, 9
    assert centres[2].tolist() == [[3.0, 14.0], [9.0, 14.0]]


def test_blocks_hold_the_pixels_of_their_patch_row_by_row(patches):
    picture = torch.arange(4 * 6, dtype=torch.float32).reshape(1, 1, 4, 6)
    blocks = patches.PatchGrid(4, 6, 2).blocks(picture)
    assert blocks.shape == (1, 1, 6, 4)
    assert blocks[0, 0, 4].tolist() == [14, 15, 20, 21]


def test_blocks_repeat_the_border_beyond_the_picture(patches):
    picture = torch.arange(6, dtype=torch.float32).reshape(1, 1, 2, 3)
    blocks = patches.PatchGrid(2, 3, 2).blocks(picture)
    assert blocks[0, 0, 1].tolist() == [2, 2, 5, 5]


def test_activation_is_that_of_the_paper_s_table(patches):
    raw = torch.randn(50, 8, generator=torch.Generator().manual_seed(1)) * 3
    values = patches.activate(raw, 7)
    u = raw.double().numpy()
    sigmoid = 1 / (1 + np.exp(-u))
    np.testing.assert_allclose(values.offsets, 7 * np.tanh(u[:, :2]), atol=2e-6)
    np.testing.assert_allclose(values.scales, 7 * sigmoid[:, 2:4] + 0.5, atol=2e-6)
    np.testing.assert_allclose(values.angles, 2 * math.pi * sigmoid[:, 4], atol=2e-6)
    np.testing.assert_allclose(values.colors, np.tanh(u[:, 5:]), atol=1e-6)


def test_positions_sampled_at_integers_become_pixel_centres(patches):
    offsets, centres = torch.tensor([[0.0, 0.0], [1.5, -0.25]]), torch.tensor([[0.0, 0.0], [3.0, 3.0]])
    at = patches.means(offsets, centres, (10, 20), stretch=False)
    assert at.tolist() == [[0.5, 0.5], [5.0, 3.25]]


def test_the_published_stretch_keeps_pixel_0_and_moves_the_last_by_one(patches):
    centres = torch.tensor([[0.0, 0.0], [19.0, 9.0]])
    at = patches.means(torch.zeros(2, 2), centres, (10, 20), stretch=True)
    assert at[0].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(at[1], [20.5, 10.5], atol=1e-5)


def test_a_picture_of_one_pixel_is_not_divided_by_zero(patches):
    assert torch.isfinite(patches.means(torch.zeros(1, 2), torch.zeros(1, 2), (1, 1), stretch=True)).all()

"""Stage Control against plain loops over pixels, and the consequences that the paper's tables show."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def control(part):
    return part("control")


@pytest.fixture(scope="session")
def grid(part):
    return part("patches").PatchGrid(23, 30, 7)


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(2, 3, 23, 30, generator=generator)
    return target + 0.02 * torch.randn(target.shape, generator=generator), target


def by_hand(drawn, wanted, patch):
    """MSE and SSIM of every patch, float64, from the definition."""
    drawn, wanted = drawn.double().numpy(), wanted.double().numpy()
    height, width = drawn.shape[1:]
    rows, columns = -(-height // patch), -(-width // patch)
    padding = ((0, 0), (0, rows * patch - height), (0, columns * patch - width))
    drawn, wanted = np.pad(drawn, padding, mode="edge"), np.pad(wanted, padding, mode="edge")
    mse, ssim = [], []
    for i in range(rows):
        for j in range(columns):
            place = slice(i * patch, (i + 1) * patch), slice(j * patch, (j + 1) * patch)
            x, y = drawn[:, *place].reshape(3, -1), wanted[:, *place].reshape(3, -1)
            mse.append(((x - y) ** 2).mean())
            values = []
            for a, b in zip(x, y, strict=True):
                covariance = ((a - a.mean()) * (b - b.mean())).mean()
                above = (2 * a.mean() * b.mean() + 1e-4) * (2 * covariance + 9e-4)
                below = (a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (a.var() + b.var() + 9e-4) + 1e-8
                values.append(above / below)
            ssim.append(np.mean(values))
    return np.array(mse), np.array(ssim)


def test_quality_of_patches_is_that_of_the_definition(control, grid, pictures):
    drawn, wanted = pictures
    mse = control.patch_mse(grid.blocks(drawn), grid.blocks(wanted))
    ssim = control.patch_ssim(grid.blocks(drawn), grid.blocks(wanted))
    for b in range(2):
        expected_mse, expected_ssim = by_hand(drawn[b], wanted[b], 7)
        np.testing.assert_allclose(mse[b], expected_mse, rtol=1e-5)
        np.testing.assert_allclose(ssim[b], expected_ssim, atol=2e-5)


@pytest.mark.parametrize(("psnr", "ssim"), [(35.0, None), (None, 0.98), (34.0, 0.98), (40.0, 0.95)])
def test_a_patch_is_active_while_one_criterion_is_missed(control, grid, pictures, psnr, ssim):
    drawn, wanted = pictures
    active = control.StageControl(psnr, ssim).active(drawn, wanted, grid)
    for b in range(2):
        mse, similarity = by_hand(drawn[b], wanted[b], 7)
        expected = np.zeros(len(mse), bool)
        if psnr is not None:
            expected |= mse > 10 ** (-psnr / 10)
        if ssim is not None:
            expected |= similarity < ssim
        assert active[b].numpy().tolist() == expected.tolist()


def test_the_35_db_of_the_paper_are_its_mse_threshold(control, grid):
    wanted = torch.full((1, 3, 23, 30), 0.5)
    just_above, just_below = 3.17e-4**0.5, 3.15e-4**0.5
    rule = control.StageControl(35.0, None)
    assert rule.active(wanted + just_above, wanted, grid).all()
    assert not rule.active(wanted + just_below, wanted, grid).any()


def test_every_patch_is_active_against_an_empty_canvas_even_where_the_image_is_black(control, grid):
    images = torch.stack([torch.zeros(3, 23, 30), torch.ones(3, 23, 30), torch.rand(3, 23, 30)])
    assert control.StageControl().active(torch.zeros_like(images), images, grid).all()


def test_without_criteria_all_patches_are_active(control, grid, pictures):
    assert control.StageControl(None, None).active(pictures[1], pictures[1], grid).all()


def test_when_nothing_is_active_a_stage_is_left_out_or_takes_everything_as_released(control, grid):
    bright = torch.full((1, 3, 23, 30), 0.5)
    assert not control.StageControl().active(bright, bright, grid).any()
    assert control.StageControl(when_none="all").active(bright, bright, grid).all()


def test_each_picture_of_a_batch_decides_for_itself(control, grid):
    wanted = torch.full((2, 3, 23, 30), 0.5)
    drawn = wanted.clone()
    drawn[1, :, :7, :7] = 0.0
    active = control.StageControl(when_none="all").active(drawn, wanted, grid)
    assert active[0].all()
    assert active[1].sum() == 1


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_thresholds_out_of_range_are_refused(control, threshold):
    with pytest.raises(ValueError, match="SSIM threshold"):
        control.StageControl(ssim=threshold)
    with pytest.raises(ValueError, match="at least one Gaussian"):
        control.StageControl(most=0)


def test_a_limit_leaves_out_the_patches_with_the_smallest_errors(control, grid, pictures):
    drawn, wanted = pictures
    before = torch.tensor([4, 7])
    chosen = control.StageControl(None, None, most=12).active(drawn, wanted, grid, before)
    for b, count in enumerate((8, 5)):
        mse, _ = by_hand(drawn[b], wanted[b], 7)
        assert sorted(chosen[b].nonzero().flatten().tolist()) == sorted(np.argsort(-mse)[:count].tolist())
    assert not control.StageControl(None, None, most=5).active(drawn, wanted, grid, before)[1].any()


def test_a_limit_never_adds_patches(control, grid, pictures):
    drawn, wanted = pictures
    few = control.StageControl(34.0, None)
    limited = control.StageControl(34.0, None, most=10_000)
    assert torch.equal(few.active(drawn, wanted, grid), limited.active(drawn, wanted, grid))

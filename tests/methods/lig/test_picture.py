from __future__ import annotations

import numpy as np
import pytest
import torch

from splatbench.render import render
from splatbench.render.reference import rasterize_sum_reference


@pytest.fixture
def picture(part):
    return part("picture")


def test_enlarging_is_bilinear_between_centres(picture):
    """Linear ramps stay linear ramps of pixel centres, up to the border."""
    y, x = np.mgrid[0:6, 0:9] + 0.5
    ramp = torch.from_numpy(np.stack([x / 9, y / 6, x * 0 + 0.3], 2)).float()
    y, x = np.mgrid[0:13, 0:18] + 0.5
    wanted = torch.from_numpy(np.stack([x / 18, y / 13, x * 0 + 0.3], 2)).float()
    torch.testing.assert_close(picture.enlarged(ramp, (13, 18))[2:-2, 1:-1], wanted[2:-2, 1:-1], atol=1e-5, rtol=0)
    assert picture.enlarged(ramp, (6, 9)) is ramp


def test_reducing_averages_areas(picture):
    image = torch.rand(8, 6, 3)
    wanted = image.view(4, 2, 3, 2, 3).mean((1, 3))
    torch.testing.assert_close(picture.reduced(image, (4, 3)), wanted)
    assert picture.reduced(torch.rand(9, 7, 3), (4, 3)).shape == (4, 3, 3)


def test_a_level_that_meets_its_target_completes_the_picture(picture):
    wanted, estimate = torch.rand(7, 5, 3), torch.rand(7, 5, 3)
    target, values = picture.residual_target(wanted, estimate)
    assert target.amin() == 0 and target.amax() == 1
    assert (values.low, values.high) == pytest.approx(
        (float((wanted - estimate).min()) + 0.5, float((wanted - estimate).max()) + 0.5)
    )
    torch.testing.assert_close(picture.add_level(estimate, target, values), wanted)


@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_an_even_residual_is_not_divided_by_zero(picture, missing):
    estimate = torch.full((4, 4, 3), 0.5)
    target, values = picture.residual_target(estimate + missing, estimate)
    assert torch.isfinite(target).all() and values.low == values.high
    torch.testing.assert_close(picture.add_level(estimate, torch.rand(4, 4, 3), values), estimate + missing)


def test_levels_add_up(part, picture):
    """Two levels by the reference renderer, the formulas written out."""
    levels, size = part("levels"), (14, 20)
    generator = torch.Generator().manual_seed(4)
    made = []
    for level_size, count in (((7, 10), 12), (size, 30)):
        means = torch.rand(count, 2, generator=generator) * torch.tensor([level_size[1], level_size[0]])
        factor = torch.rand(count, 3, generator=generator) * 2 + 0.5
        made.append(levels.Level(means, factor, torch.rand(count, 3, generator=generator), level_size, "cholesky"))
    layered = picture.LevelPicture(tuple(made), (picture.Range(0.2, 0.9),), size=size)
    assert len(layered) == 42
    drawn = []
    for level in made:
        l11, l21, l22 = level.shape.double().unbind(1)
        covariance = torch.stack([l11 * l11, l11 * l21, l21 * l21 + l22 * l22], 1)
        drawn.append(rasterize_sum_reference(level.means, covariance, level.colors, level.size).clamp(0, 1))
    coarse = torch.nn.functional.interpolate(drawn[0].permute(2, 0, 1)[None], size, mode="bilinear")[0].permute(1, 2, 0)
    wanted = coarse + drawn[1] * 0.7 + 0.2 - 0.5
    torch.testing.assert_close(render(layered).double(), wanted, atol=2e-4, rtol=0)
    # the first level alone, as a snapshot has it, is enlarged
    alone = picture.LevelPicture((made[0],), (), size=size)
    torch.testing.assert_close(render(alone).double(), coarse, atol=2e-4, rtol=0)


def test_nan_is_named(part, picture):
    levels = part("levels")
    colors = torch.tensor([[0.0, float("nan"), 0.0]])
    level = levels.Level(torch.zeros(1, 2), torch.ones(1, 3), colors, (4, 4), "direct")
    with pytest.raises(ValueError, match="level 0: 1 values of colors"):
        picture.LevelPicture((level,), (), size=(4, 4)).check_finite()

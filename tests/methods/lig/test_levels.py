from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatbench.budget import Budget
from splatbench.method import MethodError


def test_the_published_allocation(method, part):
    """12288 x 16320 pixels at a compression ratio of 50."""
    n = Budget(compression_ratio=50).count(12288, 16320)
    coarse, fine = part("levels").shares((12288, 16320), n, method.make_config({}))
    assert (n, coarse.count, fine.count) == (1_718_915, 214_864, 1_504_051)
    assert (coarse.size, fine.size) == ((6144, 8160), (12288, 16320))


def test_more_levels_and_odd_sizes(method, part):
    plan = part("levels").shares((101, 57), 1000, method.make_config({"levels": 3, "allocation": 0.8}))
    assert [share.size for share in plan] == [(25, 14), (50, 28), (101, 57)]
    assert [share.count for share in plan] == [50, 200, 750]
    (only,) = part("levels").shares((5, 7), 3, method.make_config({"levels": 1}))
    assert (only.size, only.count) == ((5, 7), 3)


@pytest.mark.parametrize(
    ("size", "count", "settings", "message"),
    [
        ((1, 40), 20, {}, "40x1 pixels is too small for 2 levels"),
        ((20, 20), 7, {}, "needs 8 in all"),
        ((20, 20), 15, {"levels": 3}, "needs 32 in all"),
        ((64, 64), 40, {"levels": 4, "allocation": 1.0}, "needs 64 in all"),
    ],
)
def test_too_small_is_explained(method, part, size, count, settings, message):
    with pytest.raises(MethodError, match=message):
        part("levels").shares(size, count, method.make_config(settings))


def test_the_published_start(method, part):
    levels = part("levels")
    share = levels.Share((40, 100), 20_000)
    start = levels.start(share, method.make_config({"preset": "published"}), torch.Generator().manual_seed(1))
    assert not start.colors.any() and start.form == "direct"
    assert start.means.amin() >= 0 and (start.means.amax(0) < torch.tensor([100.0, 40.0])).all()
    torch.testing.assert_close(start.means.mean(0), torch.tensor([50.0, 20.0]), atol=0.5, rtol=0)
    sxx, sxy, syy = start.shape.unbind(1)
    assert start.shape.amin() >= 0 and start.shape.amax() < 1
    assert (sxx * syy < sxy * sxy).float().mean().item() == pytest.approx(5 / 9, abs=0.01)


def test_cholesky_start_is_the_absolute_value(part):
    levels = part("levels")
    covariance = torch.rand(200, 3, generator=torch.Generator().manual_seed(2))
    l11, l21, l22 = levels.factor_of_absolute(covariance).double().unbind(1)
    got = np.stack([l11 * l11, l11 * l21, l11 * l21, l21 * l21 + l22 * l22], 1).reshape(-1, 2, 2)
    for matrix, found in zip(covariance.double().numpy()[:, [0, 1, 1, 2]].reshape(-1, 2, 2), got, strict=True):
        values, vectors = np.linalg.eigh(matrix)
        wanted = vectors @ np.diag(np.maximum(np.abs(values), levels.SMALLEST_START)) @ vectors.T
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("form", ["direct", "cholesky"])
def test_lengths_in_units(method, part, form):
    """A level in units of u pixels is the level of a picture u times as small, drawn u times as large."""
    levels = part("levels")
    share = levels.Share((64, 48), 30)
    config = method.make_config({"covariance": form, "footprint": "budget"})
    unit = levels.unit_of(share, config)
    assert unit == pytest.approx(math.sqrt(64 * 48 / (30 * math.pi)))
    assert levels.unit_of(share, method.make_config({})) == 1
    assert levels.unit_of(levels.Share((4, 4), 16), config) == 1  # never below a pixel
    raw = levels.start(share, config, torch.Generator().manual_seed(3))
    level = levels.in_pixels(raw, unit)
    assert (level.means < torch.tensor([48.0, 64.0])).all() and level.means.amax() > 40
    as_matrix = lambda s: s if form == "direct" else torch.stack([s[:, 0] ** 2, s[:, 0] * s[:, 1], s[:, 1] ** 2 + s[:, 2] ** 2], 1)  # noqa: E731, E501  # fmt: skip
    torch.testing.assert_close(as_matrix(level.shape), as_matrix(raw.shape) * unit**2)

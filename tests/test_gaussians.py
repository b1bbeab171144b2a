from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splatbench.gaussians import Gaussians2D
from splatbench.render import render


def make(n=4, **changes):
    fields = {
        "means": torch.rand(n, 2),
        "scales": torch.rand(n, 2) + 0.5,
        "angles": torch.rand(n),
        "colors": torch.rand(n, 3),
        "size": (8, 9),
    }
    return Gaussians2D(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": torch.rand(3, 2)}, r"scales: expected shape \[4, 2\], got \[3, 2\]"),
        ({"angles": None}, "either as scales and angles, or as cholesky"),
        ({"cholesky": torch.rand(4, 3)}, "either as scales and angles, or as cholesky"),
        ({"scales": None, "angles": None}, "either as scales and angles, or as cholesky"),
        ({"colors": torch.rand(4)}, r"colors: expected shape \[4, C >= 1\]"),
        ({"colors": torch.rand(4, 0)}, "colors"),
        ({"means": torch.rand(4, 2, dtype=torch.float64)}, "means: expected float32"),
        ({"opacities": torch.rand(5)}, "opacities"),
        ({"size": (0, 9)}, "size"),
        ({"blend": "max"}, "blend"),
        ({"compat": frozenset({"tile_cap"})}, "unknown .*tile_cap.*known"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_fields_cannot_be_replaced():
    with pytest.raises(AttributeError):
        make().size = (1, 1)


@given(
    s1=st.floats(0.01, 100), s2=st.floats(0.01, 100), angle=st.floats(-10, 10)
)  # fmt: skip
def test_covariance_of_scales_and_angles(s1, s2, angle):
    """Eigenvalues are the squared scales; the first axis points along the angle (x towards y)."""
    g = make(1, scales=torch.tensor([[s1, s2]]), angles=torch.tensor([angle]))
    sxx, sxy, syy = g.covariance()[0].tolist()
    matrix = torch.tensor([[sxx, sxy], [sxy, syy]], dtype=torch.float64)
    v1, v2 = float(g.scales[0, 0].double()) ** 2, float(g.scales[0, 1].double()) ** 2
    a = float(g.angles[0])
    axis = torch.tensor([math.cos(a), math.sin(a)], dtype=torch.float64)
    torch.testing.assert_close(matrix @ axis, v1 * axis, rtol=1e-9, atol=1e-9 * max(v1, v2))
    assert sxx + syy == pytest.approx(v1 + v2, rel=1e-9)
    assert sxx * syy - sxy**2 == pytest.approx(v1 * v2, rel=1e-5, abs=1e-7 * max(v1, v2) ** 2)


def test_covariance_of_cholesky():
    factor = torch.tensor([[2.0, -0.5, 0.25], [-1.0, 3.0, 0.0]])
    g = make(2, scales=None, angles=None, cholesky=factor)
    lower = torch.zeros(2, 2, 2, dtype=torch.float64)
    lower[:, 0, 0], lower[:, 1, 0], lower[:, 1, 1] = factor.double().unbind(1)
    full = lower @ lower.mT
    expected = torch.stack([full[:, 0, 0], full[:, 0, 1], full[:, 1, 1]], 1)
    torch.testing.assert_close(g.covariance(), expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_named(bad):
    colors = torch.rand(4, 3)
    colors[2, 1] = bad
    with pytest.raises(ValueError, match=r"colors: 1 values are NaN or infinite \(Gaussians \[2\]"):
        make(colors=colors).check_finite()
    make().check_finite()


def test_detach_and_move_keep_everything():
    means = torch.rand(4, 2, requires_grad=True)
    g = make(means=means, opacities=torch.rand(4), compat=frozenset({"tiles_3sigma"}))
    moved = g.detach().to("cpu")
    assert not moved.means.requires_grad
    assert list(moved.tensors()) == ["means", "scales", "angles", "colors", "opacities"]
    assert (moved.size, moved.blend, moved.compat) == (g.size, g.blend, g.compat)
    assert len(moved) == 4


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf, math.nan])
def test_gamma_is_positive(gamma):
    with pytest.raises(ValueError, match="gamma"):
        make(gamma=gamma)


STRETCHES = [(16, 18), (8, 18), (4, 27), (80, 9), (1, 1)]


@pytest.mark.parametrize("form", ["scales", "cholesky"])
@pytest.mark.parametrize("size", STRETCHES)
def test_resized_stretches_the_plane(form, size):
    """Means times (x, y), covariances D S D with D = diag(x, y)."""
    torch.manual_seed(0)
    g = make(50, scales=torch.rand(50, 2) * 5 + 0.01, angles=torch.rand(50) * 7)
    if form == "cholesky":
        g = make(50, means=g.means, colors=g.colors, scales=None, angles=None, cholesky=torch.randn(50, 3))
    large = g.resized(size)
    y, x = size[0] / 8, size[1] / 9
    assert large.size == size
    torch.testing.assert_close(large.means, g.means * torch.tensor([x, y]))
    torch.testing.assert_close(large.covariance(), g.covariance() * torch.tensor([x * x, x * y, y * y]), rtol=1e-5,
                               atol=1e-6)  # fmt: skip
    assert torch.equal(large.colors, g.colors)


def test_resized_keeps_thin_gaussians():
    """A needle of 1e-4 x 100 px: its determinant would drown in the squares."""
    g = make(1, means=torch.zeros(1, 2), scales=torch.tensor([[100.0, 1e-4]]), angles=torch.tensor([0.6]),
             colors=torch.ones(1, 3))  # fmt: skip
    l11, _, l22 = g.resized((16, 9)).cholesky[0].tolist()
    assert abs(l11 * l22) == pytest.approx(100 * 1e-4 * 2, rel=1e-3)


def test_resized_by_a_ratio():
    g = make()
    large = g.resized(2.0)
    assert large.size == (16, 18) and torch.equal(large.scales, 2 * g.scales) and torch.equal(large.angles, g.angles)
    assert g.resized(0.01).size == (1, 1)
    assert g.resized(1.5).size == (12, 14)  # 13.5 columns become 14: the ratios differ, and axes with them
    assert g.resized(1.5).cholesky is not None
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="ratio above 0"):
            g.resized(bad)
    with pytest.raises(ValueError, match="size"):
        g.resized((0, 4))


@pytest.mark.parametrize("blend", ["sum", "topk", "alpha"])
@pytest.mark.parametrize("size", [(24, 27), (24, 45)])
def test_a_resized_picture_shows_the_same_at_the_same_places(blend, size):
    """At odd ratios every old pixel centre is the centre of a new pixel."""
    torch.manual_seed(1)
    means = torch.rand(30, 2) * torch.tensor([9.0, 8.0])
    g = make(30, means=means, scales=torch.rand(30, 2) * 2 + 0.4, angles=torch.rand(30) * 3, colors=torch.rand(30, 3),
             opacities=torch.rand(30) if blend == "alpha" else None, blend=blend)  # fmt: skip
    y, x = size[0] // 8, size[1] // 9
    torch.testing.assert_close(render(g.resized(size))[y // 2 :: y, x // 2 :: x], render(g), atol=1e-4, rtol=0)

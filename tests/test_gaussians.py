from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splatbench.gaussians import Gaussians2D


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

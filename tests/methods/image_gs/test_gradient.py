"""Gradients against the closed form, check values computed in float64, and where parameters are extreme."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splatbench.fitting import published_gradient
from splatbench.render import covariance_from_scales, rasterize_topk

#: Three Gaussians on 8 x 8 pixels, in the units and with the convention of the released code: positions in units of
#: the sides, pixels sampled at integers, angles from y to x.
POSITIONS = [[0.30, 0.25], [0.62, 0.55], [0.50, 0.90]]
SCALES = [[2.0, 1.0], [1.5, 3.0], [0.8, 0.8]]
ANGLES = [0.4, -0.9, 0.0]
COLORS = [[0.9, 0.1, 0.2], [0.2, 0.7, 0.4], [-0.1, 0.3, 1.1]]
WEIGHTS = ((torch.arange(192) % 7 - 3) / 10).reshape(3, 8, 8).permute(1, 2, 0)


def upstream(scales, angle, g_conic):
    """The published chain from the gradient by the conic (A, B, C) to that by scales and angle, in float64: gB for
    gB / 2 off the diagonal, and what is off the diagonal of V twice. Angles from y to x."""
    (sx, sy), c, s = scales, math.cos(angle), math.sin(angle)
    rotation = np.array([[c, s], [-s, c]])
    conic = np.linalg.inv(rotation @ np.diag([sx**2, sy**2]) @ rotation.T)
    ga, gb, gc = g_conic
    v = -conic @ np.array([[ga, gb], [gb, gc]]) @ conic
    g11, g12, g22 = v[0, 0], 2 * (v[0, 1] + v[1, 0]), v[1, 1]
    return (
        2 * sx * (c * c * g11 - s * c * g12 + s * s * g22),
        2 * sy * (s * s * g11 + s * c * g12 + c * c * g22),
        (sy**2 - sx**2) * (2 * s * c * g11 + (c * c - s * s) * g12 - 2 * s * c * g22),
    )


def through_our_code(part, scales, angle, g_conic, published):
    """The same by `published_gradient`: a loss that is linear in the conic."""
    s = torch.tensor([scales], requires_grad=True, dtype=torch.float32)
    a = torch.tensor([-angle], requires_grad=True, dtype=torch.float32)
    covariance = covariance_from_scales(s, a)
    if published:
        covariance = published_gradient(covariance)
    xx, xy, yy = covariance[0]
    det = xx * yy - xy * xy
    (g_conic[0] * yy / det - g_conic[1] * xy / det + g_conic[2] * xx / det).backward()
    return (*s.grad[0].tolist(), -a.grad[0].item())


def test_the_worked_example(part):
    exact = through_our_code(part, (5.0, 2.0), 0.3, (1, 1, 1), published=False)
    assert exact == pytest.approx((-0.011483, -0.320580, 0.173320), abs=2e-6)
    published = through_our_code(part, (5.0, 2.0), 0.3, (1, 1, 1), published=True)
    assert published == pytest.approx((0.186274, -0.468456, 1.532963), abs=2e-6)


@given(
    sx=st.floats(0.3, 30), sy=st.floats(0.3, 30), angle=st.floats(-7, 7),
    g=st.tuples(*[st.floats(-1, 1)] * 3),
)  # fmt: skip
def test_published_gradient_is_the_published_formula(part, sx, sy, angle, g):
    sx, sy, angle = (float(np.float32(x)) for x in (sx, sy, angle))
    expected = upstream((sx, sy), angle, g)
    got = through_our_code(part, (sx, sy), angle, g, published=True)
    # The published angle sees conic gradients of up to max^2 / min^2 times itself, which cancel.
    scale = max(abs(x) for x in upstream((sx, sy), 0.7, (1, 1, 1))) + max(sx, sy) ** 3 / min(sx, sy) ** 2 * 1e-3
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-5 * scale)


def test_at_angle_zero_the_published_angle_gradient_is_fourfold(part):
    g = (0.3, -0.7, 0.2)
    exact, published = (through_our_code(part, (4.0, 1.5), 0.0, g, flag) for flag in (False, True))
    assert published == pytest.approx((exact[0], exact[1], 4 * exact[2]), rel=1e-6)


@pytest.mark.parametrize(
    ("gradient", "scales", "angles"),
    [
        (
            "exact",
            [[0.260194, 0.548183], [-0.554003, -0.107104], [-0.183630, 0.162022]],
            [0.711854, -0.082525, 0.0],
        ),
        (
            "published",
            [[1.076809, -0.674720], [-0.544835, 0.174241], [-0.183630, 0.162022]],
            [2.376205, 0.033700, 0.0],
        ),
    ],
)
def test_check_values(method, part, gradient, scales, angles):
    """Through the model: inverse scales, angles from x to y, pixel centres at 0.5."""
    config = method.make_config({"kernels": "published", "gradient": gradient}).resolved()
    model = part("model").Model(config, (8, 8))
    parameters = {
        "positions": torch.tensor(POSITIONS) + 0.5 / 8,
        "scales": 1 / torch.tensor(SCALES),
        "angles": -torch.tensor(ANGLES)[:, None],
        "colors": torch.tensor(COLORS),
    }
    for value in parameters.values():
        value.requires_grad_(True)
    means, covariance, colors = model(parameters)
    a, b, c = (covariance[:, k] / (covariance[:, 0] * covariance[:, 2] - covariance[:, 1] ** 2) for k in (2, 1, 0))
    conics = torch.stack([a, -b, c], 1)
    expected = [[0.36373498, 0.26900853, 0.88626502], [0.23991076, 0.16230794, 0.31564479], [1.5625, 0, 1.5625]]
    torch.testing.assert_close(conics.float(), torch.tensor(expected), rtol=1e-6, atol=1e-7)

    picture = rasterize_topk(means, covariance, colors, (8, 8), compat=model.compat)
    corner, inner = picture[0, 0].tolist(), picture[5, 6].tolist()
    assert corner == pytest.approx([0.8915503, 0.1019795, 0.1996532], abs=1e-6)
    assert inner == pytest.approx([0.1996629, 0.6992967, 0.4008546], abs=1e-6)
    loss = (picture * WEIGHTS).sum()
    assert (picture.mean().item(), loss.item()) == pytest.approx((0.42049280, -0.37242808), abs=2e-6)
    loss.backward()

    def close(got, expected):
        torch.testing.assert_close(got, torch.tensor(expected), rtol=2e-5, atol=2e-6)

    close(parameters["positions"].grad, [[1.569671, 2.394400], [2.744663, 3.229897], [-2.464792, -0.625534]])
    close(
        parameters["colors"].grad,
        [[0.736684, 0.917918, 0.228774], [-1.252395, -1.484512, -0.554384], [0.218049, 0.368676, 0.226912]],
    )
    close(-parameters["scales"].grad / torch.tensor(SCALES) ** 2, scales)
    close(-parameters["angles"].grad[:, 0], angles)


def test_check_values_with_two_gaussians_a_pixel(method, part):
    config = method.make_config({"kernels": "published", "k": 2}).resolved()
    model = part("model").Model(config, (8, 8))
    means = torch.tensor(POSITIONS) * 8 + 0.5
    covariance = covariance_from_scales(torch.tensor(SCALES), -torch.tensor(ANGLES))
    rule = model.rule
    picture = rasterize_topk(means, covariance, torch.tensor(COLORS), (8, 8), k=rule.k, compat=rule.compat)
    assert picture[5, 6].tolist() == pytest.approx([0.1995733, 0.6993734, 0.4008803], abs=1e-6)
    assert (picture * WEIGHTS).sum().item() == pytest.approx(-0.37355009, abs=2e-6)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("inverse", [0.0, -0.0, 1e-38, -1e-30, 1e-12, -1e-4, 1e6])
def test_any_inverse_scale_keeps_gradients_finite(part, inverse, published):
    gradient = part("gradient")
    raw = torch.tensor([[inverse, 0.2], [0.2, 0.2]], requires_grad=True)
    angles = torch.tensor([0.3, 0.1], requires_grad=True)
    covariance = covariance_from_scales(gradient.reciprocal(raw), angles)
    if published:
        covariance = published_gradient(covariance)
    means = torch.tensor([[8.0, 8.0], [4.0, 9.0]], requires_grad=True)
    picture = rasterize_topk(means, covariance, torch.rand(2, 3), (16, 16))
    picture.square().sum().backward()
    for value in (raw, angles, means):
        assert torch.isfinite(value.grad).all()
    assert raw.grad[1].abs().min() > 0  # its neighbour is still drawn


def test_reciprocal(part):
    x = torch.tensor([0.25, -4.0, 0.0], requires_grad=True)
    y = part("gradient").reciprocal(x)
    assert y.tolist() == [4.0, -0.25, 2.0**30]
    y[:2].sum().backward()
    assert x.grad.tolist() == [-16.0, -0.0625, 0.0]

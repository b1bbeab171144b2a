"""Maps from parameters to covariances, and their gradients."""

from __future__ import annotations

import pytest
import torch

from splatbench.gaussians import Gaussians2D
from splatbench.render import covariance_from_cholesky, covariance_from_scales
from splatbench.render.covariance import _plain_cholesky, _plain_scales

N = 1000


def parameters():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return draw(N, 3), draw(N, 2), 3 * draw(N), draw(N, 3).double()


def test_values_are_those_of_gaussians2d():
    cholesky, scales, angles, _ = parameters()
    common = {"means": torch.zeros(N, 2), "colors": torch.zeros(N, 3), "size": (1, 1)}
    wanted = Gaussians2D(**common, cholesky=cholesky).covariance()
    torch.testing.assert_close(covariance_from_cholesky(cholesky), wanted, rtol=1e-14, atol=0)
    wanted = Gaussians2D(**common, scales=scales, angles=angles).covariance()
    torch.testing.assert_close(covariance_from_scales(scales, angles), wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("double", [False, True])
def test_gradients_are_those_of_autograd_in_float64(double):
    cholesky, scales, angles, weights = parameters()
    factor = torch.tensor([1.0, 2.0 if double else 1.0, 1.0], dtype=torch.float64)
    common = {"means": torch.zeros(N, 2), "colors": torch.zeros(N, 3), "size": (1, 1)}

    mine, wanted = cholesky.clone().requires_grad_(), cholesky.clone().requires_grad_()
    (covariance_from_cholesky(mine, double_offdiagonal_gradient=double) * weights).sum().backward()
    (Gaussians2D(**common, cholesky=wanted).covariance() * weights * factor).sum().backward()
    torch.testing.assert_close(mine.grad, wanted.grad, rtol=1e-6, atol=1e-6)

    mine = [v.clone().requires_grad_() for v in (scales, angles)]
    wanted = [v.clone().requires_grad_() for v in (scales, angles)]
    (covariance_from_scales(*mine, double_offdiagonal_gradient=double) * weights).sum().backward()
    (Gaussians2D(**common, scales=wanted[0], angles=wanted[1]).covariance() * weights * factor).sum().backward()
    for got, want in zip(mine, wanted, strict=True):
        torch.testing.assert_close(got.grad, want.grad, rtol=1e-6, atol=1e-6)


def elsewhere(cholesky, scales, angles, double):
    """Covariances as devices without kernels compute them."""
    return _plain_cholesky(cholesky, 2.0 if double else 1.0), _plain_scales(scales, angles, 2.0 if double else 1.0)


@pytest.mark.parametrize("double", [False, True])
def test_other_devices_compute_the_same(double):
    cholesky, scales, angles, weights = parameters()
    mine, others = ([v.clone().requires_grad_() for v in (cholesky, scales, angles)] for _ in range(2))
    here = (
        covariance_from_cholesky(mine[0], double_offdiagonal_gradient=double),
        covariance_from_scales(*mine[1:], double_offdiagonal_gradient=double),
    )
    for got, want in zip(here, elsewhere(*others, double), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-15)
        (got * weights).sum().backward()
        (want * weights).sum().backward()
    for got, want in zip(mine, others, strict=True):
        torch.testing.assert_close(got.grad, want.grad, rtol=1e-6, atol=1e-6)


def test_an_angle_turns_x_towards_y():
    covariance = covariance_from_scales(torch.tensor([[3.0, 1.0]]), torch.tensor([torch.pi / 4]))
    torch.testing.assert_close(covariance, torch.tensor([[5.0, 4.0, 5.0]], dtype=torch.float64), rtol=1e-6, atol=0)


def test_shapes_and_types_are_checked():
    with pytest.raises(ValueError, match="cholesky"):
        covariance_from_cholesky(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="float32"):
        covariance_from_cholesky(torch.zeros(3, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="angles"):
        covariance_from_scales(torch.zeros(3, 2), torch.zeros(3, 1))

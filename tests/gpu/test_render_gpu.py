"""The same results on a CUDA device as on the CPU: reference renderer, losses, Adan."""

from __future__ import annotations

import pytest
import torch

from splatbench.gaussians import Gaussians2D
from splatbench.losses import l1, mse
from splatbench.optim import Adan
from splatbench.render import covariance_from_cholesky, covariance_from_scales, iter_strips, rasterize_sum, render

pytestmark = pytest.mark.gpu
CAP = frozenset({"tile_cap_256"})


@pytest.fixture(scope="module")
def device():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return "cuda"


def inputs(n=700, size=(301, 83)):
    generator = torch.Generator().manual_seed(0)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    means = uniform(n, 2) * torch.tensor([size[1], size[0]])
    return means, uniform(n, 2) * 5 + 0.5, uniform(n) * 3, uniform(n, 3) - 0.5, size


def gradients(device, compat):
    means, scales, angles, colors, size = inputs()
    leaves = [v.to(device).requires_grad_() for v in (means, scales, angles, colors)]
    covariance = covariance_from_scales(leaves[1], leaves[2], double_offdiagonal_gradient=bool(compat))
    image = rasterize_sum(leaves[0], covariance, leaves[3], size, compat=compat)
    loss = mse(image, torch.full((*size, 3), 100, dtype=torch.uint8, device=device)) + l1(
        image, torch.zeros_like(image)
    )
    loss.backward()
    return [image.detach().cpu(), loss.detach().cpu(), *(v.grad.cpu() for v in leaves)]


@pytest.mark.parametrize("compat", [frozenset(), CAP])
def test_picture_loss_and_gradients(device, compat):
    cpu, cuda = gradients("cpu", compat), gradients(device, compat)
    # pairs at the cut may differ between float32 and float64: at most 1/255 of a colour at a few pixels
    image = (cpu[0] - cuda[0]).abs()
    assert image.max() < 4e-3 and (image > 1e-5).float().mean() < 1e-2
    for got, want in zip(cuda[1:], cpu[1:], strict=True):
        assert (got - want).norm() < 1e-3 * want.norm()


def test_render_and_strips(device):
    means, scales, angles, colors, size = inputs()
    g = Gaussians2D(means, colors, size, scales=scales, angles=angles)
    image = render(g.to(device))
    assert image.device.type == "cuda" and image.dtype == torch.float32
    assert (image.cpu() - render(g)).norm() < 1e-3 * image.norm()
    strips = list(iter_strips(g.to(device), rows=20))
    assert torch.equal(torch.cat([s for _, s in strips]), image) and [row for row, _ in strips] == [0, 256]


def test_cholesky(device):
    factor = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    results = []
    for where in ("cpu", device):
        leaf = factor.to(where).requires_grad_()
        covariance = covariance_from_cholesky(leaf, double_offdiagonal_gradient=True)
        (covariance * torch.arange(300, device=where).reshape(100, 3)).sum().backward()
        results.append((covariance.detach().cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-6)


def test_adan(device):
    gradients = torch.randn(20, 500, generator=torch.Generator().manual_seed(0))
    results = []
    for where in ("cpu", device):
        p = torch.ones(500, device=where, requires_grad=True)
        optimiser = Adan([p], lr=0.01, weight_decay=0.01)
        for g in gradients:
            p.grad = g.to(where)
            optimiser.step()
        results.append(p.detach().cpu())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)

"""Covariance maps in Triton against float64."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton, which PyTorch's CUDA builds bring")

from splatbench.render.gpu.covariance import covariance


def parameters(kind, shape, device):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(*shape, 3 if kind == "cholesky" else 2, generator=generator) * 5
    third = None if kind == "cholesky" else torch.randn(shape, generator=generator) * 4
    weights = torch.randn(*shape, 3, generator=generator, dtype=torch.float64)
    return first.to(device), None if third is None else third.to(device), weights.to(device)


def matrices(first, third):
    """[..., 2, 2] as products of matrices."""
    zero = torch.zeros_like(first[..., 0])
    if third is None:
        root = torch.stack([first[..., 0], zero, first[..., 1], first[..., 2]], -1)
    else:
        c, s = torch.cos(third), torch.sin(third)
        root = torch.stack([c * first[..., 0], -s * first[..., 1], s * first[..., 0], c * first[..., 1]], -1)
    root = root.unflatten(-1, (2, 2))
    return root @ root.transpose(-1, -2)


@pytest.mark.parametrize("kind", ["cholesky", "scales"])
@pytest.mark.parametrize("double", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(150,), (2, 30), (0,)])
def test_values_and_gradients(triton_device, kind, double, shape):
    first, third, weights = parameters(kind, shape, triton_device)
    leaves = [v.requires_grad_() for v in (first, third) if v is not None]
    got = covariance(first, third, double)
    got.backward(weights)
    doubles = [v.detach().double().requires_grad_() for v in leaves]
    want = matrices(doubles[0], doubles[1] if third is not None else None)
    want = torch.stack([want[..., 0, 0], want[..., 0, 1], want[..., 1, 1]], -1)
    assert got.dtype == torch.float64 and got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)
    want.backward(weights * weights.new_tensor([1.0, double, 1.0]))
    for leaf, exact in zip(leaves, doubles, strict=True):
        torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=1e-6, atol=1e-6)


def test_a_needle_keeps_its_determinant(triton_device):
    """In float32 the determinant of this one is noise."""
    scales = torch.tensor([[200.0, 0.01]], device=triton_device)
    angle = torch.tensor([0.7], device=triton_device)
    ((xx, xy, yy),) = covariance(scales, angle, 1.0).tolist()
    assert xx * yy - xy * xy == pytest.approx(float(scales[0, 0] * scales[0, 1]) ** 2, rel=1e-5)


def test_other_devices_are_refused():
    with pytest.raises(ValueError, match="CUDA"):
        covariance(torch.zeros(2, 3, device="meta"), None, 1.0)

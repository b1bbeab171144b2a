"""The same pictures and gradients on a CUDA device as on the CPU, at real sizes; the same bits; in graphs."""

from __future__ import annotations

import pytest
import torch

from splatbench.gaussians import Gaussians2D
from splatbench.render import (
    covariance_from_cholesky,
    covariance_from_scales,
    iter_strips,
    rasterize_sum,
    rasterize_topk,
    render,
)

pytestmark = pytest.mark.gpu
EXACT, THREE_SIGMA, CAP = frozenset(), frozenset({"tiles_3sigma"}), frozenset({"tile_cap_256"})
KODAK = (512, 768)


@pytest.fixture(scope="module")
def device():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    pytest.importorskip("triton")
    return "cuda"


def scene(n, size, largest=5.0, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    uniform = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    means = uniform(n, 2) * torch.tensor([size[1], size[0]])
    covariance = covariance_from_scales(uniform(n, 2) * largest + 0.5, uniform(n) * 3)
    return means, covariance, uniform(n, channels) - 0.5


def evaluate(draw, values, size, device, **settings):
    """Picture and gradients of a made-up loss, on the CPU."""
    leaves = [v.detach().clone().to(device).requires_grad_() for v in values]
    image = draw(*leaves, size, **settings)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).to(device)
    (image * weights).sum().backward()
    return [image.detach().cpu(), *(v.grad.cpu() for v in leaves)]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("draw", "settings"),
    [
        (rasterize_sum, {"compat": EXACT}),
        (rasterize_sum, {"compat": THREE_SIGMA}),
        (rasterize_sum, {"compat": CAP}),
        (rasterize_topk, {}),
        (rasterize_topk, {"k": 3, "min_response": 0.01}),
        (rasterize_topk, {"compat": THREE_SIGMA}),
    ],
)
@pytest.mark.parametrize(
    ("n", "size", "largest", "channels"),
    [(700, (301, 83), 5.0, 3), (28_000, KODAK, 3.0, 3), (3000, (64, 80), 8.0, 1), (40, (701, 1023), 200.0, 3)],
)
def test_pictures_and_gradients_of_the_cpu(draw, settings, n, size, largest, channels, device):
    values = scene(n, size, largest, channels)
    cpu, cuda = evaluate(draw, values, size, "cpu", **settings), evaluate(draw, values, size, device, **settings)
    # pairs at the cut, and neighbours in rank, are decided by rounding: a few pixels may differ by one weight
    difference, scale = (cpu[0] - cuda[0]).abs(), cpu[0].abs().max()
    assert (difference > 2e-5 * scale).float().mean() < 2e-3
    assert difference.max() < 1e-2 * scale
    for got, want in zip(cuda[1:], cpu[1:], strict=True):
        assert (got - want).norm() < 2e-3 * want.norm()


@pytest.mark.parametrize("draw", [rasterize_sum, rasterize_topk])
def test_the_same_bits_every_time(draw, device):
    values = scene(28_000, KODAK, 3.0)
    values[1][::500] *= 400  # some of them large
    first = evaluate(draw, values, KODAK, device)
    assert all(same(first, evaluate(draw, values, KODAK, device)) for _ in range(5))


@pytest.mark.parametrize("draw", [rasterize_sum, rasterize_topk])
def test_lists_change_time_alone(draw, device, monkeypatch):
    from splatbench.render.gpu import plan

    values = scene(5000, (300, 400), 6.0)
    wanted = evaluate(draw, values, (300, 400), device)
    monkeypatch.setattr(plan, "ENTRIES", 0)
    assert same(evaluate(draw, values, (300, 400), device), wanted)


@pytest.mark.parametrize("draw", [rasterize_sum, rasterize_topk])
def test_a_batch_is_its_pictures(draw, device):
    size, scenes = (96, 130), [scene(900, (96, 130), seed=s) for s in range(5)]
    scenes[2][0][500:] = torch.nan
    leaves = [torch.stack(v).to(device).requires_grad_() for v in zip(*scenes, strict=True)]
    weights = torch.randn(5, *size, 3, device=device)
    batch = draw(*leaves, size)
    (batch * weights).sum().backward()
    for b, values in enumerate(scenes):
        alone = [v.to(device).requires_grad_() for v in values]
        image = draw(*alone, size)
        (image * weights[b]).sum().backward()
        assert torch.equal(image, batch[b])
        assert same([v.grad for v in alone], [v.grad[b] for v in leaves])


@pytest.mark.parametrize("blend", ["sum", "topk"])
def test_a_graph_repeats_what_was_captured(blend, device):
    """With new values in the same tensors, bit for bit; and without a synchronisation while it is captured or not."""
    from splatbench.render.gpu import Workspace

    scenes = [[v.to(device) for v in scene(20_000, KODAK, 3.0, seed=s)] for s in (0, 1)]
    inputs = [v.clone() for v in scenes[0]]
    out, grad = torch.empty(*KODAK, 3, device=device), torch.randn(*KODAK, 3, device=device)
    gradients = [torch.empty_like(v) for v in inputs]
    workspace = Workspace(20_000, KODAK, 3, device=device, blend=blend)

    def step():
        workspace.forward(*inputs, out)
        workspace.backward(grad, *gradients)

    step()  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for values in (scenes[1], scenes[0]):
        for mine, new in zip(inputs, values, strict=True):
            mine.copy_(new)
        for v in (out, *gradients):
            v.fill_(torch.nan)
        graph.replay()
        replayed = [v.clone() for v in (out, *gradients)]
        step()
        assert same(replayed, [out, *gradients])
        assert out.isfinite().all() and gradients[0].any()


def test_render_and_strips(device):
    size = 301, 83
    generator = torch.Generator().manual_seed(0)
    means, scales = torch.rand(700, 2, generator=generator) * 80, torch.rand(700, 2, generator=generator) * 5 + 0.5
    angles, colors = torch.rand(700, generator=generator), torch.rand(700, 3, generator=generator)
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

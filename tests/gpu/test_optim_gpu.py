"""Steps of Adam and Adan on a CUDA device: the CPU's numbers, no waiting, and in a graph."""

from __future__ import annotations

import pytest
import torch

from splatbench.optim import Adam, Adan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

MAKE = {
    "Adan": lambda p: Adan(p, lr=0.01, weight_decay=0.02),
    "Adam": lambda p: Adam(p, lr=0.01),
    "AdamW": lambda p: Adam(p, lr=0.01, weight_decay=0.05, decoupled_weight_decay=True),
}
SHAPES = (28_000, 2), (28_000, 3), (70_001,), (1,)


def twins():
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=generator) for shape in SHAPES]
    gradients = [[torch.randn(shape, generator=generator) for shape in SHAPES] for _ in range(12)]
    return [s.clone().requires_grad_() for s in starts], [s.cuda().requires_grad_() for s in starts], gradients


@pytest.mark.parametrize("name", MAKE)
def test_steps_are_those_of_the_cpu_also_from_a_graph(name):
    from splatbench.optim_gpu import DeviceOptimiser

    ours, theirs, gradients = twins()
    cpu, other = MAKE[name](ours), MAKE[name](theirs)
    device = DeviceOptimiser(other)
    for q in theirs:
        q.grad = torch.zeros_like(q)
    graph = None
    for i, step in enumerate(gradients):
        if i == 8:
            for o in (cpu, other):
                o.param_groups[0]["lr"] = 0.003
            device.refresh()
        for p, q, g in zip(ours, theirs, step, strict=True):
            p.grad = g
            q.grad.copy_(g)
        cpu.step()
        if i < 3:
            device.step()
            continue
        if graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                device.step()
        graph.replay()
    assert device.steps == len(gradients)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(q.detach().cpu(), p.detach(), rtol=5e-6, atol=5e-6)


def test_nobody_waits():
    from splatbench.optim_gpu import DeviceOptimiser

    _, theirs, gradients = twins()
    device = DeviceOptimiser(MAKE["Adan"](theirs))
    for q, g in zip(theirs, gradients[0], strict=True):
        q.grad = g.cuda()
    device.step()  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        device.optimiser.param_groups[0]["lr"] = 0.1
        device.refresh()
        device.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert device.steps == 2

"""What is measured on a CUDA device alone: the launches without autograd, recorded in CUDA graphs, as fits use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.scenes import Scene
from benchmarks.timing import NotAvailable
from splatbench.losses import Objective
from splatbench.optim import Adam, Adan
from splatbench.render import covariance_from_cholesky

Optimiser = type[Adam] | type[Adan]


def recorded(function: Callable[[], object]) -> Callable[[], object]:
    """`function` as one launch of a CUDA graph: its time on the device, without that of the host's launches."""
    current, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):  # kernels are compiled before the recording
        for _ in range(3):
            function()
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    replay: Callable[[], object] = graph.replay
    return replay


def needs_triton() -> None:
    """Raises NotAvailable where there is no Triton; it comes with torch's builds for CUDA."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        raise NotAvailable(f"{error}: install a torch with CUDA") from error


def forward(scene: Scene, blend: str, settings: dict[str, Any]) -> Callable[[], object]:
    """Binning and drawing of a scene."""
    draw, _ = drawing(scene, blend, settings)
    return recorded(draw)


def backward(scene: Scene, blend: str, settings: dict[str, Any]) -> Callable[[], object]:
    """Gradients of a scene that is drawn once."""
    draw, differentiate = drawing(scene, blend, settings)
    draw()
    return recorded(differentiate)


def drawing(scene: Scene, blend: str, settings: dict[str, Any]) -> tuple[Callable[[], object], Callable[[], object]]:
    """The launches of both directions, in buffers of their own."""
    needs_triton()
    from splatbench.render.gpu import Workspace

    workspace = Workspace(scene.count, scene.size, 3, device=scene.means.device, blend=blend, **settings)
    inputs = scene.means, covariance_from_cholesky(scene.factors).detach(), scene.colors
    image = torch.empty(scene.target.shape, device=scene.means.device)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).to(image)
    gradients = [torch.empty_like(x) for x in inputs]
    return lambda: workspace.forward(*inputs, image), lambda: workspace.backward(weights, *gradients)


def optimise(scene: Scene, make: Optimiser) -> Callable[[], object]:
    """A step over all parameters in one launch."""
    needs_triton()
    from splatbench.optim_gpu import DeviceOptimiser

    parameters = [x.clone().requires_grad_() for x in (scene.means, scene.factors, scene.colors)]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    return recorded(DeviceOptimiser(make(parameters, lr=0.0)).step)


def captured_step(scene: Scene, objective: Objective, make: Optimiser) -> Callable[[], object]:
    """A whole step, repeated from a CUDA graph."""
    from splatbench.graph import CapturedStep

    step = CapturedStep(launched_step(scene, objective, make))
    while not (step.captured or step.failure):
        step()
    if step.failure:
        raise NotAvailable(f"the step could not be recorded: {step.failure}")
    return step


def launched_step(scene: Scene, objective: Objective, make: Optimiser) -> Callable[[], torch.Tensor]:
    """A whole step, its kernels launched one by one."""
    needs_triton()
    from splatbench.fitting import Activation, FitStep, Parametrisation

    plain = Activation()
    parameters = [x.clone().contiguous() for x in (scene.means, scene.factors, scene.colors)]
    meaning = Parametrisation((plain, plain), (plain, plain, plain))
    return FitStep(parameters, meaning, scene.target, objective, make(parameters, lr=0.0))

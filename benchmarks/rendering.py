"""Cases of the renderer: blends `sum` and `topk`, forward and backward, and the maps to covariances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import on_gpu, work
from benchmarks.scenes import Scene, coverage
from benchmarks.timing import Case
from splatbench.gaussians import MIN_WEIGHT
from splatbench.render import covariance_from_cholesky, covariance_from_scales, rasterize_sum, rasterize_topk
from splatbench.render.reference import rasterize_sum_reference
from splatbench.render.reference_topk import rasterize_topk_reference

OURS, REFERENCE, TORCH = "splatbench", "float64 reference", "torch"
_LEAST_RESPONSE = 1e-6
Draw = Callable[[Tensor, Tensor, Tensor], Tensor]
Build = Callable[[], Callable[[], object]]


def leaves(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Means, covariances and colours that want gradients."""
    covariance = covariance_from_cholesky(scene.factors)
    return tuple(x.detach().clone().requires_grad_() for x in (scene.means, covariance, scene.colors))  # type: ignore[return-value]


def forward(scene: Scene, make: Callable[[], Draw]) -> Callable[[], object]:
    """Draws, without a graph."""
    draw = make()
    inputs = tuple(x.detach() for x in leaves(scene))
    return lambda: draw(*inputs)


def backward(scene: Scene, make: Callable[[], Draw]) -> Callable[[], object]:
    """Gradients of a picture that is drawn once."""
    inputs = leaves(scene)
    image = make()(*inputs)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(image.shape, generator=generator).to(image)
    return lambda: torch.autograd.grad(image, inputs, weights, retain_graph=True)


_SETTINGS: dict[str, dict[str, Any]] = {"sum": {}, "topk": {"k": 10, "min_response": _LEAST_RESPONSE}}
_FUNCTIONS = {"sum": rasterize_sum, "topk": rasterize_topk}
_EXACT = {"sum": rasterize_sum_reference, "topk": rasterize_topk_reference}


def _drawn_by(functions: dict[str, Any], blend: str, scene: Scene) -> Draw:
    def draw(means: Tensor, covariance: Tensor, colors: Tensor) -> Tensor:
        image: Tensor = functions[blend](means, covariance, colors, scene.size, **_SETTINGS[blend])
        return image

    if scene.means.is_cuda and functions is _FUNCTIONS:
        on_gpu.needs_triton()  # without, the library would draw with its reference
    return draw


def _implementations(scene: Scene, blend: str, exact: bool) -> Iterator[tuple[str, Build, Build]]:
    """(whose, forward, backward)."""
    ours, theirs = (partial(_drawn_by, functions, blend, scene) for functions in (_FUNCTIONS, _EXACT))
    autograd = OURS
    if scene.means.is_cuda:
        autograd = f"{OURS}, autograd"
        launched = scene, blend, _SETTINGS[blend]
        yield OURS, partial(on_gpu.forward, *launched), partial(on_gpu.backward, *launched)
    yield autograd, partial(forward, scene, ours), partial(backward, scene, ours)
    if exact:
        yield REFERENCE, partial(forward, scene, theirs), partial(backward, scene, theirs)


def rendering_cases(scene: Scene, exact: bool) -> list[Case]:
    """`sum` and `topk`, forward and backward: the library and, where `exact`, its float64 reference."""
    seen = int(coverage(scene, MIN_WEIGHT).sum())
    answered = coverage(scene, _LEAST_RESPONSE)
    responses, chosen = int(answered.sum()), int(np.minimum(answered, _SETTINGS["topk"]["k"]).sum())
    size = scene.count, scene.target.numel()
    kinds = [
        ("sum", seen, work.draw(seen, *size), seen, work.differentiate(seen, *size)),
        ("topk", responses, work.draw_topk(responses, chosen, *size), chosen, work.differentiate_topk(chosen, *size)),
    ]
    cases = []
    for blend, drawn, there, differentiated, back in kinds:
        for whose, draw, differentiate in _implementations(scene, blend, exact):
            cases.append(Case(f"{blend} forward", whose, draw, there, drawn))
            cases.append(Case(f"{blend} backward", whose, differentiate, back, differentiated))
    return cases


def covariance_cases(scene: Scene) -> list[Case]:
    """Both maps, forward and backward: the library's and the same of torch operations under autograd."""
    n = scene.count
    scales, angles = scene.factors[:, [0, 2]].contiguous(), scene.factors[:, 1].contiguous()
    maps: list[tuple[str, tuple[Tensor, ...], Callable[..., Tensor], Callable[..., Tensor]]] = [
        ("covariance from Cholesky", (scene.factors,), covariance_from_cholesky, _torch_cholesky),
        ("covariance from scales", (scales, angles), covariance_from_scales, _torch_scales),
    ]
    cases = []
    for name, parameters, ours, theirs in maps:
        for whose, function in ((OURS, ours), (TORCH, theirs)):
            run = partial(_both_ways, function, parameters)
            cases.append(Case(f"{name}, both ways", whose, run, work.map_forward(n, 3) + work.map_backward(n, 3)))
    return cases


def _both_ways(function: Callable[..., Tensor], parameters: tuple[Tensor, ...]) -> Callable[[], object]:
    inputs = [p.clone().requires_grad_() for p in parameters]
    weights = torch.ones(len(inputs[0]), 3, dtype=torch.float64, device=inputs[0].device)
    return lambda: torch.autograd.grad(function(*inputs), inputs, weights)


def _torch_cholesky(factors: Tensor) -> Tensor:
    a, b, c = factors.double().unbind(1)
    return torch.stack([a * a, a * b, b * b + c * c], 1)


def _torch_scales(scales: Tensor, angles: Tensor) -> Tensor:
    v1, v2 = scales.double().square().unbind(1)
    cos, sin = torch.cos(angles.double()), torch.sin(angles.double())
    return torch.stack([cos * cos * v1 + sin * sin * v2, cos * sin * (v1 - v2), sin * sin * v1 + cos * cos * v2], 1)

"""Cases of other renderers: gsplat's image-fitting path, and those that a user names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.rendering import backward, forward, leaves
from benchmarks.scenes import Scene
from benchmarks.timing import Case, NotAvailable
from splatbench.render import covariance_from_cholesky, rasterize_sum

GSPLAT = "gsplat"
Renderer = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]


def load_renderer(spec: str) -> Renderer:
    """What `package.module:factory` or `path/to/file.py:factory` makes.

    factory() returns a function (means [N, 2], covariance [N, 3] float64, colors [N, 3], (H, W)) -> picture [H, W, 3],
    on the device of its inputs, differentiable by autograd; coordinates and covariances as in `splatbench.render`.

    Raises:
        ValueError: not of this form.
        NotAvailable: it cannot be imported or made; says why.
    """
    where, _, name = spec.rpartition(":")
    if not where or not name:
        raise ValueError(f"--other {spec}: expected package.module:factory or path/to/file.py:factory")
    try:
        if where.endswith(".py"):
            sys.path.insert(0, str(Path(where).resolve().parent))
            where = Path(where).stem
        made: Renderer = getattr(importlib.import_module(where), name)()
    except Exception as error:  # foreign code fails in its own ways, and must not stop the others
        raise NotAvailable(f"{type(error).__name__}: {error}") from error
    return made


def other_cases(scene: Scene, spec: str, pairs: int) -> list[Case]:
    """A renderer that the user names, drawing the same Gaussians; the note says how far its picture is from ours."""
    name = spec.rpartition(":")[0].rpartition("/")[2]
    try:
        renderer = load_renderer(spec)
        note = _difference(scene, renderer)
    except NotAvailable as reason:
        return [Case("sum forward", name, partial(_refuse, str(reason)))]

    def make() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        return lambda means, covariance, colors: renderer(means, covariance, colors, scene.size)

    return [
        Case("sum forward", name, partial(forward, scene, make), pairs=pairs, note=note),
        Case("sum backward", name, partial(backward, scene, make), pairs=pairs, note=note),
    ]


def _difference(scene: Scene, renderer: Renderer) -> str:
    means, covariance, colors = (x.detach() for x in leaves(scene))
    try:
        theirs = renderer(means, covariance, colors, scene.size)
    except Exception as error:
        raise NotAvailable(f"{type(error).__name__}: {error}") from error
    square = (theirs - rasterize_sum(means, covariance, colors, scene.size)).square().mean().item()
    return f"its picture differs from splatbench's by {square**0.5:.1e} RMS"


def _refuse(reason: str) -> Callable[[], object]:
    raise NotAvailable(reason)


def gsplat_cases(scene: Scene, pairs: int) -> list[Case]:
    """gsplat as in its own image-fitting example (alpha compositing, L2, Adam), with Gaussians of the same outlines."""
    return [
        Case(
            kernel, GSPLAT, partial(build, scene), pairs=count, note="alpha compositing; stops where a pixel is opaque"
        )
        for kernel, build, count in (
            ("sum forward", _gsplat_forward, pairs),
            ("sum backward", _gsplat_backward, pairs),
            ("step L2, Adan", _gsplat_step, 2 * pairs),
        )
    ]


def _gsplat(scene: Scene) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The renderer, and leaves: means, rotations, scales, opacities, colours."""
    if not scene.means.is_cuda:
        raise NotAvailable("gsplat draws on CUDA devices alone")
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise NotAvailable(f"{error}: pip install gsplat") from error
    height, width = scene.size
    view = torch.eye(4, device="cuda")[None]
    view[0, 2, 3] = 8.0
    camera = torch.eye(3, device="cuda")[None]  # orthographic: a unit is a pixel

    def draw(means: Tensor, turns: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor) -> Tensor:
        turns = turns / turns.norm(dim=-1, keepdim=True)
        shown = torch.sigmoid(opacities), torch.sigmoid(colors)
        settings: dict[str, Any] = {"packed": False, "camera_model": "ortho", "eps2d": 0.0}
        picture: Tensor = rasterization(means, turns, scales, *shown, view, camera, width, height, **settings)[0][0]
        return picture

    return draw, [x.requires_grad_() for x in _in_space(scene)]


def _in_space(scene: Scene) -> list[Tensor]:
    """The same Gaussians, flat, in the plane that the camera looks at."""
    xx, xy, yy = covariance_from_cholesky(scene.factors).unbind(1)
    matrices = torch.stack([xx, xy, xy, yy], 1).reshape(-1, 2, 2)
    variances, axes = torch.linalg.eigh(matrices)
    half = torch.atan2(axes[:, 1, 0], axes[:, 0, 0]) / 2
    zero, one = torch.zeros_like(half), torch.ones_like(half)
    turns = torch.stack([half.cos(), zero, zero, half.sin()], 1)
    scales = torch.cat([variances.sqrt(), 1e-3 * one[:, None]], 1)
    means = torch.cat([scene.means, torch.zeros_like(scene.means[:, :1])], 1)
    return [means, turns.float(), scales.float(), one.float(), scene.colors.clone()]


def _gsplat_forward(scene: Scene) -> Callable[[], object]:
    draw, inputs = _gsplat(scene)
    inputs = [x.detach() for x in inputs]
    return lambda: draw(*inputs)


def _gsplat_backward(scene: Scene) -> Callable[[], object]:
    draw, inputs = _gsplat(scene)
    image = draw(*inputs)
    weights = torch.randn_like(image)
    return lambda: torch.autograd.grad(image, inputs, weights, retain_graph=True)


def _gsplat_step(scene: Scene) -> Callable[[], object]:
    draw, inputs = _gsplat(scene)
    optimiser = torch.optim.Adam(inputs, lr=0.0)
    target = scene.target.float() / 255

    def step() -> None:
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(draw(*inputs), target).backward()
        optimiser.step()

    return step

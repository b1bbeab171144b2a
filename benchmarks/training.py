"""Cases of losses, optimisers and whole fitting steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import on_gpu, work
from benchmarks.rendering import OURS, TORCH
from benchmarks.scenes import Scene
from benchmarks.timing import Case, NotAvailable
from splatbench import optim
from splatbench.losses import Objective
from splatbench.render import covariance_from_cholesky, rasterize_sum, render_loss

L2, L1_SSIM = Objective(l2=1.0), Objective(l1=0.7, ssim=0.3)
OBJECTIVES = {
    "L1": Objective(l1=1.0),
    "L2": L2,
    "L1 + SSIM (same)": L1_SSIM,
    "L1 + SSIM (valid)": Objective(l1=0.7, ssim=0.3, window="valid"),
}
MSSIM = "pytorch-msssim"
#: A whole step: its name, the objective, the optimiser.
STEPS = {"step L2, Adan": (L2, optim.Adan, work.adan), "step L1 + SSIM, Adam": (L1_SSIM, optim.Adam, work.adam)}


def loss_cases(scene: Scene) -> list[Case]:
    """Value and gradient of every objective, and of the same under torch's autograd where others have it."""
    image = torch.rand(scene.target.shape, generator=torch.Generator().manual_seed(2)).to(scene.target.device)
    cases = []
    for name, objective in OBJECTIVES.items():
        least = work.loss(scene.target.numel(), bool(objective.ssim))
        kinds: list[tuple[str, Callable[[], Callable[[Tensor], Tensor]]]] = [
            (OURS, partial(objective.against, scene.target))
        ]
        if not objective.ssim or objective.window == "valid":
            kinds.append((MSSIM if objective.ssim else TORCH, partial(torch_loss, objective, scene.target)))
        for whose, make in kinds:
            cases.append(Case(f"loss {name}", whose, partial(_gradient, make, image), least))
    return cases


def _gradient(make: Callable[[], Callable[[Tensor], Tensor]], image: Tensor) -> Callable[[], object]:
    loss, leaf = make(), image.clone().requires_grad_()
    return lambda: torch.autograd.grad(loss(leaf), leaf)


def torch_loss(objective: Objective, target: Tensor) -> Callable[[Tensor], Tensor]:
    """The objective as it is written without this library; SSIM by pytorch-msssim, whose window is "valid"."""
    wanted = target.float() / 255

    def differences(image: Tensor) -> Tensor:
        if objective.l2:
            return objective.l2 * torch.nn.functional.mse_loss(image, wanted)
        return objective.l1 * torch.nn.functional.l1_loss(image, wanted)

    if not objective.ssim:
        return differences
    try:
        from pytorch_msssim import ssim
    except ImportError as error:
        raise NotAvailable(f"{error}: pip install pytorch-msssim") from error
    planes = wanted.permute(2, 0, 1)[None].contiguous()

    def loss(image: Tensor) -> Tensor:
        similarity = ssim(image.permute(2, 0, 1)[None], planes, data_range=1.0)
        return differences(image) + objective.ssim * (1 - similarity)

    return loss


def optimiser_cases(scene: Scene) -> list[Case]:
    """A step of every optimiser over means, factors and colours."""
    count = 8 * scene.count
    own = on_gpu.optimise if scene.means.is_cuda else _optimise
    fused, foreach = partial(torch.optim.Adam, fused=True), partial(torch.optim.Adam, foreach=True)
    return [
        Case("Adam step", OURS, partial(own, scene, optim.Adam), work.adam(count)),
        Case("Adam step", "torch, fused", partial(_optimise, scene, fused), work.adam(count)),
        Case("Adam step", "torch, foreach", partial(_optimise, scene, foreach), work.adam(count)),
        Case("Adan step", OURS, partial(own, scene, optim.Adan), work.adan(count)),
    ]


def _optimise(scene: Scene, make: Callable[..., torch.optim.Optimizer]) -> Callable[[], object]:
    parameters = _parameters(scene)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    return make(parameters, lr=0.0).step


def _parameters(scene: Scene) -> list[Tensor]:
    return [x.clone().requires_grad_() for x in (scene.means, scene.factors, scene.colors)]


def step_cases(scene: Scene, pairs: int) -> list[Case]:
    """Whole fitting steps: covariance map, picture, loss, gradients, optimiser. The learning rate is 0, so that every
    step finds the same scene."""
    count, values = scene.count, scene.target.numel()
    cases = []
    for name, (objective, make, least) in STEPS.items():
        total = work.draw(pairs, count, values) + work.differentiate(pairs, count, values)
        total += work.loss(values, bool(objective.ssim)) + least(8 * count)
        total += work.map_forward(count, 3) + work.map_backward(count, 3)
        paths = _GPU_STEPS if scene.means.is_cuda else _CPU_STEPS
        for whose, path in paths.items():
            cases.append(Case(name, whose, partial(path, scene, objective, make), total, 2 * pairs))
    return cases


def whole_step(scene: Scene, objective: Objective, make: Callable[..., torch.optim.Optimizer]) -> Callable[[], object]:
    """A step that draws the picture, then compares it."""
    if scene.means.is_cuda:
        on_gpu.needs_triton()  # without, the library would draw with its reference
    target = objective.against(scene.target)

    def loss(means: Tensor, covariance: Tensor, colors: Tensor) -> Tensor:
        return target(rasterize_sum(means, covariance, colors, scene.size))

    return _step(scene, loss, make)


def strip_step(scene: Scene, objective: Objective, make: Callable[..., torch.optim.Optimizer]) -> Callable[[], object]:
    """A step that draws, compares and differentiates strip by strip."""
    return _step(scene, partial(render_loss, loss=objective.against(scene.target)), make)


def _step(
    scene: Scene, loss: Callable[..., Tensor], make: Callable[..., torch.optim.Optimizer]
) -> Callable[[], object]:
    means, factors, colors = parameters = _parameters(scene)
    optimiser = make(parameters, lr=0.0)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss(means, covariance_from_cholesky(factors), colors).backward()
        optimiser.step()

    return step


#: Ways to make a step; the first is the one that fits use.
_CPU_STEPS: dict[str, Callable[..., Callable[[], object]]] = {OURS: strip_step, f"{OURS}, picture whole": whole_step}
_GPU_STEPS: dict[str, Callable[..., Callable[[], object]]] = {
    OURS: on_gpu.captured_step,
    f"{OURS}, no graph": on_gpu.launched_step,
    f"{OURS}, autograd": whole_step,
}

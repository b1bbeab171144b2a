"""Predict-Optimize-Distill: a stage learns from its own predictions after a few steps of Adam (AIR, Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from splatbench.losses import Objective
from splatbench.optim import Adam

from ..patches import PatchGrid, activate
from ..stages import Drawing, Stage

#: The loss that the inner optimisation minimises (released code).
INNER = Objective(l1=0.7, ssim=0.3)


def refine(
    raw: Tensor,
    centres: Tensor,
    before: Tensor,
    target: Tensor,
    *,
    patch: int,
    steps: int,
    lr: float,
    drawing: Drawing,
    earlier: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, list[float]]:
    """Improves new Gaussians of one picture by Adam on their raw vectors, those of earlier stages standing still.

    A sum is additive, so what stands still is drawn once, in `before`: the same numbers as from drawing all Gaussians
    every time. Under the cap of 256 per tile that is not so, and `earlier` is needed.

    Args:
        raw: [n, 8] float32, where to start.
        centres: [n, 2] of their patches, samples at integers.
        before: [3, H, W], what earlier stages have drawn.
        target: [3, H, W] float32 in [0, 1].
        steps, lr: of Adam, from zero moments.
        earlier: raw vectors and centres of the Gaussians of earlier stages.

    Returns:
        [n, 8] after the last step, and the loss before each step.
    """
    size = int(target.shape[1]), int(target.shape[2])
    loss = INNER.against(target.permute(1, 2, 0).contiguous())
    value = raw.detach().clone().requires_grad_(True)
    optimiser = Adam([{"params": [value], "lr": lr}])
    base = before.detach().permute(1, 2, 0)
    losses = []
    for _ in range(steps):
        vectors, at = (value, centres) if earlier is None else (
            torch.cat([earlier[0].detach(), value]), torch.cat([earlier[1], centres]))  # fmt: skip
        drawn = drawing.one(activate(vectors, patch), at, size).permute(1, 2, 0)
        error = loss((drawn if earlier is not None else base + drawn).contiguous())
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        losses.append(float(error.detach()))
    return value.detach(), losses


def distillation(predicted: Tensor, refined: Tensor) -> Tensor:
    """Smooth L1 (beta 1) between the sigmoids of raw vectors [n, 8], the mean over rows and components; also for those
    components whose activation is a tanh (released code)."""
    return functional.smooth_l1_loss(torch.sigmoid(predicted), torch.sigmoid(refined.detach()))


class PodSettings(NamedTuple):
    """Of each stage the steps of the inner Adam and the weight of the loss, and Adam's learning rate for all."""

    steps: Sequence[int]
    lr: float
    weights: Sequence[float]


def pod_loss(
    stages: list[Stage], target: Tensor, patch: int, settings: PodSettings, drawing: Drawing
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum over stages of the mean over pictures of the distillation losses.

    Args:
        stages: of a batch, each from a detached picture of the one before.

    Returns:
        A scalar; and for the log, per stage, the inner loss at first and at last.
    """
    grid = PatchGrid(int(target.shape[2]), int(target.shape[3]), patch)
    centres = grid.centres(target.device)
    capped = "tile_cap_256" in drawing.compat
    total, log = target.new_zeros(()), {}
    for stage in stages:
        first, last = 0.0, 0.0
        for b, chosen in enumerate(stage.chosen):
            if not chosen.any():
                continue
            raw = stage.prediction.raw[b, chosen]
            earlier = _earlier(stages[: stage.index], b, centres) if capped and stage.index else None
            refined, losses = refine(
                raw,
                centres[chosen],
                stage.before[b],
                target[b],
                patch=patch,
                steps=settings.steps[stage.index],
                lr=settings.lr,
                drawing=drawing,
                earlier=earlier,
            )
            total = total + settings.weights[stage.index] * distillation(raw, refined) / len(target)
            first, last = first + losses[0] / len(target), last + losses[-1] / len(target)
        log |= {f"inner_first_{stage.index}": first, f"inner_last_{stage.index}": last}
    return total, log


def _earlier(stages: list[Stage], b: int, centres: Tensor) -> tuple[Tensor, Tensor]:
    raw = torch.cat([stage.prediction.raw[b, stage.chosen[b]] for stage in stages])
    at = torch.cat([centres[stage.chosen[b]] for stage in stages])
    return raw, at

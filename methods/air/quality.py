"""The fewest Gaussians for a wanted PSNR: thresholds of Stage Control by bisection, the last stage patch by patch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from splatbench.fitting import psnr
from splatbench.method import MethodError

from .control import StageControl, largest, patch_mse
from .patches import PatchGrid, activate
from .stages import Drawing, Stage, StageNetwork, run_stages

#: Thresholds of the patches are sought from so far below the wanted PSNR to so far above it, dB; to within the step.
_BELOW, _ABOVE, _STEP = 25.0, 25.0, 0.25


def reach(
    network: StageNetwork, target: Tensor, wanted: float, control: StageControl, drawing: Drawing, stages: int
) -> list[Stage]:
    """Stages that take one picture to a PSNR of `wanted` dB.

    All stages share one PSNR threshold; of the thresholds that reach the goal the lowest is taken, and in its last
    stage only the patches with the largest errors, as many as are needed. So the count is the least for thresholds of
    this kind, not over all sets of patches.

    Args:
        target: [1, 3, H, W].
        control: its limit and `when_none` are used, its thresholds are not.
        stages: at most so many.

    Returns:
        The stages; none where an empty canvas is as good as that.

    Raises:
        MethodError: not even all Gaussians of all stages, or as many as the limit allows, get there; names what they
            reach.
    """
    if score(torch.zeros_like(target), target) >= wanted:
        return []

    def run(threshold: float | None) -> list[Stage]:
        chain: list[Stage] = []
        for stage in run_stages(network, target, replace(control, psnr=threshold, ssim=None), drawing, stages):
            chain.append(stage)
            if score(stage.picture, target) >= wanted:
                break
        return chain

    best = run(None)
    if (reached := score(best[-1].picture, target)) < wanted:
        if control.most is not None:
            raise MethodError(f"{wanted:.4g} dB need more than {control.most} Gaussians, which reach {reached:.2f} dB")
        raise MethodError(
            f"{wanted:.4g} dB are beyond this network: all {len(best)} stages reach {reached:.2f} dB; ask for less, or "
            "take a network with smaller patches"
        )
    best = _trim(best, target, wanted, network.patch, drawing)
    low, high = wanted - _BELOW, wanted + _ABOVE
    while high - low > _STEP:
        middle = (low + high) / 2
        chain = run(middle)
        if chain and score(chain[-1].picture, target) >= wanted:
            high = middle
            chain = _trim(chain, target, wanted, network.patch, drawing)
            best = min(best, chain, key=_count)
        else:
            low = middle
    return best


def score(picture: Tensor, target: Tensor) -> float:
    """PSNR in dB of a picture, clamped to [0, 1]."""
    return psnr(float((picture.clamp(0, 1) - target).square().mean()))


def _count(chain: list[Stage]) -> int:
    return sum(int(stage.chosen.sum()) for stage in chain)


def _trim(chain: list[Stage], target: Tensor, wanted: float, patch: int, drawing: Drawing) -> list[Stage]:
    """The same, with as few patches in the last stage as still reach the goal: those with the largest errors before."""
    last = chain[-1]
    size = int(target.shape[2]), int(target.shape[3])
    grid = PatchGrid(*size, patch)
    error = patch_mse(grid.blocks(last.before), grid.blocks(target))

    def first(k: int) -> Stage:
        chosen = largest(error, last.chosen, torch.tensor([k], device=error.device))
        masks = [stage.chosen for stage in chain[:-1]] + [chosen]
        return replace(last, chosen=chosen, picture=_draw(chain, masks, grid, patch, drawing, size))

    low, high, best = 0, int(last.chosen.sum()), last
    while high - low > 1:
        middle = (low + high) // 2
        candidate = first(middle)
        if score(candidate.picture, target) >= wanted:
            high, best = middle, candidate
        else:
            low = middle
    return [*chain[:-1], best]


def _draw(
    chain: list[Stage], masks: list[Tensor], grid: PatchGrid, patch: int, drawing: Drawing, size: tuple[int, int]
) -> Tensor:
    centres = grid.centres(masks[0].device)
    last = chain[-1]
    if "tile_cap_256" not in drawing.compat:
        return last.before + drawing.picture(activate(last.prediction.raw, patch), centres, masks[-1], size)
    raw = torch.cat([stage.prediction.raw for stage in chain], 1)
    return drawing.picture(activate(raw, patch), centres.repeat(len(chain), 1), torch.cat(masks, 1), size)

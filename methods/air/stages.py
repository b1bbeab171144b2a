"""The chain of stages: predict from the residual, keep the active patches, draw, and hand on what is left to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from splatbench.render import covariance_from_scales, rasterize_sum

from .control import StageControl
from .patches import PatchGrid, Values, activate, means


@dataclass(frozen=True)
class Prediction:
    """What a network says at one stage.

    Attributes:
        raw: [B, L, 8] float32, of all patches.
        summary: [B, F] float32, of the whole picture, from which the quantiser takes its ranges.
        carry: what the network hands to its own next stage.
    """

    raw: Tensor
    summary: Tensor
    carry: Any = None


class StageNetwork(Protocol):
    """What the chain needs of a network.

    Attributes:
        patch: p in pixels.
        stages: how many.
        least_side: of pictures, in pixels.
    """

    patch: int
    stages: int
    least_side: int

    def predict(self, stage: int, residual: Tensor, target: Tensor, carry: Any) -> Prediction:
        """Stage `stage` (from 0) of pictures [B, 3, H, W]: the residual is `target` minus what has been drawn; `carry`
        is that of the stage before, None at first."""
        ...


@dataclass(frozen=True)
class Drawing:
    """How Gaussians become a picture.

    Attributes:
        stretch: the published W / (W - 1) stretch of positions.
        compat: flags of `Gaussians2D`. With the cap of 256 per tile a picture is not the sum of its stages.
        double_gradient: the released code counts the off-diagonal covariance gradient twice.
    """

    stretch: bool = False
    compat: frozenset[str] = frozenset()
    double_gradient: bool = False

    def picture(self, values: Values, centres: Tensor, chosen: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, 3, H, W] float32, not clamped.

        Args:
            values: [B, n, ...].
            centres: [n, 2] or [B, n, 2], samples at integers.
            chosen: bool [B, n]; the others are not drawn and get no gradient.
            size: (H, W).
        """
        each = centres.expand(len(chosen), *centres.shape[-2:])
        drawn = [self.one(values.select(b).select(mask), each[b, mask], size) for b, mask in enumerate(chosen)]
        return torch.stack(drawn)

    def one(self, values: Values, centres: Tensor, size: tuple[int, int]) -> Tensor:
        """[3, H, W] float32, not clamped, of one picture's values [n, ...] and centres [n, 2]."""
        at = means(values.offsets, centres, size, self.stretch)
        covariance = covariance_from_scales(
            values.scales, values.angles, double_offdiagonal_gradient=self.double_gradient
        )
        return rasterize_sum(at, covariance, values.colors.contiguous(), size, compat=self.compat).permute(2, 0, 1)


@dataclass(frozen=True)
class Stage:
    """One stage of a batch.

    Attributes:
        index: from 0.
        prediction: of the network.
        chosen: bool [B, L], the patches that got a Gaussian.
        before, picture: [B, 3, H, W], what is drawn without and with this stage.
    """

    index: int
    prediction: Prediction
    chosen: Tensor
    before: Tensor
    picture: Tensor


def run_stages(
    network: StageNetwork,
    target: Tensor,
    control: StageControl,
    drawing: Drawing,
    stages: int | None = None,
    detach: bool = False,
) -> Iterator[Stage]:
    """Runs the chain (AIR paper, Sec. 3.2), one stage at a time.

    A sum is additive: only the new Gaussians are drawn. Under the cap of 256 per tile all are drawn again.

    Args:
        target: [B, 3, H, W] float32 in [0, 1].
        stages: at most so many (default: all of the network).
        detach: no gradient passes from a stage to the ones before (as in POD).

    Yields:
        Stages; fewer than asked for where no patch of any picture is active any more.
    """
    size = int(target.shape[2]), int(target.shape[3])
    grid = PatchGrid(*size, network.patch)
    centres = grid.centres(target.device)
    picture, carry = torch.zeros_like(target), None
    kept: list[tuple[Tensor, Tensor]] = []
    for index in range(network.stages if stages is None else stages):
        chosen = control.active(picture.detach(), target, grid, sum(mask.sum(1) for _, mask in kept) if kept else None)
        if not chosen.any():
            return
        if detach:
            picture = picture.detach()
            carry = carry.detach() if isinstance(carry, Tensor) else carry
        before = picture
        prediction = network.predict(index, target - before, target, carry)
        carry = prediction.carry
        kept.append((prediction.raw, chosen))
        if "tile_cap_256" in drawing.compat:
            raw, masks = (torch.cat(parts, 1) for parts in zip(*kept, strict=True))
            picture = drawing.picture(activate(raw, network.patch), centres.repeat(len(kept), 1), masks, size)
        else:
            new = drawing.picture(activate(prediction.raw, network.patch), centres, chosen, size)
            picture = before + new
        yield Stage(index, prediction, chosen, before, picture)

"""The phases of AIR's training as tasks of the trainer: POD, rendering supervision, quantisation-aware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splatbench.training.errors import TrainingError
from splatbench.training.task import Task

from ..patches import PatchGrid, Values, activate
from ..quality import score
from ..quantiser import Base
from ..stages import Stage, run_stages
from .pod import PodSettings, pod_loss
from .rendering import RenderingLoss
from .settings import Settings
from .trainee import first_ranges, make_trainee


class AirTask(Task):
    """What all phases share: the model, Stage Control, validation, weights in and out."""

    def __init__(self, settings: Settings, phase: str, quantised: bool = False) -> None:
        self.settings, self.phase = settings, phase
        self.control, self.drawing = settings.control(), settings.how_to_draw()
        self.trainee = make_trainee(settings, quantised)
        self.model = self.trainee.module

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self.trainee.groups()

    @property
    def active(self) -> int:
        """Number of stages that run."""
        return self.settings.stages

    def stages(self, batch: Tensor, detach: bool = False) -> list[Stage]:
        return list(run_stages(self.trainee.network, batch, self.control, self.drawing, self.active, detach))

    @torch.no_grad()
    def validate(self, images: Sequence[np.ndarray]) -> dict[str, float]:
        """Mean PSNR in dB after each stage, and the mean number of Gaussians per patch."""
        sums: dict[str, float] = {}
        for image in images:
            target = torch.from_numpy(np.array(image)).to(next(self.model.parameters()).device)
            scores, per_patch = self._scores(target.permute(2, 0, 1)[None].float() / 255)
            for name, value in {**scores, "per_patch": per_patch}.items():
                sums[name] = sums.get(name, 0.0) + value / len(images)
        return sums

    def _scores(self, target: Tensor) -> tuple[dict[str, float], float]:
        chain = self.stages(target)
        scores: dict[str, float] = {}
        picture = torch.zeros_like(target)
        for index in range(self.active):
            if index < len(chain):  # else nothing was left to do
                picture = chain[index].picture
            scores[f"psnr_{index + 1}"] = score(picture, target)
        patches = len(PatchGrid(int(target.shape[2]), int(target.shape[3]), self.settings.patch))
        return scores, sum(int(stage.chosen.sum()) for stage in chain) / patches

    def initialise(self, path: Path) -> list[str]:
        """Takes over the network of an earlier phase, and its quantiser where this phase has one of the same kind."""
        source = path / self.trainee.weights_file if path.is_dir() else path
        try:
            return self.trainee.load(source)
        except ValueError as error:
            raise TrainingError(f"init: {error}") from None

    def export(self, folder: Path) -> None:
        self.trainee.save(folder / self.trainee.weights_file, {"phase": self.phase})


class PodTask(AirTask):
    """Predict, optimise, distil; stages join at milestones, each as a copy of the one before (AIR, Sec. 3.4)."""

    reached = 1

    @property
    def active(self) -> int:
        return self.reached

    def begin(self, step: int) -> Sequence[nn.Parameter]:
        milestones = self.settings.milestones
        self.reached = sum(step >= milestone for milestone in milestones)
        if step == 0 or step not in milestones:
            return ()
        return self.trainee.activate(milestones.index(step))

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        stages, settings = self.stages(batch, detach=True), self.settings
        weighted = PodSettings(settings.pod_steps, settings.pod_lr, settings.stage_weights)
        total, log = pod_loss(stages, batch, settings.patch, weighted, self.drawing)
        # With a gradient even where no patch of the batch is active.
        return settings.pod_scale * total + 0.0 * next(self.model.parameters()).sum(), log


class RenderTask(AirTask):
    """Rendering supervision of all stages at once, gradients flowing through everything (AIR, Sec. 3.5)."""

    def __init__(self, settings: Settings, phase: str, quantised: bool = False) -> None:
        super().__init__(settings, phase, quantised)
        self.rendering = RenderingLoss(settings.l1, settings.ssim, settings.log_mse)

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        return self._of(self.stages(batch), batch)

    def _of(self, chain: list[Stage], batch: Tensor) -> tuple[Tensor, dict[str, float | Tensor]]:
        # With a gradient even where no patch of the batch is active.
        total, log = 0.0 * next(self.model.parameters()).sum(), {}
        for stage in chain:
            value = self.rendering(stage.picture, batch)
            total = total + self.settings.stage_weights[stage.index] * value
            log[f"stage_{stage.index + 1}"] = value.detach()
        return total, log


class QuantiseTask(RenderTask):
    """The same, and the quantised final set beside it; the quantiser learns too (AIR, Sec. 3.6)."""

    def __init__(self, settings: Settings, phase: str) -> None:
        super().__init__(settings, phase, quantised=True)
        assert self.trainee.codec is not None
        self.codec = self.trainee.codec
        self.based = False  # whether ranges were found in weights, or taken from a batch

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        chain = self.stages(batch)
        if not self.based and chain:
            values = [self._values(chain, b) for b in range(len(batch))]
            together = Values(*(torch.cat(parts) for parts in zip(*values, strict=True)))
            self.codec.rebase(_agreed(first_ranges(self.settings, together)))
            self.based = True
        total, log = self._of(chain, batch)
        pictures, penalty = self._quantised(chain, batch)
        quantised = self.rendering(pictures, batch)
        return total + quantised + penalty, {**log, "quantised": quantised.detach(), "penalty": penalty.detach()}

    def _values(self, chain: list[Stage], b: int) -> Values:
        """The final set of picture b, activated."""
        raw = torch.cat([stage.prediction.raw[b, stage.chosen[b]] for stage in chain])
        return activate(raw, self.settings.patch)

    def _quantised(self, chain: list[Stage], batch: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures of the sets as a decoder has them, and the mean penalty."""
        size = int(batch.shape[2]), int(batch.shape[3])
        centres = PatchGrid(*size, self.settings.patch).centres(batch.device)
        pictures, total = [], batch.new_zeros(())
        for b in range(len(batch)):
            if not any(bool(stage.chosen[b].any()) for stage in chain):
                pictures.append(torch.zeros_like(batch[b]))
                continue
            values = self._values(chain, b)
            # The summary of the last stage in which this picture got anything: what an encoder of it alone would see.
            last = max(stage.index for stage in chain if bool(stage.chosen[b].any()))
            ranges = self.codec.ranges(values, chain[last].prediction.summary[b])
            decoded, penalty = self.codec.straight_through(values, ranges, self.settings.penalty)
            at = torch.cat([centres[stage.chosen[b]] for stage in chain])
            pictures.append(self.drawing.one(decoded, at, size))
            total = total + penalty / len(batch)
        return torch.stack(pictures), total

    def _scores(self, target: Tensor) -> tuple[dict[str, float], float]:
        scores, per_patch = super()._scores(target)
        picture, _ = self._quantised(self.stages(target), target)
        scores["psnr_quantised"] = score(picture, target)
        return scores, per_patch

    def begin(self, step: int) -> Sequence[nn.Parameter]:
        # Learned ranges were set by the first batch: what the optimiser remembers of them is of others.
        return list(self.codec.parameters()) if step == 1 and self.codec.kind == "global" else ()

    def initialise(self, path: Path) -> list[str]:
        notes = super().initialise(path)
        self.based = self.trainee.has_ranges
        return notes

    def adopt(self, state: Mapping[str, Any]) -> None:
        if "base" in state:
            self.load_state(state)

    def state(self) -> dict[str, Any]:
        return {"base": self.codec.base.as_dict(), "based": self.based}

    def load_state(self, state: Mapping[str, Any]) -> None:
        learned = {name: value.clone() for name, value in self.codec.state_dict().items()}
        self.codec.rebase(Base.from_dict(state["base"]))
        self.codec.load_state_dict(learned)
        self.based = bool(state["based"])


def _agreed(base: Base) -> Base:
    """Of several processes all take the ranges of the first."""
    from torch import distributed

    if not distributed.is_available() or not distributed.is_initialized():
        return base
    boxed = [base]
    distributed.broadcast_object_list(boxed, src=0)
    return boxed[0]

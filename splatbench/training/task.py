"""The border between the trainer and what is trained."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from splatbench.training.weights import load_weights, save_tensors


class Task(abc.ABC):
    """What is learned in one phase: a model, its loss, and what happens along the way.

    The trainer owns everything else: pictures, optimiser, schedule, precision, several processes, checkpoints. Steps
    count from 0. Randomness inside `loss` may come from the global generators of torch and Python: they are seeded
    anew for every batch from the run's seed, the step and the process, so that a resumed run draws the same.

    Attributes:
        model: every parameter that is trained, and every buffer that a checkpoint has to keep. The parameter objects
            stay the same for the whole run; `begin` changes their values in place.
    """

    model: nn.Module
    #: File that `export` of this class writes, and that `initialise` reads.
    weights_file: ClassVar[str] = "model.safetensors"

    @abc.abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimiser: `name`, `params`, and optionally `lr` and `weight_decay` of the group.

        A group with `matrices: True` holds two-dimensional weights alone, which Muon may take.
        The training file's `optimiser.group_lr` wins over a group's `lr`; a group without one gets `optimiser.lr`.
        """

    @abc.abstractmethod
    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        """The loss of a batch, a scalar with gradients; and scalars for the log.

        Args:
            batch: float32 [B, 3, H, W] in [0, 1], on the model's device; [B, 4, H, W] with `data.labels`, the label
                last.
            step: of the optimiser, from 0; the same for all batches that are accumulated.

        Runs inside autocast of the run's precision. Parameters that the loss does not touch keep no gradient and are
        left alone by the optimiser, by its weight decay too; `requires_grad` need not change for that.
        """

    def begin(self, step: int) -> Sequence[nn.Parameter]:
        """Called before every step, in order, also before the first one after a resume.

        What is active at a step follows from the step alone; what is copied at a milestone is copied, in place, when
        `step` equals the milestone.

        Returns:
            Parameters that got new values: the optimiser forgets its moments of them, the moving average restarts.
        """
        return ()

    def validate(self, images: Sequence[np.ndarray]) -> dict[str, float]:
        """Scores on validation pictures, uint8 [H, W, 3] each. The model is in evaluation mode, without gradients."""
        return {}

    def state(self) -> dict[str, Any]:
        """What the task has to remember beyond the model, as JSON can hold it."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027  (optional hook)
        """Puts back what `state` gave; called after the model's weights are loaded."""

    def adopt(self, state: Mapping[str, Any]) -> None:  # noqa: B027  (optional hook)
        """Called where a run starts from a checkpoint of another one, with what `state` gave there, after the model's
        weights are loaded: takes what belongs to the weights."""

    def initialise(self, path: Path) -> list[str]:
        """Starts from weights of an earlier phase: a file, or a folder that holds `weights_file`.

        Here: names and shapes have to agree exactly. A task that takes over a part of them says which in its notes.

        Returns:
            Notes for the log.

        Raises:
            TrainingError: not such a file, or its names or shapes differ.
        """
        load_weights(self.model, path / self.weights_file if path.is_dir() else path)
        return []

    def export(self, folder: Path) -> None:
        """Writes what the phase hands over into an existing folder. Here: the model's weights."""
        save_tensors(folder / self.weights_file, self.model.state_dict())

"""A moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from splatbench.training.errors import TrainingError


class MovingAverage:
    """average = decay * average + (1 - decay) * weights, after every step. Buffers are the model's own."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = dict(model.named_parameters())
        self.average = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(list(self.average.values()), list(self._weights.values()), 1 - self.decay)

    @torch.no_grad()
    def restart(self, parameters: Iterable[nn.Parameter]) -> None:
        """For weights that were set anew: the average begins with them."""
        changed = {id(parameter) for parameter in parameters}
        for name, weight in self._weights.items():
            if id(weight) in changed:
                self.average[name].copy_(weight)

    @torch.no_grad()
    def load(self, average: Mapping[str, Tensor]) -> None:
        """Raises TrainingError if it is of another model."""
        shapes = {name: tensor.shape for name, tensor in average.items()}
        if shapes != {name: tensor.shape for name, tensor in self.average.items()}:
            raise TrainingError("the moving average is of another model")
        for name, tensor in self.average.items():
            tensor.copy_(average[name])

    @torch.no_grad()
    def exchange(self) -> None:
        """Swaps the model's weights and the average; twice puts both back."""
        for name, weight in self._weights.items():
            kept = weight.detach().clone()
            weight.copy_(self.average[name])
            self.average[name].copy_(kept)

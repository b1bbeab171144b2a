"""The optimiser, and how learning rates change: parts of a training file."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator

from splatbench.schema import Strict


class Optimiser(Strict):
    """AdamW, Adam with the decay as an L2 penalty, or Muon for matrices beside AdamW; as PyTorch defines them."""

    name: Literal["adamw", "adam", "muon"] = "adamw"
    lr: float = Field(default=1e-4, gt=0)  # AIR, released code; of every group without its own
    group_lr: dict[str, float] = Field(default_factory=dict)  # by name of the group
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)  # Muon only; PyTorch's
    weight_decay: float = Field(default=0.01, ge=0)  # PyTorch's AdamW, which AIR keeps

    @field_validator("group_lr")
    @classmethod
    def _not_negative(cls, value: dict[str, float]) -> dict[str, float]:
        if any(rate < 0 for rate in value.values()):
            raise ValueError("learning rates are at least 0")
        return value

    @field_validator("betas")
    @classmethod
    def _below_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError(f"betas are at least 0 and below 1, got {list(value)}")
        return value


class Cosine(Strict):
    """A linear rise, then half a cosine that reaches the floor after the last step."""

    kind: Literal["cosine"] = "cosine"
    warmup: int = Field(default=0, ge=0)  # steps
    floor: float = Field(default=0.0, ge=0, le=1)  # share of the learning rate
    epoch_steps: int = Field(default=1, ge=1)  # constant within so many steps (Instant-GI, released code: an epoch)

    def factor(self, step: int, iterations: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        step = step // self.epoch_steps * self.epoch_steps
        progress = max(0, step - self.warmup) / max(1, iterations - self.warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Steps(Strict):
    """Constant within epochs of a fixed number of steps; AIR: a first epoch at half rate, then halved every 4."""

    kind: Literal["steps"] = "steps"
    epoch_steps: int = Field(default=10_000, ge=1)
    warmup_epochs: int = Field(default=1, ge=0)
    warmup_factor: float = Field(default=0.5, gt=0, le=1)
    every: int = Field(default=4, ge=1)  # epochs, counted from the end of the warm-up
    gamma: float = Field(default=0.5, gt=0, le=1)

    def factor(self, step: int, iterations: int) -> float:
        epoch = step // self.epoch_steps
        if epoch < self.warmup_epochs:
            return self.warmup_factor
        return self.gamma ** ((epoch - self.warmup_epochs) // self.every)


class Constant(Strict):
    """A linear rise, then constant."""

    kind: Literal["constant"] = "constant"
    warmup: int = Field(default=0, ge=0)  # steps

    def factor(self, step: int, iterations: int) -> float:
        return min(1.0, (step + 1) / (self.warmup + 1))

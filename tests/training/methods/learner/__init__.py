"""A method with something to learn: patches of 4 x 4 pixels through a narrow layer, in one or two stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splatbench.method import Method, MethodError, build_dataclass
from splatbench.training.labels import LabelMaker
from splatbench.training.task import Task


@dataclass(frozen=True)
class Config:
    pass


@dataclass(frozen=True)
class Settings:
    milestone: int = 1_000_000  # step at which the second stage begins as a copy of the first
    noise: float = 0.01  # on the input, from torch's global generator
    broken: tuple[int, ...] = ()  # steps whose loss is not a number
    infinite: tuple[int, ...] = ()  # steps whose gradient is infinite and whose loss is not


@dataclass(frozen=True)
class LabelSettings:
    gain: float = 1.0


class Learner(Method):
    title = "Learner"
    Config = Config

    def encode(self, image, budget, trace, seed=1):
        return image

    def to_bytes(self, encoding):
        return b""

    @staticmethod
    def from_bytes(data):
        return np.zeros((1, 1, 3), np.uint8)

    @classmethod
    def training_task(cls, settings: Mapping[str, Any], phase: str) -> Task:
        if phase not in ("first", "second"):
            raise MethodError(f"Learner has no phase {phase!r}")
        return LearnerTask(build_dataclass(Settings, settings, "learner"))

    @classmethod
    def make_labels(cls, settings: Mapping[str, Any]) -> LabelMaker:
        chosen: LabelSettings = build_dataclass(LabelSettings, settings, "learner")

        def label(image: np.ndarray) -> np.ndarray:
            if min(image.shape[:2]) < 8:
                raise MethodError("the picture is too small")
            return image.mean(2) / 255 * chosen.gain

        return LabelMaker(chosen, label)


def stage() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Tanh(), nn.ConvTranspose2d(8, 3, 4, 4))


class LearnerTask(Task):
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = nn.ModuleDict({"a": stage(), "b": stage()})
        self.active = 1
        self.seen = 0

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"name": "a", "params": self.model["a"].parameters()},
            {"name": "b", "params": self.model["b"].parameters(), "lr": 3e-3},
        ]

    def begin(self, step: int) -> Sequence[nn.Parameter]:
        self.active = 1 + (step >= self.settings.milestone)
        if step != self.settings.milestone:
            return ()
        self.model["b"].load_state_dict(self.model["a"].state_dict())
        return list(self.model["b"].parameters())

    def picture(self, batch: Tensor) -> Tensor:
        out = self.model["a"](batch)
        return out + self.model["b"](batch - out) if self.active == 2 else out

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        assert self.model.training
        self.seen += len(batch)
        loss = (self.picture(batch + self.settings.noise * torch.randn_like(batch)) - batch).square().mean()
        if step in self.settings.broken:
            loss = loss * float("nan")
        if step in self.settings.infinite:
            loss = loss + (self.model["a"][0].bias[0] - self.model["a"][0].bias[0].detach()).abs().sqrt()
        return loss, {"mse": loss.detach()}

    @torch.no_grad()
    def validate(self, images: Sequence[np.ndarray]) -> dict[str, float]:
        assert not self.model.training
        errors = []
        for image in images:
            height, width = (length // 4 * 4 for length in image.shape[:2])
            batch = torch.from_numpy(image[:height, :width]).permute(2, 0, 1)[None].float() / 255
            errors.append(float((self.picture(batch) - batch).square().mean()))
        return {"mse": float(np.mean(errors))}

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]

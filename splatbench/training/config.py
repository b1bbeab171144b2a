"""The file of one training phase, and how a learning rate follows from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from splatbench.schema import Strict, explain, read_mapping
from splatbench.training.errors import TrainingError

Probability = Annotated[float, Field(ge=0, le=1)]
#: Lower and upper end, drawn uniformly unless said otherwise.
Range = tuple[float, float]


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the lower end comes first, got {list(value)}")
    return value


# -- pictures ------------------------------------------------------------------------------------------------------


class Validation(Strict):
    """Pictures that are never trained on: some photographs of the training source, or a source of their own."""

    source: str | None = None  # folder or shards as in `data.train`
    share: float | None = Field(default=None, gt=0, lt=1)  # of the photographs
    count: int | None = Field(default=None, ge=1)  # photographs; with `source`: at most so many pictures
    split_seed: int = 0  # apart from `seed`, so that all phases and runs keep the same photographs back
    crop: int | None = Field(default=None, ge=16)  # at most so many pixels per side, from the middle; None: as they are

    @model_validator(mode="after")
    def _one_rule(self) -> Validation:
        if self.source is None and (self.share is None) == (self.count is None):
            raise ValueError("give `share` or `count` (of photographs), or a `source` of its own")
        if self.source is not None and self.share is not None:
            raise ValueError("`share` splits the training source; with a `source` of its own give `count` or nothing")
        return self


class Data(Strict):
    """Where pictures come from."""

    train: str  # folder, or tar shards with a glob in the file name; relative: below SPLATBENCH_DATA, then from here
    validation: Validation | None = None
    cache_mb: int = Field(default=2048, ge=0)  # decoded pictures kept in memory, 10^6 bytes in all
    workers: int = Field(default=0, ge=0)  # processes; 0: one thread ahead of the training


class Crop(Strict):
    """Random crops; one size per batch."""

    policy: Literal["crop"] = "crop"
    side: tuple[int, int]  # least and largest, pixels
    multiple: int = Field(default=1, ge=1)  # sides are multiples of it
    square: bool = True  # false: width and height are drawn apart
    scales: Range = (1.0, 1.0)  # a picture is reduced by a factor drawn from here (log-uniform) before cropping
    small: Literal["enlarge", "refuse"] = "enlarge"  # pictures smaller than the crop

    @model_validator(mode="after")
    def _possible(self) -> Crop:
        low, high = self.side
        if low < 1 or low > high or high // self.multiple * self.multiple < low:
            raise ValueError(f"side {list(self.side)} holds no multiple of {self.multiple}; lower end first")
        if not 0 < self.scales[0] <= self.scales[1] <= 1:
            raise ValueError(f"scales are in (0, 1], lower end first, got {list(self.scales)}")
        return self


class Stretch(Strict):
    """The whole picture, stretched to one size per batch (AIR, released code)."""

    policy: Literal["stretch"] = "stretch"
    area: tuple[int, int] = (160_000, 640_000)  # pixels
    aspect: Range = (0.5, 2.0)  # width / height

    @model_validator(mode="after")
    def _possible(self) -> Stretch:
        if not 1 <= self.area[0] <= self.area[1] or not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"positive, lower end first: got area {list(self.area)}, aspect {list(self.aspect)}")
        return self


class Colour(Strict):
    """Factors of brightness, contrast and saturation, shift of hue in turns, gamma; in that order."""

    p: Probability = 1.0
    brightness: Range = (0.7, 1.3)
    contrast: Range = (0.7, 1.3)
    saturation: Range = (0.7, 1.3)
    hue: Range = (-0.1, 0.1)
    gamma: Range = (0.7, 1.3)

    _order = field_validator("brightness", "contrast", "saturation", "hue", "gamma")(_ordered)

    @model_validator(mode="after")
    def _possible(self) -> Colour:
        if min(self.brightness[0], self.contrast[0], self.saturation[0]) < 0 or self.gamma[0] <= 0:
            raise ValueError("factors are at least 0, gamma is above 0")
        if not -0.5 <= self.hue[0] <= self.hue[1] <= 0.5:
            raise ValueError("hue is within half a turn, -0.5 to 0.5")
        return self


class ShotNoise(Strict):
    """Poisson noise of so many quanta at white, log-uniform."""

    p: Probability = 0.5
    quanta: Range = (100.0, 10_000.0)

    @field_validator("quanta")
    @classmethod
    def _positive(cls, value: Range) -> Range:
        if value[0] <= 0:
            raise ValueError("quanta are above 0")
        return _ordered(value)


class Jpeg(Strict):
    """Compressed and decoded, 4:2:0, quality an integer within the range, both ends included."""

    p: Probability = 0.5
    quality: tuple[int, int] = (20, 99)

    @field_validator("quality")
    @classmethod
    def _possible(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] <= 100:
            raise ValueError("qualities are 1 to 100, lower end first")
        return value


class Blur(Strict):
    """Reduced by area averaging to a share of its side, enlarged by a random one of three filters."""

    p: Probability = 0.5
    scale: Range = (0.25, 1.0)

    @field_validator("scale")
    @classmethod
    def _possible(cls, value: Range) -> Range:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError("scales are in (0, 1], lower end first")
        return value


class Augment(Strict):
    """What is done to each picture, in this order; nothing by default. `augment: air` is what AIR's code does."""

    flip: Probability = 0.0  # left and right exchanged
    flip_vertical: Probability = 0.0
    transpose: Probability = 0.0  # rows and columns exchanged; square sizes only
    colour: Colour | None = None
    noise: ShotNoise | None = None
    jpeg: Jpeg | None = None
    blur: Blur | None = None


AIR_AUGMENT = Augment(flip=0.5, colour=Colour(), noise=ShotNoise(), jpeg=Jpeg(), blur=Blur())


# -- optimisation --------------------------------------------------------------------------------------------------


class Optimiser(Strict):
    """AdamW, or Adam with the decay as an L2 penalty, as PyTorch defines them."""

    name: Literal["adamw", "adam"] = "adamw"
    lr: float = Field(default=1e-4, gt=0)  # AIR, released code; of every group without its own
    group_lr: dict[str, float] = Field(default_factory=dict)  # by name of the group
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
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
    """A linear rise, then half a cosine that ends at the floor with the last step."""

    kind: Literal["cosine"] = "cosine"
    warmup: int = Field(default=0, ge=0)  # steps
    floor: float = Field(default=0.0, ge=0, le=1)  # share of the learning rate

    def factor(self, step: int, iterations: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        progress = (step - self.warmup) / max(1, iterations - self.warmup)
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


# -- the file ------------------------------------------------------------------------------------------------------


class TrainingConfig(Strict):
    """One phase of training a method. What a task may be told is in `settings`; everything else is the trainer's."""

    method: str
    phase: str
    settings: dict[str, Any] = Field(default_factory=dict)
    init: Path | None = None  # weights to start from: what an earlier phase exported, or one of its checkpoints
    data: Data
    size: Annotated[Crop | Stretch, Field(discriminator="policy")]
    augment: Augment = Augment()
    batch: int = Field(ge=1)  # pictures per process
    accumulate: int = Field(default=1, ge=1)  # batches per step
    optimiser: Optimiser = Optimiser()
    schedule: Annotated[Cosine | Steps | Constant, Field(discriminator="kind")] = Cosine()
    clip_norm: float | None = Field(default=None, gt=0)
    iterations: int = Field(ge=1)  # steps of the optimiser
    ema: float | None = Field(default=None, gt=0, lt=1)  # decay of the moving average that is validated and exported
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(default=1, ge=1)  # processes on this machine
    nodes: int = Field(default=1, ge=1)
    seed: int = Field(default=1, ge=0)
    max_skipped: int = Field(default=20, ge=0)  # steps in a row with a loss or gradient that is not finite
    validate_every: int = Field(default=1000, ge=1)
    checkpoint_every: int = Field(default=1000, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    log_every: int = Field(default=50, ge=1)
    tensorboard: bool = False

    @field_validator("augment", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return AIR_AUGMENT if value == "air" else value

    @model_validator(mode="after")
    def _transposes_squares(self) -> TrainingConfig:
        if self.augment.transpose and not (isinstance(self.size, Crop) and self.size.square):
            raise ValueError("`augment.transpose` needs square crops (`size: {policy: crop, square: true}`)")
        return self

    def learning_rate_factor(self, step: int) -> float:
        """What a step's learning rates are multiplied with."""
        return self.schedule.factor(step, self.iterations)

    def plain(self) -> dict[str, Any]:
        """All values, as JSON and YAML hold them."""
        return self.model_dump(mode="json")


#: What may differ between a run and its continuation: the numbers that are learned do not depend on it.
FREE = ("data.cache_mb", "data.workers", "validate_every", "checkpoint_every", "keep_checkpoints", "log_every")
_FREE = (*FREE, "tensorboard", "max_skipped", "data.validation.crop")


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """ "key: old -> new" for every key that decides what is learned and differs.

    A run may be made longer or shorter (`iterations`) unless its schedule ends with the last step.
    """
    before, after = _flat(old), _flat(new)
    free = set(_FREE)
    if new["schedule"]["kind"] != "cosine":
        free.add("iterations")
    keys = [key for key in sorted(before.keys() | after.keys()) if key not in free]
    return [f"{key}: {before.get(key)!r} -> {after.get(key)!r}" for key in keys if before.get(key) != after.get(key)]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def load_config(path: Path | str, changes: list[str] | None = None) -> TrainingConfig:
    """Reads and validates a training file.

    Args:
        changes: "key=value" each; dots in the key lead into sections, the value is YAML.

    Raises:
        TrainingError: naming the file, the key, and for an unknown name the nearest valid one.
    """
    try:
        content = read_mapping(path, "training file", "method, phase, data, size, batch and iterations")
    except ValueError as error:
        raise TrainingError(str(error)) from None
    for change in changes or []:
        _apply(content, change)
    try:
        return TrainingConfig.model_validate(content)
    except ValidationError as error:
        raise TrainingError("\n".join(f"{path}: {problem}" for problem in explain(error, TrainingConfig))) from None


def _apply(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise TrainingError(f"--set takes KEY=VALUE, got {change!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingError(f"--set {key}: the value is not YAML: {error}") from None
    *sections, last = key.split(".")
    place = content
    for section in sections:
        inside = place.setdefault(section, {})
        if not isinstance(inside, dict):
            raise TrainingError(f"--set {key}: {section!r} is {inside!r}, not a section")
        place = inside
    place[last] = value

"""The file of one training phase."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from splatbench import plain_yaml
from splatbench.schema import Strict, explain, read_mapping
from splatbench.training.errors import TrainingError
from splatbench.training.picture_rules import AIR_AUGMENT, Augment, Crop, Data, Size, Whole
from splatbench.training.schedule import Constant, Cosine, Optimiser, Steps


class TrainingConfig(Strict):
    """One phase of training a method. What a task may be told is in `settings`; everything else is the trainer's."""

    method: str
    phase: str
    settings: dict[str, Any] = Field(default_factory=dict)
    init: Path | None = None  # weights to start from: what an earlier phase exported, or one of its checkpoints
    data: Data
    size: Size
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

    @model_validator(mode="after")
    def _one_whole_picture(self) -> TrainingConfig:
        if isinstance(self.size, Whole) and self.batch > 1:
            raise ValueError("`size: {policy: whole}` takes `batch: 1` (and `accumulate` for more pictures per step)")
        return self

    def learning_rate_factor(self, step: int) -> float:
        """What a step's learning rates are multiplied with."""
        return self.schedule.factor(step, self.iterations)

    def plain(self) -> dict[str, Any]:
        """All values, as JSON and YAML hold them."""
        return self.model_dump(mode="json")


#: What may differ between a run and its continuation: what is learned does not depend on it.
_FREE = {
    *("data.cache_mb", "data.workers", "data.validation.crop", "validate_every", "checkpoint_every"),
    *("keep_checkpoints", "log_every", "max_skipped", "tensorboard"),
}


def differences(stored: Mapping[str, Any], new: TrainingConfig) -> list[str]:
    """ "key: old -> new" for every key that decides what is learned and differs.

    A run may be made longer or shorter (`iterations`) unless its schedule ends with the last step.

    Args:
        stored: what `plain` gave when the run began, perhaps in a version that knew fewer keys: they had the defaults.

    Raises:
        TrainingError: `stored` is not valid in this version.
    """
    try:
        before = _flat(TrainingConfig.model_validate(stored).plain())
    except ValidationError as error:
        problems = "; ".join(explain(error, TrainingConfig))
        raise TrainingError(f"the settings were stored by another version: {problems}; start another run") from None
    after = _flat(new.plain())
    free = {*_FREE, "iterations"} if new.schedule.kind != "cosine" else _FREE
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
        value = plain_yaml.parse(text)
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

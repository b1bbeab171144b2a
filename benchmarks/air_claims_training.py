"""Trainings of the claims table: recipes, what each run changes in them, and the record that it leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from splatbench.files import sha256_file, write_atomic
from splatbench.record import Provenance

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "methods" / "air" / "training" / "recipes" / "claims"
#: File that a training of AIR-small exports.
WEIGHTS = "air-small.safetensors"
#: Steps at which stages join, as shares of all steps; those of pod.yaml.
MILESTONES = (0.0, 0.15, 0.3, 0.45)
#: Below this the milestones would not be apart.
LEAST_STEPS = 10

#: Ten times the recipe's learning rate, and no decay: where training is known to be fragile.
_HOT = ("optimiser.lr=2.0e-2", "schedule={kind: constant, warmup: 20}")
_CLIPPED = ("clip_norm=1.0",)
_COARSE = ("settings.patch=14",)


@dataclass(frozen=True)
class Training:
    """One run of the trainer.

    Attributes:
        recipe: file in RECIPES.
        changes: "key=value" of the recipe.
        after: the training whose weights it starts from.
    """

    recipe: str
    changes: tuple[str, ...] = ()
    after: str | None = None


TRAININGS = {
    "pod": Training("pod.yaml"),
    "direct": Training("direct.yaml"),
    "direct_clipped": Training("direct.yaml", _CLIPPED),
    "pod_hot": Training("pod.yaml", _HOT),
    "direct_hot": Training("direct.yaml", _HOT),
    "direct_hot_clipped": Training("direct.yaml", (*_HOT, *_CLIPPED)),
    "finetune": Training("finetune.yaml", after="pod"),
    "quantise_adaptive": Training("quantise.yaml", ("settings.ranges=adaptive",), after="finetune"),
    "quantise_global": Training("quantise.yaml", ("settings.ranges=global",), after="finetune"),
    "quantise_per_image": Training(
        "quantise.yaml", ("settings.ranges=per_image", "optimiser.group_lr={}"), after="finetune"
    ),
    "coarse_pod": Training("pod.yaml", _COARSE),
    "coarse_finetune": Training("finetune.yaml", _COARSE, after="coarse_pod"),
}


class TrainingRecord(BaseModel):
    """What a training did, failed ones included.

    Attributes:
        curve: steps done, then PSNR in dB of held-out photographs after each stage that was active.
        losses: steps done, then the mean loss since the point before; None where it was not finite.
        seconds: of training, validation included, over all interruptions.
        skipped: steps left out because loss or gradient were not finite.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    recipe: str
    changes: list[str] = Field(default_factory=list)
    after: str | None = None
    status: Literal["ok", "failed"] = "ok"
    reason: str | None = None
    steps: int = 0
    seconds: float | None = None
    skipped: int = 0
    parameters: int | None = None
    weights_sha256: str | None = None
    curve: list[tuple[int, list[float | None]]] = Field(default_factory=list)
    losses: list[tuple[int, float | None]] = Field(default_factory=list)
    provenance: Provenance = Field(default_factory=Provenance)

    @property
    def last_stage(self) -> list[tuple[int, float]]:
        """Steps, and PSNR after the last stage that was active; 0 dB where it was not finite."""
        return [(step, stages[-1] or 0.0) for step, stages in self.curve]


def changes_of(name: str, out: Path, steps: int | None) -> list[str]:
    """All changes of a training's recipe.

    Args:
        out: folder of all trainings.
        steps: instead of the recipe's; milestones keep their shares.
    """
    training = TRAININGS[name]
    changes = list(training.changes)
    if training.after is not None:
        changes.append(f"init={out / training.after / 'export'}")
    if steps is not None:
        changes += [f"iterations={steps}", f"schedule.warmup={min(20, steps // 4)}"]
        if training.recipe == "pod.yaml":
            changes.append(f"settings.milestones={[math.ceil(share * steps) for share in MILESTONES]}")
    return changes


def train(name: str, out: Path, steps: int | None, changes: Sequence[str] = ()) -> TrainingRecord:
    """Trains, or goes on, or does nothing where it is finished; writes `record.json` beside the trainer's files.

    Args:
        changes: more "key=value" of the recipe.

    Raises:
        FileNotFoundError: what it starts from is not trained yet.
        TrainingError: settings or pictures are at fault. A run that breaks off later is a record.
        KeyboardInterrupt: it was stopped; the same call goes on.
    """
    from splatbench.provenance import provenance
    from splatbench.render.threads import thread_count
    from splatbench.training.config import load_config
    from splatbench.training.errors import TrainingError
    from splatbench.training.loop import train as run

    training, folder = TRAININGS[name], out / name
    if training.after is not None and not (out / training.after / "export" / WEIGHTS).is_file():
        raise FileNotFoundError(f"{name} starts from the weights of {training.after}: train that first, into {out}")
    record = TrainingRecord(name=name, recipe=training.recipe, changes=list(training.changes), after=training.after)
    config = load_config(RECIPES / training.recipe, [*changes_of(name, out, steps), *changes])
    if (known := _finished(folder, config.plain())) is not None:
        return known
    record.provenance = provenance("cpu", thread_count())
    try:
        outcome = run(config, folder, resume=True, say=lambda line: print(f"{name}: {line}", flush=True))
    except TrainingError as error:
        if not (folder / "log.jsonl").is_file():
            raise  # it never began
        record.status, record.reason = "failed", str(error)
    else:
        if outcome.export is None:
            raise KeyboardInterrupt
    record = read_log(record, folder)
    write_atomic(folder / "record.json", record.model_dump_json(indent=1).encode())
    return record


def _finished(folder: Path, config: Mapping[str, Any]) -> TrainingRecord | None:
    """The record of a training that is done with these settings and whose weights are still there."""
    record, settings, weights = (folder / name for name in ("record.json", "config.yaml", f"export/{WEIGHTS}"))
    if not (record.is_file() and settings.is_file() and weights.is_file()):
        return None
    known = TrainingRecord.model_validate_json(record.read_bytes())
    same = yaml.safe_load(settings.read_text(encoding="utf-8")) == config
    return known if same and known.weights_sha256 == sha256_file(weights) else None


def read_log(record: TrainingRecord, folder: Path) -> TrainingRecord:
    """The record with what the trainer's log and its weights say."""
    log = folder / "log.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        values = json.loads(line)
        record.steps = values["step"]
        if "validation" in values:
            record.curve.append((values["step"], stages_of(values["validation"])))
        elif "loss" in values:
            record.losses.append((values["step"], values["loss"]))
        record.seconds = values.get("seconds", record.seconds)
        record.skipped = values.get("skipped", record.skipped)
    weights = folder / "export" / WEIGHTS
    if record.status == "ok":
        record.weights_sha256, record.parameters = sha256_file(weights), count_parameters(weights)
    return record


def stages_of(scores: Mapping[str, float | None]) -> list[float | None]:
    """The PSNR of each stage, in order, from the names that the task gives them."""
    return [scores[f"psnr_{stage}"] for stage in range(1, len(scores) + 1) if f"psnr_{stage}" in scores]


def count_parameters(weights: Path) -> int:
    """Numbers in a file of weights."""
    from safetensors import safe_open

    with safe_open(weights, framework="np") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118  (not a dict)


def write_trainings(path: Path, records: Iterable[TrainingRecord]) -> None:
    """JSON lines, whole or not at all."""
    lines = [json.dumps(r.model_dump(mode="json"), sort_keys=True, allow_nan=False) for r in records]
    write_atomic(path, "".join(line + "\n" for line in lines).encode())


def read_trainings(path: Path) -> Iterator[TrainingRecord]:
    """Raises ValueError naming file and line of the first record that does not fit the schema."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield TrainingRecord.model_validate_json(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error

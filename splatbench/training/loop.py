"""The training loop: begins, goes on, stops, and hands over."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from splatbench.files import write_atomic
from splatbench.method import get_method
from splatbench.training.batches import Batches, load_ahead, loss_seed, start_seed
from splatbench.training.checkpoint import (
    is_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_checkpoint_weights,
    read_facts,
    save_checkpoint,
)
from splatbench.training.config import TrainingConfig, differences
from splatbench.training.ema import MovingAverage
from splatbench.training.engine import Engine, seed_everything
from splatbench.training.errors import TrainingError
from splatbench.training.pictures import Material, open_material
from splatbench.training.runlog import Meter, RunLog
from splatbench.training.signals import StopSignal
from splatbench.training.sizes import middle
from splatbench.training.task import Task


@dataclass(frozen=True)
class Outcome:
    """Where a run ended.

    Attributes:
        step: steps done.
        signal: the number of the signal that stopped it early, or None.
        export: what the phase hands over, if it is finished.
        first: whether this is the process that answers for the run; the others end quietly.
    """

    step: int
    signal: int | None
    export: Path | None
    first: bool


def train(config: TrainingConfig, out: Path, resume: bool = False, say: Callable[[str], None] = print) -> Outcome:
    """Trains one phase, or goes on with it.

    Args:
        out: folder of the run: `config.yaml`, `log.jsonl`, `checkpoints/`, and at the end `export/`.
        resume: go on from the newest checkpoint in `out`, or begin if there is none.
        say: where lines for a person go.

    Raises:
        TrainingError: a setting, a source of pictures, a checkpoint or the run itself is at fault; says what to do.
        MethodError: the method is unknown or has no such task.
    """
    checkpoint, facts = starting_point(config, out, resume)
    seed_everything(start_seed(config.seed))
    task = get_method(config.method).training_task(config.settings, config.phase)
    material = open_material(config.data)
    engine = Engine(config)  # with several processes the others are started here and come the same way
    run = Run(config, out, task, material, engine, say)
    run.prepare(checkpoint, facts)
    return run.go()


def starting_point(config: TrainingConfig, out: Path, resume: bool) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint to go on from and what was remembered there, if there is one.

    Raises:
        TrainingError: there is a run that was not meant, or one with other settings; names what differs.
    """
    found = list_checkpoints(out)
    if not found:
        return None, {}
    facts = read_facts(found[-1])
    if not resume:
        raise TrainingError(f"{out} holds a run of {facts['step']} steps: go on with --resume, or name another --out")
    changed = differences(facts["config"], config)
    if changed:
        raise TrainingError(
            f"{out} was trained with other settings: {'; '.join(changed)}. Put them back to go on, or start another "
            f"run with --out, from these weights with --set init={found[-1]}"
        )
    return found[-1], facts


def initialise(task: Task, path: Path) -> list[str]:
    """Starts from what a phase exported, in the task's own way, or from a checkpoint: of that all weights.

    Raises:
        TrainingError: neither of them, or it does not fit.
    """
    if not path.exists():
        raise TrainingError(f"init: {path}: there is nothing; name what a phase exported, or one of its checkpoints")
    if not is_checkpoint(path):
        return task.initialise(path)
    facts = load_checkpoint_weights(path, task.model)
    task.adopt(facts["task"])
    return [f"{path}, of phase {facts['config']['phase']}"]


class Run:
    """One run of a task, in this process."""

    def __init__(
        self,
        config: TrainingConfig,
        out: Path,
        task: Task,
        material: Material,
        engine: Engine,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.out, self.task, self.material, self.engine = config, out, task, material, engine
        self.say = say if engine.first else lambda line: None
        self.average: MovingAverage | None = None
        self.step = self.skipped = self.skipped_in_row = 0
        self._seconds, self._since = 0.0, time.monotonic()
        self._meter = Meter()
        self._log: RunLog | None = None
        self._validation: list[np.ndarray] = []

    # -- beginning -------------------------------------------------------------------------------------------------

    def prepare(self, checkpoint: Path | None, facts: dict[str, Any]) -> None:
        """Weights, optimiser, moving average; then the files of the run."""
        config, engine = self.config, self.engine
        if checkpoint is None and config.init is not None:
            for note in initialise(self.task, config.init):
                self.say(f"init: {note}")
        engine.setup(self.task)
        if config.ema is not None:
            self.average = MovingAverage(self.task.model, config.ema)
        if checkpoint is not None:
            self._restore(checkpoint, facts)
        engine.barrier()  # all have read from the folder before one writes into it
        if engine.first:
            self._log = self._open_log()
        count = sum(parameter.numel() for group in engine.optimiser.param_groups for parameter in group["params"])
        self.say(
            f"{config.method} {config.phase}: {count} parameters, {len(self.material.training)} pictures of "
            f"{self.material.place}, {len(self.material.validation)} for validation, {engine.describe()}"
            + (f", after step {self.step}" if checkpoint else "")
        )

    def _restore(self, checkpoint: Path, facts: dict[str, Any]) -> None:
        if facts["pictures"] != self.material.fingerprint:
            raise TrainingError(
                f"{self.material.place} no longer holds the pictures that {self.out} began with; put them back, or "
                f"start another run with --out, from these weights with --set init={checkpoint}"
            )
        load_checkpoint(checkpoint, self.task.model, self.engine.optimiser, self.average)
        self.task.load_state(facts["task"])
        self.engine.load_state(facts["precision"])
        self.step, self.skipped, self.skipped_in_row = (facts[name] for name in ("step", "skipped", "skipped_in_row"))
        self._seconds = facts["seconds"]

    def _open_log(self) -> RunLog:
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomic(self.out / "config.yaml", yaml.safe_dump(self.config.plain(), sort_keys=False).encode())
        return RunLog(self.out, self.step, self.config.tensorboard, self.say)

    # -- the loop --------------------------------------------------------------------------------------------------

    def go(self) -> Outcome:
        """All steps that are left; stops early, with a checkpoint, on SIGTERM or SIGINT."""
        config, engine = self.config, self.engine
        batches = Batches(self.material.training, config, engine.rank, engine.world)
        loader = load_ahead(batches, self.step, config.iterations, engine.on_gpu)
        self._since, self._meter = time.monotonic(), Meter()
        self.task.model.train()
        try:
            with StopSignal() as stop:
                while self.step < config.iterations:
                    signal = self._one_step(loader, stop)
                    self._after_step(last=bool(signal) or self.step == config.iterations)
                    if signal:
                        self.say(f"stopped after step {self.step}; the same command with --resume goes on from there")
                        return Outcome(self.step, signal, None, engine.first)
        finally:
            loader.close()
            if self._log is not None:
                self._log.close()
        export = self._export()
        self.say(f"done: {export}")
        return Outcome(self.step, None, export, engine.first)

    def _one_step(self, loader: Iterator[Tensor], stop: StopSignal) -> int:
        """One step of the optimiser. Returns the signal by which any process was asked to stop, or 0."""
        config, engine, step = self.config, self.engine, self.step
        fresh = self.task.begin(step)
        engine.forget(fresh)
        if self.average is not None:
            self.average.restart(fresh)
        engine.set_learning_rates(config.learning_rate_factor(step))
        values: dict[str, float] = {}
        for part in range(config.accumulate):
            seed_everything(loss_seed(config.seed, step, part, engine.rank))
            for name, value in engine.accumulate(next(loader), step, last=part == config.accumulate - 1).items():
                values[name] = values.get(name, 0.0) + value / config.accumulate
        values["gradient_norm"] = engine.clip(config.clip_norm)
        finite = math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])
        bad, signal = engine.largest(not finite, stop.signal or 0)
        engine.update(skip=bool(bad))
        self.step += 1
        if bad:
            self._count_skipped(values["loss"], values["gradient_norm"])
        else:
            self.skipped_in_row = 0
            self._meter.add(values)
            if self.average is not None:
                self.average.update()
        return signal

    def _count_skipped(self, loss: float, norm: float) -> None:
        self.skipped += 1
        self.skipped_in_row += 1
        self.say(f"step {self.step}: loss {loss:.4g}, gradient norm {norm:.4g}: not finite, the step is left out")
        if self.skipped_in_row > self.config.max_skipped:
            found = list_checkpoints(self.out)
            last = f"the last checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
            raise TrainingError(
                f"{self.skipped_in_row} steps in a row, up to step {self.step}, had a loss or gradient that is not "
                f"finite; they did not change the weights. {last[0].upper()}{last[1:]}. Lower the learning rate, set "
                "clip_norm, or use precision 32-true"
            )

    # -- what is written -------------------------------------------------------------------------------------------

    def _after_step(self, last: bool) -> None:
        """Log, validation and checkpoint, each when it is due; the last step gets all of them."""
        config = self.config
        if self._log is not None and (last or self.step % config.log_every == 0):
            images = config.batch * config.accumulate * self.engine.world
            values = {**self._meter.take(images), "lr": self.engine.learning_rates()}
            seconds = round(self._elapsed(), 3)
            self._log.write(self.step, {**values, "seconds": seconds, "skipped": self.skipped}, always=last)
        if self.step == config.iterations or self.step % config.validate_every == 0:
            self._validate()
        if last or self.step % config.checkpoint_every == 0:
            self._save()

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._since

    def _validate(self) -> None:
        if self._log is not None and len(self.material.validation):
            if not self._validation:
                rule, images = self.config.data.validation, self.material.validation.readable()
                self._validation = [middle(image, rule.crop) for image in images] if rule and rule.crop else images
            with self._evaluating():
                scores = self.task.validate(self._validation)
            if scores:
                self._log.write(self.step, {"validation": scores}, always=True)
        self.engine.barrier()

    def _save(self) -> None:
        if self.engine.first:
            facts = {
                "config": self.config.plain(),
                "pictures": self.material.fingerprint,
                "task": self.task.state(),
                "precision": self.engine.state(),
                "skipped": self.skipped,
                "skipped_in_row": self.skipped_in_row,
                "seconds": round(self._elapsed(), 3),
            }
            save_checkpoint(
                self.out, self.step, self.task.model, self.engine.optimiser, self.average, facts,
                self.config.keep_checkpoints,
            )  # fmt: skip
        self.engine.barrier()

    def _export(self) -> Path:
        """What the phase hands over, whole or not at all."""
        folder, part = self.out / "export", self.out / ".export.part"
        if self.engine.first:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            with self._evaluating():
                self.task.export(part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        self.engine.barrier()
        return folder

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode, no gradients, and the averaged weights if there are any."""
        self.task.model.eval()
        if self.average is not None:
            self.average.exchange()
        try:
            with torch.no_grad():
                yield
        finally:
            if self.average is not None:
                self.average.exchange()
            self.task.model.train()

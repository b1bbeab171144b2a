"""The training loop: begins, goes on, stops, and hands over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from splatbench.files import write_atomic
from splatbench.method import get_method
from splatbench.training.batches import Batches, load_ahead, model_seed
from splatbench.training.checkpoint import list_checkpoints, load_checkpoint, read_facts, save_checkpoint
from splatbench.training.config import TrainingConfig, differences
from splatbench.training.ema import MovingAverage
from splatbench.training.engine import Engine, seed_everything
from splatbench.training.errors import TrainingError
from splatbench.training.runlog import RunLog
from splatbench.training.signals import StopSignal
from splatbench.training.sizes import middle
from splatbench.training.sources import Pictures, open_source, split
from splatbench.training.task import Task


@dataclass(frozen=True)
class Outcome:
    """Where a run ended.

    Attributes:
        step: steps done.
        signal: the number of the signal that stopped it early, or None.
        export: what the phase hands over, if it is finished.
    """

    step: int
    signal: int | None
    export: Path | None


def train(
    config: TrainingConfig,
    out: Path,
    resume: bool = False,
    say: Callable[[str], None] = print,
    task: Task | None = None,
) -> Outcome:
    """Trains one phase, or goes on with it.

    Args:
        out: folder of the run: `config.yaml`, `log.jsonl`, `checkpoints/`, and at the end `export/`.
        resume: go on from the newest checkpoint in `out`, or begin if there is none.
        say: where lines for a person go.
        task: instead of the one that the method makes.

    Raises:
        TrainingError: a setting, a picture source, a checkpoint or the run itself is at fault; says what to do.
        MethodError: the method is unknown or has no such task.
    """
    checkpoint, facts = _starting_point(config, out, resume)
    seed_everything(model_seed(config.seed, 0, 0, 0))  # the same weights in every process
    if task is None:
        task = get_method(config.method).training_task(config.settings, config.phase)
    engine = Engine(config)  # with several processes the others start here and come this way, too
    with Run(config, out, task, engine, say) as run:
        run.prepare(checkpoint, facts)
        return run.go()


def _starting_point(config: TrainingConfig, out: Path, resume: bool) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint to go on from, and what was remembered there."""
    found = list_checkpoints(out)
    if not resume:
        if found:
            raise TrainingError(
                f"{out} holds a run of {int(found[-1].name[5:])} steps: go on with --resume, or name another --out"
            )
        return None, {}
    if not found:
        return None, {}
    facts = read_facts(found[-1])
    changed = differences(facts["config"], config.plain())
    if changed:
        raise TrainingError(
            f"{out} was trained with other settings: {'; '.join(changed)}. Put them back to go on, or start another "
            f"run with --out, from these weights with init: {found[-1]}"
        )
    return found[-1], facts


class Run:
    """One run of a task in this process."""

    def __init__(
        self, config: TrainingConfig, out: Path, task: Task, engine: Engine, say: Callable[[str], None]
    ) -> None:
        self.config, self.out, self.task, self.engine = config, out, task, engine
        self.say = say if engine.first else lambda line: None
        self.step = self.skipped = self.skipped_in_row = 0
        self.seconds = 0.0
        self._since = time.monotonic()
        self._saved = -1
        self._log: RunLog | None = None
        self._sums: dict[str, float] = {}
        self._counted = 0

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            self._log.close()

    # -- beginning -------------------------------------------------------------------------------------------------

    def prepare(self, checkpoint: Path | None, facts: dict[str, Any]) -> None:
        """Pictures, weights, optimiser; then the files of the run."""
        config, engine = self.config, self.engine
        self._open_pictures()
        if checkpoint is None and config.init is not None:
            for note in self.task.initialise(config.init):
                self.say(f"init: {note}")
        engine.setup(self.task)
        self.average = MovingAverage(self.task.model, config.ema) if config.ema is not None else None
        if checkpoint is not None:
            if facts["pictures"] != self._fingerprint:
                raise TrainingError(f"the pictures in {config.data.train} are not those that {self.out} began with")
            load_checkpoint(checkpoint, self.task.model, engine.optimiser, self.average)
            self.task.load_state(facts["task"])
            engine.load_state(facts["precision"])
            self.step = self._saved = facts["step"]
            self.skipped, self.skipped_in_row, self.seconds = (
                facts["skipped"],
                facts["skipped_in_row"],
                facts["seconds"],
            )
        engine.barrier()  # all have looked at the folder before one writes into it
        if engine.first:
            self.out.mkdir(parents=True, exist_ok=True)
            write_atomic(self.out / "config.yaml", yaml.safe_dump(config.plain(), sort_keys=False).encode())
            self._log = RunLog(self.out, self.step, config.tensorboard, self.say)
        count = sum(parameter.numel() for group in self.task.parameter_groups() for parameter in group["params"])
        at = f", going on after step {self.step}" if checkpoint else ""
        self.say(
            f"{config.method} {config.phase}: {count} parameters, {len(self.pictures)} pictures of {self._place}, "
            f"{len(self._validation)} for validation, {engine.describe()}{at}"
        )

    def _open_pictures(self) -> None:
        data, source = self.config.data, open_source(self.config.data.train)
        training, validation, other = list(range(len(source.names))), list[int](), source
        rule = data.validation
        if rule is not None and rule.source is None:
            training, validation = split(source, rule)
        elif rule is not None and rule.source is not None:
            other = open_source(rule.source)
            validation = list(range(len(other.names)))[: rule.count]
        self._place = source.place
        self._fingerprint = source.fingerprint(training)
        share = data.cache_mb * 1_000_000 // max(1, data.workers)
        self.pictures = Pictures(source, training, share)
        self._validation = Pictures(other, validation, 0)
        self._validation_images: list[np.ndarray] | None = None

    # -- the loop --------------------------------------------------------------------------------------------------

    def go(self) -> Outcome:
        """All steps that are left; stops early, with a checkpoint, on SIGTERM or SIGINT."""
        config, engine = self.config, self.engine
        batches = Batches(self.pictures, config, engine.rank, engine.world)
        loader = load_ahead(batches, self.step, config.iterations, engine.on_gpu)
        self._since = time.monotonic()
        self.task.model.train()
        try:
            with StopSignal() as stop:
                while self.step < config.iterations:
                    stopped = self._one_step(loader, stop)
                    if self.step % config.log_every == 0 or stopped or self.step == config.iterations:
                        self._write_log()
                    if self.step % config.validate_every == 0 or self.step == config.iterations:
                        self._validate()
                    if self.step % config.checkpoint_every == 0 or stopped or self.step == config.iterations:
                        self._save()
                    if stopped:
                        return Outcome(self.step, stop.signal, None)
        finally:
            loader.close()
        return Outcome(self.step, None, self._export())

    def _one_step(self, loader: Any, stop: StopSignal) -> bool:
        """One step of the optimiser. True if a signal asks to stop."""
        config, engine, step = self.config, self.engine, self.step
        fresh = list(self.task.begin(step))
        engine.forget(fresh)
        if self.average is not None:
            self.average.restart(fresh)
        engine.set_learning_rates(config.learning_rate_factor(step))
        values: dict[str, float] = {}
        for part in range(config.accumulate):
            seed_everything(model_seed(config.seed, step, part, engine.rank))
            loss, extra = engine.accumulate(next(loader), step, last=part == config.accumulate - 1)
            for name, value in {"loss": loss, **extra}.items():
                values[name] = values.get(name, 0.0) + float(value) / config.accumulate
        norm = engine.clip(config.clip_norm)
        bad, stopped = engine.any_process(not np.isfinite([values["loss"], norm]).all(), stop.signal is not None)
        engine.update(skip=bad)
        self.step += 1
        if bad:
            self._count_skipped(values["loss"], norm)
        else:
            self.skipped_in_row = 0
            if self.average is not None:
                self.average.update()
            for name, value in {**values, "gradient_norm": norm}.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._counted += 1
        return stopped

    def _count_skipped(self, loss: float, norm: float) -> None:
        self.skipped += 1
        self.skipped_in_row += 1
        self.say(f"step {self.step}: loss {loss:.4g}, gradient norm {norm:.4g}: not finite, the step is left out")
        if self.skipped_in_row > self.config.max_skipped:
            found = list_checkpoints(self.out)
            last = f"the last checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
            raise TrainingError(
                f"{self.skipped_in_row} steps in a row, up to step {self.step}, had a loss or gradient that is not "
                f"finite, so none of them changed the weights; {last}: lower the learning rate, set clip_norm, or "
                "use precision 32-true"
            )

    # -- what is written -------------------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._since

    def _write_log(self) -> None:
        if self._log is None or not self._counted:
            return
        now = time.monotonic()
        count, sums = self._counted, self._sums
        self._counted, self._sums = 0, {}
        values: dict[str, Any] = {name: value / count for name, value in sums.items()}
        values["lr"] = self.engine.learning_rates()
        values["seconds"] = round(self._elapsed(), 3)
        values["images_per_second"] = self._rate(count, now)
        values["skipped"] = self.skipped
        self._log.write(self.step, values)

    def _rate(self, steps: int, now: float) -> float:
        config, before = self.config, getattr(self, "_logged", self._since)
        self._logged = now
        images = steps * config.accumulate * config.batch * self.engine.world
        return round(images / max(now - before, 1e-9), 3)

    def _validate(self) -> None:
        if len(self._validation) and self.engine.first:
            assert self._log is not None
            if self._validation_images is None:
                crop = self.config.data.validation and self.config.data.validation.crop
                images = [self._validation.get(i)[1] for i in range(len(self._validation))]
                self._validation_images = [middle(image, crop) if crop else image for image in images]
            self.task.model.eval()
            with torch.no_grad(), self._averaged():
                scores = self.task.validate(self._validation_images)
            self.task.model.train()
            if scores:
                self._log.write(self.step, {"validation": scores})
        self.engine.barrier()

    def _save(self) -> None:
        if self.engine.first and self._saved != self.step:
            facts = {
                "config": self.config.plain(),
                "pictures": self._fingerprint,
                "task": self.task.state(),
                "precision": self.engine.state(),
                "skipped": self.skipped,
                "skipped_in_row": self.skipped_in_row,
                "seconds": round(self._elapsed(), 3),
            }
            save_checkpoint(
                self.out,
                self.step,
                self.task.model,
                self.engine.optimiser,
                self.average,
                facts,
                self.config.keep_checkpoints,
            )
            self._saved = self.step
        self.engine.barrier()

    def _export(self) -> Path:
        """What the phase hands over, whole or not at all."""
        folder, part = self.out / "export", self.out / ".export.part"
        if self.engine.first:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            self.task.model.eval()
            with torch.no_grad(), self._averaged():
                self.task.export(part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        self.engine.barrier()
        return folder

    def _averaged(self) -> Any:
        """The averaged weights for a while, if there are any."""
        from contextlib import nullcontext

        return self.average.applied() if self.average is not None else nullcontext()

"""What a run leaves to read: `log.jsonl`, lines on the console, and TensorBoard's files on request."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from splatbench.files import write_atomic
from splatbench.training.errors import TrainingError

_QUIET = 5.0  # seconds between two lines on the console


class RunLog:
    """One JSON object per line: `step` (steps done), then what was measured.

    A resumed run drops the lines after the step that it goes on from, and appends.
    """

    def __init__(self, run: Path, step: int, tensorboard: bool, say: Callable[[str], None]) -> None:
        """
        Args:
            step: steps that are done.
            say: where lines for a person go.

        Raises:
            TrainingError: TensorBoard is wanted and not installed.
        """
        self.path, self.say = run / "log.jsonl", say
        self._keep_until(step)
        self._board = _tensorboard(run / "tensorboard", step) if tensorboard else None
        self._said = -math.inf

    def _keep_until(self, step: int) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        kept = [line for line in lines if _step_of(line) <= step] if step else []
        write_atomic(self.path, "".join(f"{line}\n" for line in kept).encode())

    def write(self, step: int, values: Mapping[str, Any], always: bool = False) -> None:
        """
        Args:
            values: numbers, or mappings of them.
            always: on the console, too, even if there was a line a moment ago.
        """
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **_plain(values)}) + "\n")
        if self._board is not None:
            for name, value in _named(values):
                self._board.add_scalar(name, value, step)
        now = time.monotonic()
        if always or now - self._said >= _QUIET:
            self._said = now
            self.say(f"step {step}: {_show(values)}")

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line that was cut off


def _plain(value: Any) -> Any:
    """As JSON holds it: a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _named(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    named: list[tuple[str, float]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            named += _named(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            named.append((f"{prefix}{key}", value))
    return named


def _show(values: Mapping[str, Any]) -> str:
    """ "loss 0.0123, lr 0.0001"."""
    return ", ".join(f"{name} {value:.4g}" for name, value in _named(values))


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            f"`tensorboard: true` needs a package that is missing ({error}): pip install 'splatbench[train]'"
        ) from None
    return SummaryWriter(str(folder), purge_step=step or None)


class Meter:
    """Means of what the steps between two lines of the log gave, and pictures per second."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._since = time.monotonic()

    def add(self, values: Mapping[str, float]) -> None:
        """A step's values."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1

    def take(self, images_per_step: int) -> dict[str, float]:
        """The means since the last call, and `images_per_second`; empty if no step was added."""
        now = time.monotonic()
        means = {name: total / self._steps for name, total in self._sums.items()}
        if self._steps:
            means["images_per_second"] = round(self._steps * images_per_step / max(now - self._since, 1e-9), 3)
        self._sums, self._steps, self._since = {}, 0, now
        return means

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

    def write(self, step: int, values: Mapping[str, Any], line: str | None = None) -> None:
        """
        Args:
            values: numbers, or mappings of them.
            line: for the console; None: a line of the values, unless there was one a moment ago.
        """
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **_plain(values)}) + "\n")
        if self._board is not None:
            for name, value in _named(values):
                self._board.add_scalar(name, value, step)
        now = time.monotonic()
        if line is not None or now - self._said >= _QUIET:
            self._said = now
            self.say(line if line is not None else f"step {step}: {show(values)}")

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


def show(values: Mapping[str, Any]) -> str:
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

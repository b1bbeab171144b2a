"""What a person sees while a job works, and what its log file keeps."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

#: Seconds between two progress lines of one image where the output is not a terminal of its own.
LINE_INTERVAL = 10.0

StepCallback = Callable[[int, int, dict[str, float]], None]


class Reporter:
    """Lines on the screen and in a log file; the log also keeps tracebacks.

    Args:
        stage: word before every line, e.g. "encode".
        log: file that is appended to; None keeps no log.
        live: redraw one progress bar per image instead of printing lines (a terminal that only we write to).
    """

    def __init__(self, stage: str, log: Path | None = None, live: bool = False, stream: TextIO | None = None) -> None:
        self.stage = stage
        self.live = live
        self._stream = stream or sys.stderr
        self._log: TextIO | None = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log = log.open("a", encoding="utf-8", errors="backslashreplace")

    def line(self, text: str) -> None:
        """One line for the reader and the log."""
        stamped = f"{time.strftime('%H:%M:%S')} {self.stage}: {text}"
        print(stamped, file=self._stream, flush=True)
        self.log(stamped)

    def log(self, text: str) -> None:
        """Only into the log. A full disk must not hide the error that it is about to cause elsewhere."""
        if self._log is not None:
            with contextlib.suppress(OSError):
                print(text, file=self._log, flush=True)

    def failure(self, label: str, reason: str, error: BaseException | None = None) -> None:
        """A line for the reader, the traceback for the log."""
        self.line(f"{label}: {reason}")
        if error is not None:
            self.log("".join(traceback.format_exception(error)))

    @contextlib.contextmanager
    def steps(self, label: str) -> Iterator[StepCallback]:
        """Gives the callback for `Trace.on_step` of one image."""
        if self.live:
            with _live_bar(label) as callback:
                yield callback
        else:
            yield _line_printer(lambda text: self.line(f"{label} {text}"))

    def close(self) -> None:
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.close()


def describe_values(values: dict[str, float]) -> str:
    """Loss and quality as a reader wants them: "26.10 dB", else "loss 0.00123"."""
    if "psnr" in values:
        return f"{values['psnr']:.2f} dB"
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())


def _line_printer(write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> StepCallback:
    begin = last = clock()

    def callback(i: int, n: int, values: dict[str, float]) -> None:
        nonlocal begin, last
        now = clock()
        if i == 1:  # a second stage counts from one again
            begin = now
        if now - last < LINE_INTERVAL or i >= n:
            return
        last = now
        left = (now - begin) * (n - i) / max(i, 1)
        write(f"step {i}/{n} {describe_values(values)}, {left:.0f} s left")

    return callback


@contextlib.contextmanager
def _live_bar(label: str) -> Iterator[StepCallback]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.completed:.0f}/{task.total}"),
        TextColumn("{task.fields[values]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None, values="")
        yield lambda i, n, values: progress.update(task, completed=i, total=n, values=describe_values(values))

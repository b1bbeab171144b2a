"""When an encoding began and ended, by this process's clock: it looks for two files that the program creates."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Marks:
    """Looks for the marks each time that it is called; an engine calls it every few milliseconds.

    A beginning is taken to be when the mark was last seen missing, an end when it is first seen, so the seconds between
    them are never fewer than the true ones, and at most the time between two looks too many at either end.

    Args:
        folder: where the marks appear. Whatever bears their names is a mark; nothing is opened.
        begin, end: names.
    """

    def __init__(self, folder: Path, begin: str, end: str) -> None:
        self._begin_mark, self._end_mark = folder / begin, folder / end
        self._missing_at = time.perf_counter()
        self._begin: float | None = None
        self._end: float | None = None

    def look(self) -> None:
        now = time.perf_counter()
        if self._begin is None:
            if os.path.lexists(self._begin_mark):
                self._begin = self._missing_at
            else:
                self._missing_at = now
        if self._begin is not None and self._end is None and os.path.lexists(self._end_mark):
            self._end = time.perf_counter()

    @property
    def complete(self) -> bool:
        """Whether both have been seen, in this order."""
        return self._end is not None

    @property
    def seconds(self) -> float:
        """Between the marks.

        Raises:
            ValueError: they are not complete.
        """
        if self._begin is None or self._end is None:
            raise ValueError("the time marks are not complete")
        return self._end - self._begin

"""Whether Linux itself ended processes because memory ran out."""

from __future__ import annotations

import contextlib
from pathlib import Path


def memory_kills() -> int:
    """Processes that Linux has killed for memory since it started; 0 where that is not known."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0

"""Whether Linux itself ended processes because memory ran out."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PROC = Path("/proc")


def memory_kills() -> int:
    """Processes that Linux has killed for memory: in this process's control group where it counts them, else on the
    whole machine since it started; 0 where neither is known."""
    own = own_memory_kills()
    return (_count(PROC / "vmstat") or 0) if own is None else own


def own_memory_kills() -> int | None:
    """Those in this process's control group alone (`oom_kill` in its memory.events, or of version 1, since Linux 4.13,
    in its memory.oom_control). None where that is not told, as of the root of all groups."""
    with contextlib.suppress(OSError, ValueError):
        groups: dict[str, str] = {}
        for line in (PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            groups |= dict.fromkeys(controllers.split(","), group)
        for line in (PROC / "self" / "mountinfo").read_text(encoding="utf-8").splitlines():
            where, _, what = line.partition(" - ")
            root, point = where.split()[3:5]
            kind, _, options = what.split()[:3]
            if kind == "cgroup" and "memory" in groups and "memory" in options.split(","):
                group, name = groups["memory"], "memory.oom_control"
            elif kind == "cgroup2" and "memory" not in groups and "" in groups:
                group, name = groups[""], "memory.events"
            else:
                continue
            # In a container the mount begins at its own group, or below the one that is named.
            inside = os.path.relpath(group, root)
            found = _count(Path(point) / ("" if inside.startswith("..") else inside) / name)
            if found is not None:
                return found
    return None


def _count(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None

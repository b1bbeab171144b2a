"""Who a container belongs to: a label that tells a later run whether that process still lives."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import asdict, dataclass
from functools import cache
from json import dumps, loads
from pathlib import Path

import psutil

OWNER_LABEL = "io.splatbench.owner"


@dataclass(frozen=True)
class OwnedBy:
    """A process of a machine. Numbers of processes mean something in one boot and one namespace only.

    Attributes:
        host: name of the machine.
        boot: what Linux calls this start of the machine; empty elsewhere.
        namespace: of process numbers.
        pid, begun: the process and when it began, since numbers are used again. On Linux in ticks since the machine
            started, which setting the clock does not change.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    begun: float

    def label(self) -> str:
        return dumps(asdict(self), sort_keys=True)

    @staticmethod
    def parse(label: str) -> OwnedBy | None:
        """None for what is no such label."""
        with contextlib.suppress(ValueError, TypeError):
            read = OwnedBy(**loads(label))
            if all(isinstance(getattr(read, name), kind) for name, kind in _KINDS.items()):
                return read
        return None

    def is_gone(self, running: bool) -> bool:
        """Whether nobody will remove the container any more, as far as this process can know.

        Args:
            running: the container runs. After a restart of the machine it does not.
        """
        if self.host != socket.gethostname():
            return False
        if self.boot != _boot():
            return not running
        return self.namespace == _namespace() and not _lives(self.pid, self.begun)


_KINDS: dict[str, type | tuple[type, ...]] = {
    "host": str,
    "boot": str,
    "namespace": str,
    "pid": int,
    "begun": (int, float),
}


def myself() -> OwnedBy:
    """This process."""
    return OwnedBy(socket.gethostname(), _boot(), _namespace(), os.getpid(), _begun(os.getpid()))


def _lives(pid: int, begun: float) -> bool:
    try:
        return abs(_begun(pid) - begun) < 1
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return True


def _begun(pid: int) -> float:
    if sys.platform != "linux":
        return psutil.Process(pid).create_time()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    # pid (name) state ...; field 22 is `starttime` (proc(5)); the name may hold anything, also brackets
    return float(stat.rpartition(")")[2].split()[19])


@cache
def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""

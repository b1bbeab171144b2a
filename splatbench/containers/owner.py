"""Who a container belongs to: a label that tells a later run whether that process still lives."""

from __future__ import annotations

import contextlib
import os
import socket
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
        pid, begun: the process and when it began (seconds since 1970), since numbers are used again.
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
    return OwnedBy(socket.gethostname(), _boot(), _namespace(), os.getpid(), psutil.Process().create_time())


def _lives(pid: int, begun: float) -> bool:
    try:
        # The clock may be set while it runs: a second of difference is the same process.
        return abs(psutil.Process(pid).create_time() - begun) < 1 if psutil.pid_exists(pid) else False
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


@cache
def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""

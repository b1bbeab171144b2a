"""Removes a container whose harness died: `python -m splatbench.containers.reaper CONTAINER SECONDS`.

It waits at its standard input. A byte says that all is well; its end without a byte, which is what the kernel makes of
a killed harness, or SECONDS without either mean that the container has to go. The process has a session of its own, so
what ends the harness by its group does not end it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time

#: How long a daemon that does not answer is asked again.
_PATIENCE_SECONDS = 60.0


class Reaper:
    """The harness's side: from now on the container is removed should this process die.

    Args:
        seconds: after these it is removed in any case.
    """

    def __init__(self, container: str, seconds: float) -> None:
        command = [sys.executable, "-P", "-m", "splatbench.containers.reaper", container, str(seconds)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def dismiss(self) -> None:
        """The container is gone: nothing is left to do."""
        self._process.communicate(b".")

    def release(self) -> None:
        """The container could not be removed from here: the reaper goes on trying."""
        assert self._process.stdin is not None
        self._process.stdin.close()


def main(container: str, seconds: float) -> int:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if ready and os.read(sys.stdin.fileno(), 1):
        return 0
    from splatbench.containers.docker import remove_container

    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not remove_container(container):
        if time.monotonic() > deadline:
            return 1
        time.sleep(1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], float(sys.argv[2])))

"""Runs a program of this machine with the user's own rights: no image, NO ISOLATION.

It is for programs that are trusted like the harness itself, where no container engine is: it can read and write what
the user can, reach the network and see the original while it decodes. Limits are watched, not held by the kernel.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import PurePosixPath

from splatbench.containers.engines import inside_environment, kept_environment
from splatbench.containers.kept import run_kept
from splatbench.containers.task import ContainerTask, Ended, EngineName, ImageMissing

#: Where programs find the contract's folders: a mount at /splatbench/in is told as SPLATBENCH_IN, and so on.
_ROOT = PurePosixPath("/splatbench")
#: Of the environment, no more than what a program needs to be found and to print.
_KEPT = ("PATH", "LANG", "LC_ALL")


class ProcessEngine:
    """Programs of this machine, below a keeper that ends whatever they leave behind."""

    name: EngineName = "process"

    def check(self) -> str:
        return f"no isolation ({platform.system()} {platform.release()})"

    def digest(self, image: str) -> str:
        raise ImageMissing(f"the engine `process` runs programs of this machine, no images (not {image!r})")

    def run(self, task: ContainerTask) -> Ended:
        """Mounts below /splatbench are told as variables; others must be at the same place inside as here.

        Raises:
            ImageMissing: no such program on this machine.
            ValueError: a mount that a process cannot see, or no command.
        """
        command = _command(task)
        return run_kept(task, lambda folder: command, _environment(task))


def _command(task: ContainerTask) -> list[str]:
    if not task.command:
        raise ValueError("the engine `process` needs a command")
    first, *rest = task.command
    program = sys.executable if first == "python" else shutil.which(first)
    if program is None:
        raise ImageMissing(f"there is no program {first!r} on this machine (PATH: {os.environ.get('PATH', '')})")
    return [program, *rest]


def _environment(task: ContainerTask) -> dict[str, str]:
    folders = {}
    for mount in task.mounts:
        target = PurePosixPath(mount.target)
        if target.parent == _ROOT:
            folders[f"SPLATBENCH_{target.name.upper()}"] = str(mount.source.resolve())
        elif str(target) != str(mount.source):
            raise ValueError(f"the engine `process` cannot show {mount.source} as {target}: nothing is mounted")
    return {**kept_environment(_KEPT), **inside_environment(task), **folders}

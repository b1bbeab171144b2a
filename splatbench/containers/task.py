"""What an engine is asked to run, and how that ended: the border between the file contract and the engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

EngineName = Literal["docker", "apptainer", "process"]

#: How a task ended: by itself (with an exit code), or ended by the engine for the limit that it broke, or by `watch`.
#: "pids" comes from engines that count processes; where the kernel refuses the next one, the program sees an error.
#: "system memory": not the limit of the task was reached, the machine's own memory ran out.
Ending = Literal["exited", "timeout", "memory", "system memory", "output", "pids", "stopped"]


class EngineMissing(RuntimeError):
    """The engine is not on this machine or does not answer; the text says what to do."""


class ImageMissing(RuntimeError):
    """The engine has no such image; the text says how to get it."""


class GpuMissing(RuntimeError):
    """The engine cannot give a container the device; the text says what to do."""


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine as the task sees it."""

    source: Path
    target: str  # absolute, inside
    read_only: bool = True


@dataclass(frozen=True)
class Limits:
    """What a task may use. Memory without swap."""

    memory_mib: int = 8192
    pids: int = 256  # processes and threads
    seconds: float = 3600.0  # wall time from the start of the task
    threads: int = 0  # cores; 0: all that this process may use
    output_mib: int = 1024  # all files in folders that it can write; and the longest file anywhere


@dataclass(frozen=True)
class ContainerTask:
    """One run of an image. There is never a network.

    Attributes:
        image: reference as the user gives it, e.g. "team/method@sha256:..."; with engine "process" not used.
        command: replaces the image's command (not its entry point); empty keeps it. With "process": what is run; a
            first word "python" is this Python.
        mounts: all but these are the image's own files, read-only; /tmp is writable and empty.
        gpu: one leased device as CUDA names it (an index or a UUID); None: no device at all.
        watch: called every 2 to 20 ms while the task runs, and once after its end; returning True while it runs ends
            it ("stopped").
    """

    image: str
    command: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    gpu: str | None = None
    watch: Callable[[], bool] | None = None


@dataclass(frozen=True)
class Ended:
    """How a task ended.

    Attributes:
        exit_code: None where it did not end by itself.
        log: the end of what it printed (both streams), at most 8 kB, control characters removed.
        seconds: wall time of the whole task.
        peak_memory_mib: largest resident memory of all its processes together, sampled every 100 ms; None where the
            engine cannot tell, or the task ended before the first sample.
    """

    ending: Ending
    exit_code: int | None
    log: str
    seconds: float
    peak_memory_mib: float | None = None


class Engine(Protocol):
    """One way to run images: `splatbench.containers.engines.get_engine(name)` gives it."""

    name: EngineName

    def check(self) -> str:
        """Version of the engine, for people.

        Raises:
            EngineMissing: not here, or not answering.
        """

    def digest(self, image: str) -> str:
        """ "sha256:..." of an image's content. A reference that ends in @sha256:... is answered without the engine.

        Raises:
            EngineMissing, ImageMissing
        """

    def run(self, task: ContainerTask) -> Ended:
        """Runs a task to its end. Nothing of it is left running, however this call ends.

        Raises:
            EngineMissing, ImageMissing
            GpuMissing: the engine cannot give it the device
        """

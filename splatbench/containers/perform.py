"""One job from folder to answer: input written, the program run by an engine under a clock, its answer read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from splatbench.containers import contract
from splatbench.containers.answer import Content, Report, check_end, read_decoding, read_encoding, read_report
from splatbench.containers.contract import DecodeJob, EncodeJob, JobFolder, job_folder
from splatbench.containers.marks import Marks
from splatbench.containers.task import ContainerTask, Ended, Engine, Limits


@dataclass(frozen=True)
class Program:
    """What is run for a job: see `ContainerTask` for the fields."""

    engine: Engine
    image: str
    command: tuple[str, ...]
    limits: Limits
    gpu: str | None = None
    marks: bool = True  # whether the time between its marks is its time; else the container's whole life

    def run(self, folder: JobFolder, marks: Marks) -> Ended:
        """Runs it on a folder that holds its input."""

        def look() -> bool:
            marks.look()
            return False

        task = ContainerTask(self.image, self.command, folder.mounts, limits=self.limits, gpu=self.gpu, watch=look)
        ended = self.engine.run(task)
        marks.look()  # what it left between the last look and its end
        return ended

    def time(self, ended: Ended, marks: Marks) -> tuple[float, str]:
        """Seconds that count, and the note that says which they are."""
        if not self.marks:
            return ended.seconds, "the whole life of the container counts, as configured"
        if not marks.complete:
            return ended.seconds, "no time marks: the whole life of the container counts"
        note = f"the time between the program's marks counts, of {ended.seconds:.2f} s of its container"
        return min(marks.seconds, ended.seconds), note  # what an engine does before its first look is not the program's


@dataclass(frozen=True)
class Encoded:
    """An encoding as a program gave it. Seconds by our clock; memory in MiB, None where the engine cannot tell."""

    content: Content
    report: Report
    seconds: float
    peak_memory_mib: float | None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Decoded:
    """A decoding as a program gave it."""

    content: Content
    seconds: float


def encode(program: Program, job: EncodeJob, image: np.ndarray) -> Encoded:
    """Has a program encode a picture, uint8 [H, W, 3].

    Raises:
        NoAnswer: with the status and reason of the row.
        EngineMissing, ImageMissing, GpuMissing: it could not be run.
    """
    with job_folder() as folder:
        folder.put_encoding(job, image)
        marks = Marks(folder.output, contract.STARTED, contract.FINISHED)
        ended = program.run(folder, marks)
        check_end(ended, folder.output, program.limits)
        content = read_encoding(folder.output, job.decoder, program.limits)
        report, notes = read_report(folder.output)
        seconds, which = program.time(ended, marks)
        return Encoded(content, report, seconds, ended.peak_memory_mib, [which, *notes])


def decode(program: Program, job: DecodeJob, payload: bytes) -> Decoded:
    """Has a program decode a payload, in folders that hold nothing else.

    Raises:
        NoAnswer, EngineMissing, ImageMissing: as `encode`.
    """
    with job_folder() as folder:
        folder.put_decoding(job, payload)
        marks = Marks(folder.output, contract.STARTED, contract.FINISHED)
        ended = program.run(folder, marks)
        check_end(ended, folder.output, program.limits)
        content = read_decoding(folder.output, program.limits)
        return Decoded(content, program.time(ended, marks)[0])

"""A program that keeps the file contract, run by an engine; what it gives becomes an encoding or an error of a row."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from splatbench.budget import Budget
from splatbench.containers import perform
from splatbench.containers.answer import NoAnswer
from splatbench.containers.contract import DecodeJob, EncodeJob, JobBudget
from splatbench.containers.engines import get_engine
from splatbench.containers.references import digest_in
from splatbench.containers.task import EngineMissing, GpuMissing, ImageMissing
from splatbench.files import sha256_file
from splatbench.method import MethodError, Unavailable
from splatbench.provenance import usable_cores
from splatbench.trace import Diverged

from .config import Config


class OutOfMemory(MethodError, MemoryError):
    """The program ran out of memory, or reached its limit."""


class Container:
    """The program of a configuration. Engine and image are looked at when it is first needed.

    Args:
        device: "cpu", or "cuda" for the GPU that this process has leased.
    """

    def __init__(self, config: Config, device: str) -> None:
        self.config = config
        self._device: Literal["cpu", "cuda"] = "cuda" if device.startswith("cuda") else "cpu"
        self._program: perform.Program | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Fields of `splatbench.record.ContainerImage`."""
        return {"name": self.config.program, "digest": self.config.digest, "engine": self.config.engine}

    def program(self) -> perform.Program:
        """Raises Unavailable where the engine or the image is not here, or is another image than configured."""
        if self._program is None:
            with _as_rows():
                self._check_image()
            limits = replace(self.config.limits, threads=self._threads())
            self._program = perform.Program(
                get_engine(self.config.engine),
                self._exact_image(),
                command_of(self.config),
                limits,
                gpu=self._gpu(),
                marks=self.config.clock == "marks",
            )
        return self._program

    def _check_image(self) -> None:
        engine, config = get_engine(self.config.engine), self.config
        engine.check()
        if not config.image:
            return
        found = engine.digest(config.image)
        if not config.digest:
            raise Unavailable(f"the image {config.image} has only now come here; run this again")
        if found != config.digest:
            raise Unavailable(
                f"the image {config.image} is {found} here, the configuration says {config.digest}: get that image, or "
                "leave `digest` out to take this one"
            )

    def _exact_image(self) -> str:
        """The reference with the digest that was checked: a name may stand for another image when a job begins."""
        image, digest = self.config.image, self.config.digest
        return f"{image}@{digest}" if image and not digest_in(image) else image

    def _threads(self) -> int:
        return self.config.limits.threads or int(os.environ.get("SPLATBENCH_THREADS", "0")) or usable_cores()

    def _gpu(self) -> str | None:
        """The lease exports exactly one device."""
        return os.environ["CUDA_VISIBLE_DEVICES"] if self._device == "cuda" else None

    def encode(self, image: np.ndarray, budget: Budget, seed: int) -> perform.Encoded:
        """An encoding of a picture, uint8 [H, W, 3], that has not been looked into.

        Raises:
            MethodError, Diverged, OutOfMemory, Unavailable: there is none; says why.
        """
        height, width = image.shape[:2]
        program = self.program()
        job = EncodeJob(
            height=height,
            width=width,
            budget=JobBudget.of(budget, height, width),
            seed=seed,
            threads=program.limits.threads,
            device=self._device,
            decoder=self.config.decoder,
            settings=self.config.settings,
        )
        with _as_rows():
            return perform.encode(program, job, image)

    def decode(self, payload: bytes) -> perform.Decoded:
        """What the program makes of a payload, always on the CPU.

        Raises:
            MethodError, Diverged, OutOfMemory, Unavailable: nothing; says why.
        """
        program = replace(self.program(), gpu=None)
        with _as_rows("the decoder: "):
            return perform.decode(program, DecodeJob(threads=program.limits.threads), payload)


@contextmanager
def _as_rows(prefix: str = "") -> Iterator[None]:
    """Errors of engines and answers as those that rows are made of."""
    kinds = {"diverged": Diverged, "out_of_memory": OutOfMemory, "not_run": Unavailable}
    try:
        yield
    except NoAnswer as error:
        raise kinds.get(error.status, MethodError)(prefix + str(error)) from None
    except (EngineMissing, ImageMissing, GpuMissing) as error:
        raise Unavailable(str(error)) from error


def command_of(config: Config) -> tuple[str, ...]:
    """The command. A child process runs in an empty folder, so files that its words name get absolute paths; links
    stay, since the Python of an environment is one."""
    return tuple(
        f"{found[0].absolute()}{found[1]}" if (found := _file(config, word)) else word for word in config.command
    )


def program_hash(config: Config) -> str:
    """SHA-256 of the files that the command of a child process names: they decide its results. An image has its digest
    for that."""
    digest = hashlib.sha256()
    found = [named[0] for word in config.command if (named := _file(config, word))]
    for path in found:
        digest.update(sha256_file(path).encode())
    return digest.hexdigest() if found else ""


def _file(config: Config, word: str) -> tuple[Path, str] | None:
    """The file of this machine that a word of a child process's command names, and what follows its path: the runner's
    FILE:OBJECT names a file, too."""
    if config.engine != "process":
        return None
    before, colon, after = word.rpartition(":")
    for path, rest in ((word, ""), (before, colon + after)):
        if path and Path(path).is_file():
            return Path(path), rest
    return None

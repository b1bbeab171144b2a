"""The file contract between the harness and a method's program, version 1: docs/container-contract.md specifies it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splatbench.budget import Budget
from splatbench.containers.task import Mount

VERSION: Final = "1"

#: Where the program sees its two folders; the variables name them where they are elsewhere (engine "process").
INPUT, OUTPUT = "/splatbench/in", "/splatbench/out"
INPUT_VARIABLE, OUTPUT_VARIABLE = "SPLATBENCH_IN", "SPLATBENCH_OUT"

JOB = "job.json"
IMAGE_PNG, IMAGE_NPY = "image.png", "image.npy"
PAYLOAD = "payload.bin"
STARTED, FINISHED = "started", "finished"
REPORT, ERROR = "report.json", "error.json"
ENCODING = "encoding.s2d"
GAUSSIANS = ("gaussians.npz", "gaussians.safetensors")
PICTURES = ("picture.npy", "picture.png")

Decoder = Literal["gaussians", "container"]


class ContractError(ValueError):
    """A job that does not fit the contract; says what is wrong in which file."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JobBudget(_Part):
    """A budget in plain numbers: one of `gaussians`, `bpp` and `native`, perhaps with limits."""

    gaussians: int | None = Field(default=None, ge=1)  # at most so many
    bpp: float | None = Field(default=None, gt=0)  # bits per pixel of the file
    native: bool = False  # the method chooses
    iterations: int | None = Field(default=None, ge=1)  # at most so many steps
    seconds: float | None = Field(default=None, gt=0)  # wall time of the encoding, between its marks

    @classmethod
    def of(cls, budget: Budget, height: int, width: int) -> JobBudget:
        """Raises ValueError for a budget that leaves no Gaussian, or one in terms that no program is told."""
        return cls(
            gaussians=budget.count(height, width),
            bpp=budget.bpp,
            native=budget.native,
            iterations=budget.iterations,
            seconds=budget.seconds,
        )

    def budget(self) -> Budget:
        """The same for a method of this project.

        Raises:
            ValueError: not exactly one of the three.
        """
        return Budget(**self.model_dump())


class EncodeJob(_Part):
    """`job.json` of an encoding. The name of the picture is not in it."""

    contract: Literal["1"] = VERSION
    verb: Literal["encode"] = "encode"
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    budget: JobBudget
    seed: int
    threads: int = Field(ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    decoder: Decoder = "gaussians"  # "container": the answer is payload.bin
    settings: dict[str, Any] = Field(default_factory=dict)  # of the user's configuration, as they are
    images: tuple[str, ...] = (IMAGE_PNG, IMAGE_NPY)  # the picture, twice


class DecodeJob(_Part):
    """`job.json` of a decoding: all else that a decoder needs is in `payload.bin`, whose length is the rate."""

    contract: Literal["1"] = VERSION
    verb: Literal["decode"] = "decode"
    threads: int = Field(ge=1)


def read_encode_job(folder: Path) -> EncodeJob:
    """The job in a folder, for a program that keeps the contract.

    Raises:
        ContractError: it cannot be read, is of another version or verb, or does not fit.
    """
    path = folder / JOB
    try:
        return EncodeJob.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ContractError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ContractError(f"{path}: {problems}") from None


@dataclass(frozen=True)
class JobFolder:
    """The two folders of one job on this machine."""

    input: Path
    output: Path

    @property
    def mounts(self) -> tuple[Mount, ...]:
        return Mount(self.input, INPUT), Mount(self.output, OUTPUT, read_only=False)

    def put_encoding(self, job: EncodeJob, image: np.ndarray) -> None:
        """Writes the input of an encoding; image uint8 [H, W, 3]."""
        from splatbench.codec.pictures import encode_png

        array = io.BytesIO()
        np.save(array, np.ascontiguousarray(image), allow_pickle=False)
        self._put(IMAGE_NPY, array.getvalue())
        self._put(IMAGE_PNG, encode_png(image, compress_level=1))
        self._put(JOB, job.model_dump_json(indent=1).encode())

    def put_decoding(self, job: DecodeJob, payload: bytes) -> None:
        """Writes the input of a decoding."""
        self._put(PAYLOAD, payload)
        self._put(JOB, job.model_dump_json(indent=1).encode())

    def _put(self, name: str, data: bytes) -> None:
        path = self.input / name
        path.write_bytes(data)
        path.chmod(0o444)


@contextlib.contextmanager
def job_folder() -> Iterator[JobFolder]:
    """Fresh folders in a place that no other user of this machine can enter; removed at the end with all that the
    program left there (`scratch_folder`).

    Raises:
        OSError: they cannot be made.
    """
    from splatbench.containers.scratch import scratch_folder  # needs psutil, which what only reads results may lack

    with scratch_folder() as root:
        folder = JobFolder(root / "in", root / "out")
        for path in (folder.input, folder.output):
            path.mkdir()
            path.chmod(0o755)  # programs in containers may be another user; mkdir's mode is masked
        yield folder

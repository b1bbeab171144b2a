"""The schema of one measurement: one JSON line per (experiment, image, entry, budget, seed, snapshot)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["ok", "diverged", "out_of_memory", "failed", "not_run"]
Column = Literal["published", "corrected", "ours", "official", "external", "control"]

SCHEMA_VERSION = 1


#: Who wrote the code that made a row: this project; a paper's authors; somebody else.
Implementation = Literal["ours", "official", "external"]


class ContainerImage(BaseModel):
    """The image that work was done in."""

    model_config = ConfigDict(extra="forbid")

    name: str  # as the user names it
    digest: str = ""  # sha256:... of its content; empty where nobody told
    engine: str = ""  # docker, apptainer, or process: a child process without isolation
    recipe: str = ""  # of our own images: hash of what they are built from


class Provenance(BaseModel):
    """Where and with what a number was made; taken on the machine that did the work."""

    model_config = ConfigDict(extra="forbid")

    commit: str | None = None  # of this project; None outside a checkout
    dirty: bool | None = None  # uncommitted changes at that time
    version: str = ""  # of splatbench
    versions: dict[str, str] = Field(default_factory=dict)  # python, torch, numba, numpy ...
    device: str = "cpu"  # what encode ran on: cpu or the GPU's name
    gpu: str | None = None
    driver: str | None = None
    cpu: str = ""
    cores: int = 0
    threads: int = 0
    load_average: float | None = None  # 1-minute load when the job began: a hint whether times are quiet
    time: str = ""  # UTC, ISO 8601
    image: ContainerImage | None = None  # that this project's code ran in


class WarmStart(BaseModel):
    """The file whose Gaussians an encoding began from."""

    model_config = ConfigDict(extra="forbid")

    entry: str
    file_sha256: str
    seconds: float  # that it took; they are part of the encode time


class Record(BaseModel):
    """One measurement, or one failure. Rates in bits per pixel, times in seconds, memory in MiB."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    experiment: str
    dataset: str
    image: str
    pixel_sha256: str | None = None
    height: int | None = None
    width: int | None = None

    entry: str  # id of the experiment entry
    method: str
    title: str = ""
    family: str = ""  # what the rows of one method variant share, e.g. "GaussianImage (Cholesky)"
    column: Column = "ours"
    implementation: Implementation = "ours"
    container: ContainerImage | None = None  # that the method ran in, where it is not this project's code
    config: dict[str, Any] = Field(default_factory=dict)  # full, defaults included
    config_hash: str = ""

    budget: dict[str, Any] = Field(default_factory=dict)
    budget_slug: str = ""
    matched_to: str | None = None
    start: WarmStart | None = None  # None: the method's own
    n_target: int | None = None
    n_actual: int | None = None
    seed: int = 1
    snapshot: str = "final"  # or the iteration / stage name
    iterations: int | None = None  # steps done when the snapshot was taken

    status: Status = "ok"
    reason: str | None = None  # why the status is not ok; how to get it
    notes: list[str] = Field(default_factory=list)

    bytes: int | None = None
    bpp: float | None = None  # file length * 8 / (H W)
    nominal_bpp: float | None = None  # by the paper's formula
    file: str | None = None  # path of the encoded file, relative to the experiment's results folder
    file_sha256: str | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    metrics_not_run: dict[str, str] = Field(default_factory=dict)  # metric -> reason and how to get it

    encode_seconds: float | None = None  # median over repeats
    encode_seconds_all: list[float] = Field(default_factory=list)
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    to_bytes_seconds: float | None = None
    decode_seconds: float | None = None  # bytes -> pixels
    evaluate_seconds: float | None = None  # decoding and all metrics
    peak_memory_mib: float | None = None  # of the encoding process
    energy_joules: float | None = None  # of the whole device while encode ran; median over repeats; None: no counter
    energy_source: str | None = None  # which counter, e.g. "RAPL package-0"
    gpu_shared: bool = False
    curve: list[tuple[int, float, dict[str, float]]] = Field(default_factory=list)  # step, seconds, values
    provenance: Provenance = Field(default_factory=Provenance)

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two records measurements of the same thing."""
        return (self.experiment, self.dataset, self.image, self.entry, self.config_hash,
                self.budget_slug, str(self.seed), self.snapshot)  # fmt: skip


def to_line(record: Record) -> str:
    """The record as one line of JSON; sorted keys, so equal records are equal lines.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return json.dumps(record.model_dump(mode="json"), sort_keys=True, allow_nan=False)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Writes JSON lines whole or not at all; equal records are equal bytes."""
    from splatbench.files import write_atomic

    write_atomic(path, "".join(f"{to_line(record)}\n" for record in records).encode())


def read_records(path: Path) -> Iterator[Record]:
    """Reads JSON lines.

    Raises:
        ValueError: naming file and line of the first record that does not fit the schema.
    """
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield Record.model_validate_json(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error

"""What the stages leave on disk: one JSON file per image and run, written last, whole or not at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splatbench.files import Damaged, sealed, sha256_file, unseal, write_atomic
from splatbench.record import ContainerImage, Provenance, Status, WarmStart

#: Raised when older files can no longer be read; they are then made again.
LAYOUT_VERSION = 1


class _Result(BaseModel):
    """Attributes: PLACE: how many last parts of its path tell a result from all others of its experiment."""

    model_config = ConfigDict(extra="forbid")
    PLACE: ClassVar[int] = 5  # encodings/<entry>-<hash>/<data set>/<budget>-s<seed>/<image>.json

    layout: int = LAYOUT_VERSION


class SourceState(_Result):
    """How the image's file looked: a cheap sign that it has changed since."""

    bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> SourceState | None:
        """None where there is no such file."""
        try:
            state = path.stat()
        except OSError:
            return None
        return cls(bytes=state.st_size, modified_ns=state.st_mtime_ns)


class EncodedFile(_Result):
    """One file that an encoding left: the final one or a snapshot."""

    snapshot: str  # "final", or the iteration / stage name
    file: str = Field(pattern=r"^[\w.~%+,=@-]+$")  # name, beside the JSON: never a path
    sha256: str
    bytes: int
    n_actual: int | None = None  # Gaussians counted in the decoded file
    nominal_bits: int | None = None
    iterations: int | None = None
    seconds: float | None = None  # encode time so far; None of what was made elsewhere
    to_bytes_seconds: float | None = None


class EncodeResult(_Result):
    """What encoding one image gave, or why it gave nothing. Times in seconds, memory in MiB."""

    image: str
    pixel_sha256: str | None = None
    source: SourceState | None = None
    height: int | None = None
    width: int | None = None
    status: Status = "ok"
    reason: str | None = None
    notes: list[str] = Field(default_factory=list)
    n_target: int | None = None
    start: WarmStart | None = None
    files: list[EncodedFile] = Field(default_factory=list)
    snapshots_wanted: list[str] = Field(default_factory=list)
    encode_seconds_all: list[float] = Field(default_factory=list)
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    curve: list[tuple[int, float, dict[str, float]]] = Field(default_factory=list)
    peak_memory_mib: float | None = None
    energy_joules: float | None = None
    energy_source: str | None = None
    gpu_shared: bool = False
    container: ContainerImage | None = None
    provenance: Provenance = Field(default_factory=Provenance)

    @property
    def final(self) -> EncodedFile | None:
        return next((file for file in self.files if file.snapshot == "final"), None)

    @property
    def timed(self) -> bool:
        """Whether the encoding was seen: files that were made elsewhere have no encode time."""
        return self.final is not None and self.final.seconds is not None

    @property
    def busy_seconds(self) -> float:
        """Seconds of encoding that made this result, without those of its start."""
        return sum(self.encode_seconds_all) - len(self.encode_seconds_all) * (self.start.seconds if self.start else 0.0)

    def files_are_whole(self, folder: Path) -> bool:
        """Whether every file lies in `folder` with the recorded hash."""
        try:
            return all(sha256_file(folder / file.file) == file.sha256 for file in self.files)
        except OSError:
            return False


class MetricValue(_Result):
    """One measured value and the version of the metric that gave it."""

    value: float
    version: str
    seconds: float = 0.0


class FileEvaluation(_Result):
    """What measuring one file gave. Values are valid for exactly this file and this original."""

    file_sha256: str
    pixel_sha256: str
    status: Status = "ok"
    reason: str | None = None
    n_actual: int | None = None
    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    not_run: dict[str, str] = Field(default_factory=dict)
    decode_seconds: float | None = None
    evaluate_seconds: float = 0.0


class EvaluateResult(_Result):
    """The evaluations of all files of one image, by snapshot."""

    image: str
    snapshots: dict[str, FileEvaluation] = Field(default_factory=dict)


class Summary(_Result):
    """What a job did to its shard, for people and for the DAG; the results themselves are the per-image files."""

    PLACE: ClassVar[int] = 3  # encode/<group>/<shard>-<token>.json

    stage: str
    done: int = 0  # made by this job
    kept: int = 0  # found finished
    failed: int = 0  # rows that are not ok, whoever made them
    open: int = 0  # rows that a later run may still make (data, weights or a device were missing)
    busy_seconds: float = 0.0  # encode, or decode and metrics, of what this job made
    wall_seconds: float = 0.0  # of the job's process
    reasons: list[str] = Field(default_factory=list)


ResultType = TypeVar("ResultType", bound=_Result)


def read_result(kind: type[ResultType], path: Path) -> ResultType | None:
    """The result in a file; None where there is none, it is damaged, or of another layout."""
    return examine(kind, path)[0]


def examine(kind: type[ResultType], path: Path) -> tuple[ResultType | None, str]:
    """The result in a file, or None and what is wrong with the file; nothing is wrong with one that is not there."""
    try:
        result = kind.model_validate(unseal(path.read_bytes(), _place(path, kind.PLACE)))
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except Damaged as error:
        return None, str(error)
    except OSError as error:
        return None, f"it cannot be read: {error.strerror or error}"
    except ValidationError as error:
        return None, f"it is no {kind.__name__}: {error.error_count()} values do not fit"
    return (result, "") if result.layout == LAYOUT_VERSION else (None, "it is of another version's layout")


def is_older(path: Path, moment: float) -> bool:
    """Whether a file was made before a moment (time stamp). One from the future was: the clock has been set back since,
    and nobody knows by how much."""
    made = path.stat().st_mtime
    return made < moment or (moment > 0 and made > time.time())


def write_result(path: Path, result: _Result) -> None:
    """Raises OSError naming the path; then nothing is left behind."""
    write_document(path, result.model_dump(mode="json"), result.PLACE)


def write_document(path: Path, document: dict[str, Any], place: int = _Result.PLACE) -> None:
    """A result as plain values; see `write_result`."""
    write_atomic(path, sealed(document, _place(path, place)))


def _place(path: Path, parts: int) -> str:
    """What stays the same when an experiment's folder is moved, or named by another path."""
    return "/".join(path.absolute().parts[-parts:])

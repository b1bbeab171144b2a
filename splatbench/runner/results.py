"""What the stages leave on disk: one JSON file per image and run, written last, whole or not at all."""

from __future__ import annotations

import re
import stat
import time
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splatbench.files import Damaged, sealed, sha256_file, unseal, write_atomic
from splatbench.record import ContainerImage, Provenance, Status, WarmStart

#: Of what is written. Files of the first layout are of before there were digests, and are read; those of any other
#: are made again.
LAYOUT_VERSION = 2
_BARE = {"layout": 1}

#: Bytes. Results are kilobytes, with the curve of a long fit some megabytes; a file from elsewhere may have any size.
LARGEST = 64 * 2**20


def safe_name(name: str) -> str:
    """A name as part of a path: no separators, no "@" (it marks snapshots), no braces (Snakemake's); reversible."""
    return quote(name, safe="+,=")


def file_name(stem: str, snapshot: str, suffix: str) -> str:
    """Of an encoded file: that of its JSON without `.json`, the snapshot if it is not the final file, a suffix."""
    return stem + ("" if snapshot == "final" else f"@{safe_name(snapshot)}") + suffix


class _Part(BaseModel):
    """Of a result."""

    model_config = ConfigDict(extra="forbid")

    layout: int = 1  # the result's own counts; that of a part stands in all that was ever written, and stays


class _Result(_Part):
    """Attributes: PLACE: how many last parts of its path tell a result from all others of its experiment."""

    PLACE: ClassVar[int] = 5  # encodings/<entry>-<hash>/<data set>/<budget>-s<seed>/<image>.json

    layout: int = LAYOUT_VERSION

    def misplaced(self, path: Path) -> str:
        """What shows that the result is not that of a path; empty if nothing does."""
        return ""


class SourceState(_Part):
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


class EncodedFile(_Part):
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

    def misplaced(self, path: Path) -> str:
        """A result vouches for files of its own name alone: those beside it are other rows'."""
        for file in self.files:
            suffix = file.file.removeprefix(file_name(path.stem, file.snapshot, ""))
            if suffix == file.file or not _SUFFIX.fullmatch(suffix) or suffix.lower() == ".json":
                return f"it names the file {file.file}, which is not its own"
        if len({file.snapshot for file in self.files}) < len(self.files):
            return "it names two files of one snapshot"
        return ""

    def files_are_whole(self, folder: Path) -> bool:
        """Whether every file lies in `folder` with the recorded size and hash."""
        try:
            return all(_is_whole(folder / file.file, file) for file in self.files)
        except OSError:
            return False


#: One dot: with two, the row `a` could have the file of a row `a.b`.
_SUFFIX = re.compile(r"\.[A-Za-z0-9]+")


def _is_whole(path: Path, file: EncodedFile) -> bool:
    state = path.stat()  # first: a pipe has no end, and what is too long need not be read
    return stat.S_ISREG(state.st_mode) and state.st_size == file.bytes and sha256_file(path) == file.sha256


class MetricValue(_Part):
    """One measured value and the version of the metric that gave it."""

    value: float
    version: str
    seconds: float = 0.0


class FileEvaluation(_Part):
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

    def is_of(self, encoded: EncodeResult, file: EncodedFile) -> bool:
        """Whether this was measured of a file, and against the original that its encoding is of."""
        return (self.file_sha256, self.pixel_sha256) == (file.sha256, encoded.pixel_sha256 or "")


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
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return None, "it is not a file"
        if state.st_size > LARGEST:
            return None, f"it is longer than any result: {state.st_size / 2**20:.0f} MiB"
        result = kind.model_validate(unseal(path.read_bytes(), _place(path, kind.PLACE), _BARE))
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except Damaged as error:
        return None, str(error)
    except OSError as error:
        return None, f"it cannot be read: {error.strerror or error}"
    except ValidationError as error:
        return None, f"it is no {kind.__name__}: {error.error_count()} values do not fit"
    if result.layout not in (_BARE["layout"], LAYOUT_VERSION):
        return None, "it is of another version's layout"
    result.layout = LAYOUT_VERSION  # in which it is written, should it be
    fault = result.misplaced(path)
    return (None, fault) if fault else (result, "")


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

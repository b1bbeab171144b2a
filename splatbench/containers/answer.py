"""What a method's program left in its folder, read as what it is: files of somebody else's making."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splatbench.containers import contract
from splatbench.containers.contract import PICTURES
from splatbench.containers.task import Ended, Limits
from splatbench.exchange import parse_npy
from splatbench.record import Status

#: Bytes of report.json and of error.json.
MAX_JSON = 1 << 20
#: Characters of a reason or a note, and how many notes are kept.
MAX_TEXT, MAX_NOTES = 300, 10


class NoAnswer(RuntimeError):
    """A program gave no valid answer: `status` and reason of the row."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ToldError(BaseModel):
    """`error.json`."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["failed", "diverged", "out_of_memory", "not_run"]
    reason: str = Field(min_length=1)


class Report(BaseModel):
    """`report.json`: what the program says of its encoding. Nothing of it is measured by us."""

    model_config = ConfigDict(extra="forbid")

    notes: list[str] = Field(default_factory=list)
    nominal_bits: int | None = Field(default=None, ge=0, le=1 << 53)
    iterations: int | None = Field(default=None, ge=0, le=1 << 53)
    seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    def sentences(self) -> list[str]:
        """Its notes, cleaned, and what it tells of time and steps."""
        notes = [clean(note) for note in self.notes[:MAX_NOTES]]
        if len(self.notes) > MAX_NOTES:
            notes.append(f"{len(self.notes) - MAX_NOTES} more notes were left out")
        told = [f"{self.seconds:g} s"] if self.seconds is not None else []
        told += [f"{self.iterations} iterations"] if self.iterations is not None else []
        told += [f"{self.nominal_bits} nominal bits"] if self.nominal_bits is not None else []
        return [*notes, f"told by the program, not measured: {', '.join(told)}"] if told else notes


@dataclass(frozen=True)
class Content:
    """The one file that a program answered with."""

    name: str
    data: bytes


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """One printable line of at most `limit` characters: no control or formatting characters (they would colour a
    terminal or turn its text round), runs of spaces as one. HTML is text here; pages escape it."""
    printable = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 4 * limit])
    line = re.sub(" +", " ", printable).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_end(ended: Ended, folder: Path, limits: Limits) -> None:
    """Raises NoAnswer unless a program ended well: by an engine's limit, by its own error.json, or by its exit code,
    in this order."""
    if ended.ending == "timeout":
        raise NoAnswer("failed", f"the time limit of {limits.seconds:g} s passed{_said(ended)}")
    if ended.ending == "memory":
        raise NoAnswer("out_of_memory", f"the memory limit of {limits.memory_mib} MiB was reached{_said(ended)}")
    if ended.ending == "system memory":
        raise NoAnswer("out_of_memory", f"the system ended it because memory ran out{_said(ended)}")
    if ended.ending == "output":
        raise NoAnswer("failed", f"it wrote more than the {limits.output_mib} MiB that are allowed{_said(ended)}")
    if ended.ending == "pids":
        raise NoAnswer("failed", f"it started more than the {limits.pids} processes that are allowed{_said(ended)}")
    if ended.ending == "stopped":
        raise NoAnswer("failed", "it was stopped by the harness")
    if (told := _told_error(folder)) is not None:
        raise NoAnswer(told.status, clean(told.reason) or "no reason was given")
    if ended.exit_code != 0:
        raise NoAnswer("failed", f"exit code {ended.exit_code}{_said(ended)}")


def _said(ended: Ended) -> str:
    """The last line of the log, as the end of a sentence."""
    lines = [line for line in map(clean, ended.log.splitlines()) if line]
    return f": {lines[-1]}" if lines else ", without a word"


def _told_error(folder: Path) -> ToldError | None:
    try:
        data = read_regular(folder, contract.ERROR, MAX_JSON)
        return None if data is None else ToldError.model_validate_json(data)
    except (ValueError, NoAnswer) as error:
        raise NoAnswer("failed", f"{contract.ERROR} cannot be read: {_problem(error)}") from None


def read_report(folder: Path) -> tuple[Report, list[str]]:
    """The report and the notes of the row. A report that cannot be read is a note: the encoding is not lost for it."""
    try:
        data = read_regular(folder, contract.REPORT, MAX_JSON)
        report = Report() if data is None else Report.model_validate_json(data)
    except (ValueError, NoAnswer) as error:
        return Report(), [f"{contract.REPORT} cannot be read: {_problem(error)}"]
    return report, report.sentences()


def _problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return clean(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": "))


def read_encoding(folder: Path, decoder: contract.Decoder, limits: Limits) -> Content:
    """The one answer to an encoding.

    Raises:
        NoAnswer: there is none, more than one, another kind than the configuration's decoder reads, or no plain file.
    """
    content = _read_one(folder, (*contract.GAUSSIANS, contract.ENCODING, contract.PAYLOAD), limits)
    if (content.name == contract.PAYLOAD) != (decoder == "container"):
        wanted = (
            contract.PAYLOAD if decoder == "container" else f"{', '.join(contract.GAUSSIANS)} or {contract.ENCODING}"
        )
        raise NoAnswer("failed", f"it wrote {content.name}; with `decoder: {decoder}` the answer is {wanted}")
    return content


def read_decoding(folder: Path, limits: Limits) -> Content:
    """The one answer to a decoding: a picture, or Gaussians.

    Raises:
        NoAnswer: there is none, more than one, or no plain file.
    """
    return _read_one(folder, (*PICTURES, *contract.GAUSSIANS), limits)


def _read_one(folder: Path, names: tuple[str, ...], limits: Limits) -> Content:
    there = [name for name in names if os.path.lexists(folder / name)]
    if not there:
        raise NoAnswer("failed", f"it ended without an answer: none of {', '.join(names)} in {contract.OUTPUT}")
    if len(there) > 1:
        raise NoAnswer("failed", f"it gave more than one answer: {', '.join(there)}")
    data = read_regular(folder, there[0], limits.output_mib << 20)
    if not data:
        raise NoAnswer("failed", f"{there[0]} is empty")
    return Content(there[0], data)


def read_regular(folder: Path, name: str, limit: int) -> bytes | None:
    """Content of a plain file of at most `limit` bytes; None where nothing of that name is there.

    Nothing else is ever opened for reading: a link leads elsewhere, a FIFO never ends.

    Raises:
        NoAnswer: it is no plain file, too long, or cannot be read.
    """
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        kind = "a link" if (folder / name).is_symlink() else f"not readable ({error.strerror})"
        raise NoAnswer("failed", f"{name} is {kind}; a plain file is expected") from None
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            kind = _KINDS.get(stat.S_IFMT(state.st_mode), "not a file")
            raise NoAnswer("failed", f"{name} is {kind}; a plain file is expected")
        if state.st_size > limit:
            raise NoAnswer("failed", f"{name} has {state.st_size} bytes, {limit} are allowed")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(handle)


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device"}


def array_picture(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of a .npy file.

    Raises:
        ValueError: any other array, or not such a file.
    """
    pixels = parse_npy(PICTURES[0], data)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"{PICTURES[0]} holds {pixels.dtype} {list(pixels.shape)}; uint8 [H, W, 3] is expected")
    return np.ascontiguousarray(pixels)

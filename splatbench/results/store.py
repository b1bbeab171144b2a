"""The encoded files beside published records: files/<sha256>.s2d, each named by its content."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from splatbench.codec import BitstreamError, decode
from splatbench.files import sha256_file
from splatbench.record import Record
from splatbench.results.findings import Finding, Place, Problem
from splatbench.results.originals import Originals

FOLDER = "files"

_NAME = re.compile(r"(?P<sha256>[0-9a-f]{64})\.\w+")


class Expected(NamedTuple):
    """What a record says of its file."""

    dataset: str
    image: str
    pixel_sha256: str | None
    bytes: int | None
    height: int | None
    width: int | None
    psnr: float | None

    @classmethod
    def of(cls, record: Record) -> Expected:
        psnr = record.metrics.get("psnr")
        return cls(record.dataset, record.image, record.pixel_sha256, record.bytes, record.height, record.width, psnr)


def stores(files: Sequence[Path]) -> list[tuple[Path, bool]]:
    """The folders of encoded files beside files of records, and whether all records beside them are among `files`."""
    read = {path.resolve() for path in files}
    folders = sorted({path.parent / FOLDER for path in files if (path.parent / FOLDER).is_dir()})
    return [(folder, read.issuperset(path.resolve() for path in folder.parent.glob("*.jsonl"))) for folder in folders]


def check_store(
    folder: Path, named: Mapping[str, Expected], complete: bool, originals: Originals | None = None
) -> Iterator[Problem]:
    """Whether every file has its content's name, belongs to a record, and decodes to a picture of the record's size.

    Args:
        folder: of encoded files.
        named: file_sha256 -> what a record with status ok says of it.
        complete: whether `named` is of all records beside the folder; else files that none of them names are passed
            over.
        originals: if given, the PSNR of what a file decodes to is measured again wherever the original is here.
    """
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            yield _problem(path, "a store holds files <sha256>.s2d and nothing else; move it elsewhere")
        elif match["sha256"] not in named:
            if complete:
                yield _problem(path, "no record names this file; remove it, or add the records that do")
        elif sha256_file(path) != match["sha256"]:
            yield _problem(path, "its content has another SHA-256 than its name; copy it again")
        else:
            yield from (_problem(path, text) for text in _content(path, named[match["sha256"]], originals))


def _content(path: Path, record: Expected, originals: Originals | None) -> Iterator[str]:
    data = path.read_bytes()
    if len(data) != record.bytes:
        yield f"holds {len(data)} bytes; the record of {record.image} says {record.bytes}"
    try:
        decoded = decode(data, path.suffix)
    except (BitstreamError, ValueError) as error:
        yield f"does not decode: {error}"
        return
    size = decoded.shape[:2] if isinstance(decoded, np.ndarray) else decoded.size
    if tuple(size) != (record.height, record.width):
        yield f"decodes to {size[1]}x{size[0]} pixels; {record.image} has {record.width}x{record.height}"
    elif originals is not None and record.psnr is not None:
        yield from originals.compare(data, path.suffix, record.dataset, record.image, record.pixel_sha256, record.psnr)


def _problem(path: Path, text: str) -> Problem:
    return Problem(Place(path), Finding("file", text))

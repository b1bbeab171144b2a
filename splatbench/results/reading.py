"""Files of records, read line by line: a broken line does not hide the others."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from splatbench.record import SCHEMA_VERSION, Record
from splatbench.results.findings import Finding, Place

#: Problems of one line with the schema that are named.
_NAMED = 4

#: Of a whole number, its sign included: the most that 64 bits hold.
_DIGITS = 19


def record_files(paths: Iterable[Path]) -> list[Path]:
    """The .jsonl files that are named, or lie in the folders that are named (not in folders below), each once.

    Raises:
        ValueError: a path is not there, is no .jsonl file, or is a folder without any.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            files = sorted(path.glob("*.jsonl"))
            if not files:
                raise ValueError(
                    f"{path} holds no records: a folder of records has files NAME.jsonl, as `splatbench collect` "
                    "writes them"
                )
        elif path.is_file():
            files = [path]
            if path.suffix != ".jsonl":
                raise ValueError(f"{path}: not a file of records; name .jsonl files or folders of them")
        else:
            raise ValueError(f"{path}: no such file or folder")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def lines_of(path: Path) -> Iterator[tuple[Place, bytes]]:
    """Places and bytes of the lines that are not empty."""
    offset = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if content := line.strip():
                yield Place(path, number, offset), content
            offset += len(line)


def line_at(place: Place) -> bytes:
    """The line that `lines_of` gave for a place."""
    with open(place.path, "rb") as file:
        file.seek(place.offset)
        return file.readline().strip()


class LineError(ValueError):
    """A line that is no record; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


def parse(line: bytes) -> Record:
    """The record in a line, which must be strict JSON (no NaN, no key twice) of exactly the types of the schema.

    Raises:
        LineError: it is not.
    """
    try:
        content = _STRICT.decode(line.decode())
    except UnicodeDecodeError as error:
        raise LineError(
            Finding("json", f"not UTF-8: {error.reason} at byte {error.start}; save the file as UTF-8")
        ) from None
    except (ValueError, RecursionError) as error:
        raise LineError(Finding("json", f"not JSON: {error}; was the file cut or merged by hand?")) from None
    if not isinstance(content, dict):
        raise LineError(Finding("json", "a record is a JSON object, {...}"))
    if content.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        text = f"schema version {content['schema_version']!r}; this splatbench reads {SCHEMA_VERSION}"
        raise LineError(Finding("schema", f"{text}: update splatbench, or collect the records again"))
    try:
        return Record.model_validate_json(line, strict=True)
    except ValidationError as error:
        details = error.errors()
        named = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in details[:_NAMED])
        more = f"; and {len(details) - _NAMED} more" if len(details) > _NAMED else ""
        raise LineError(Finding("schema", f"does not fit the schema of records: {named}{more}")) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is more than a number can hold")
    return value


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON; a value that was not measured is null")


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)


def read_all(paths: Iterable[Path]) -> list[Record]:
    """The records of files and folders, each measurement once.

    Raises:
        ValueError: naming file and line, of a line that is no record or repeats a measurement; or no record at all.
    """
    records: list[Record] = []
    places: dict[tuple[str, ...], Place] = {}
    for path in record_files(paths):
        for place, line in lines_of(path):
            try:
                record = parse(line)
            except LineError as error:
                raise ValueError(f"{place}: {error}") from None
            if (first := places.setdefault(record.key, place)) != place:
                raise ValueError(
                    f"{place} is the same measurement as {first}: merge first (`splatbench results merge`)"
                )
            records.append(record)
    if not records:
        raise ValueError(f"{', '.join(map(str, paths))}: there are no records")
    return records

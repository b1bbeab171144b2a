"""Files of records from several machines become one; nothing is lost without a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from splatbench.files import write_atomic
from splatbench.record import Record, Status, to_line
from splatbench.results.findings import Place, plain
from splatbench.results.order import record_order
from splatbench.results.reading import LineError, lines_of, parse, record_files

Rule = Literal["fail", "newest", "ok-first"]

#: Conflicts that an error message names.
_NAMED = 5

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class MergeError(ValueError):
    """Records that cannot become one file as asked."""


class _Row(NamedTuple):
    """What merging needs of a record; the line alone is kept whole."""

    line: str
    place: Place
    key: tuple[str, ...]
    order: tuple[object, ...]
    status: Status
    time: datetime


@dataclass(frozen=True)
class Conflict:
    """Records of the same measurement with different content: the one that stays, and the others."""

    name: str
    kept: Place
    dropped: tuple[Place, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.kept} stays instead of {', '.join(map(str, self.dropped))}"


@dataclass(frozen=True)
class Merged:
    """What a merge did: files and records read, rows written, rows that stood several times, conflicts."""

    files: int
    read: int
    written: int
    equal: int
    conflicts: list[Conflict] = field(default_factory=list)


def merge(paths: Sequence[Path], out: Path, rule: Rule = "fail") -> Merged:
    """Writes the union of files of records, one row per `Record.key`, whole or not at all.

    Equal rows are written once. Of rows with the same key and different content, by the rule:

    - "fail": none is chosen, nothing is written.
    - "newest": the one with the latest provenance.time, success or failure: what was measured last holds. A row that
      was never run loses against every other.
    - "ok-first": a success wins over a failure, a failure over a row that was never run; among equals the newest.

    Rows of the same time are told apart by their content, so the order of `paths` never matters. The output is sorted
    by experiment, entry, settings, data set, budget, seed, image and snapshot; numbers in names by value.

    Args:
        paths: .jsonl files or folders of them.
        out: file to write. It may be one of the files that are read, as long as every row of it stays.

    Raises:
        MergeError: a broken line; conflicts under "fail"; `out` holds rows that would be lost, or its name does not end
            in .jsonl.
    """
    if out.suffix != ".jsonl":
        raise MergeError(f"{out}: the name of a file of records ends in .jsonl")
    files = record_files(paths)
    rows = [row for path in files for row in _rows(path)]
    groups: dict[tuple[str, ...], dict[str, _Row]] = {}
    for row in rows:
        groups.setdefault(row.key, {}).setdefault(row.line, row)
    kept = {key: max(group.values(), key=lambda row: _preference(row, rule)) for key, group in groups.items()}
    conflicts = [_conflict(kept[key], group) for key, group in sorted(groups.items()) if len(group) > 1]
    if conflicts and rule == "fail":
        named = "\n".join(f"  {c.name}: {', '.join(map(str, (c.kept, *c.dropped)))}" for c in conflicts[:_NAMED])
        more = f"\n  ... and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
        raise MergeError(
            f"{len(conflicts)} rows stand in the files with different content; nothing was written. "
            f"Choose with --on-conflict newest or ok-first, or remove one of each:\n{named}{more}"
        )
    _require_nothing_lost(out, files, conflicts)
    lines = [row.line for row in sorted(kept.values(), key=lambda row: row.order)]
    write_atomic(out, "".join(f"{line}\n" for line in lines).encode())
    distinct = sum(map(len, groups.values()))
    return Merged(len(files), len(rows), len(lines), len(rows) - distinct, conflicts)


def _rows(path: Path) -> list[_Row]:
    rows = []
    for place, line in lines_of(path):
        try:
            record = parse(line)
            canonical = to_line(record)
        except LineError as error:
            raise MergeError(f"{place}: {error}; mend or remove the line") from None
        except ValueError as error:
            raise MergeError(f"{place}: a number is not finite ({error}); mend or remove the line") from None
        rows.append(_Row(canonical, place, record.key, record_order(record), record.status, _time(place, record)))
    return rows


def _time(place: Place, record: Record) -> datetime:
    """When it was measured; rows that never ran have no time, and count as the earliest."""
    text = record.provenance.time
    if not text and record.status == "not_run":
        return _EARLIEST
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise MergeError(
            f"{place}: provenance.time {text[:80]!r} is no time; `splatbench results validate` says more"
        ) from None


def _preference(row: _Row, rule: Rule) -> tuple[int, datetime, str]:
    ran = 0 if row.status == "not_run" else 1
    success = 1 if rule == "ok-first" and row.status == "ok" else 0
    return ran + success, row.time, row.line


def _conflict(kept: _Row, group: dict[str, _Row]) -> Conflict:
    experiment, dataset, image, entry, _, budget, seed, snapshot = kept.key
    name = plain(f"{experiment}, {dataset}, {image}, {entry}@{budget}, seed {seed}, {snapshot}")
    dropped = sorted((row.place for row in group.values() if row is not kept), key=str)
    return Conflict(name, kept.place, tuple(dropped))


def _require_nothing_lost(out: Path, files: Sequence[Path], conflicts: Sequence[Conflict]) -> None:
    if not out.exists():
        return
    target = out.resolve()
    if target not in [path.resolve() for path in files]:
        raise MergeError(f"{out} exists and is not among the files to merge: name it, too, or another file to write")
    lost = [place for conflict in conflicts for place in conflict.dropped if place.path.resolve() == target]
    if lost:
        raise MergeError(
            f"{out} is one of the files to merge, and {len(lost)} of its rows would be replaced (line {lost[0].line} "
            "first); write to another file with --output, look, and move it"
        )

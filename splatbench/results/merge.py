"""Files of records from several machines become one; nothing is lost without a word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from splatbench.files import write_atomic
from splatbench.record import Record, Status, to_line
from splatbench.results.findings import Place, plain
from splatbench.results.mixtures import Mixtures, Origin
from splatbench.results.order import key_order
from splatbench.results.reading import LineError, line_at, lines_of, parse, record_files
from splatbench.results.rules import MergeError, Preference, Rule, ahead_of_now, moment, preference

#: Conflicts that an error message names.
_NAMED = 5

Key = tuple[str, ...]


class _Row(NamedTuple):
    """What merging needs of a record; its line stays in the file, for half a million of them fill the memory."""

    place: Place
    digest: bytes  # of the canonical line
    canonical: bool  # whether that is how it stands in the file
    status: Status
    time: datetime
    values: int  # metrics that were measured
    origin: Origin

    def rank(self, rule: Rule) -> tuple[Preference, int, bytes]:
        """Larger for the row that stays; never equal for rows of different content."""
        return preference(self.status, self.time, rule), self.values, self.digest


class _Measurement:
    """Rows that one encoding left: the final one and snapshots. What is in it twice has different content."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[str, list[_Row]] = {}

    def add(self, snapshot: str, row: _Row) -> bool:
        """False for a row that is there already."""
        rows = self.rows.setdefault(snapshot, [])
        if any(known.digest == row.digest for known in rows):
            return False
        rows.append(row)
        return True

    @property
    def all(self) -> list[_Row]:
        return [row for rows in self.rows.values() for row in rows]

    @property
    def ran(self) -> bool:
        return any(row.status != "not_run" for row in self.all)

    def rank(self, rule: Rule) -> tuple[object, ...]:
        """By its final row, else by its best."""
        return max(row.rank(rule) for row in self.rows.get("final") or self.all)


@dataclass(frozen=True)
class Conflict:
    """Rows of the same thing with different content: those that stay, and the others."""

    name: str
    kept: tuple[Place, ...]
    dropped: tuple[Place, ...]

    def __str__(self) -> str:
        return f"{self.name}: {_places(self.kept)} stays instead of {_places(self.dropped)}"


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        files, read: that were read, and their rows.
        written: rows of the output.
        equal: rows that stood several times.
        yielded: rows that were never run, of what another file has results of.
        conflicts: that a rule settled.
        warnings: what a reader of the output should know, a sentence each.
    """

    files: int
    read: int
    written: int
    equal: int
    yielded: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def merge(paths: Sequence[Path], out: Path, rule: Rule = "fail") -> Merged:
    """Writes the union of files of records, one row per `Record.key`, whole or not at all.

    Equal rows are written once. A row that was never run is no result: it yields to any other. What one encoding left,
    its final row and its snapshots, stays together or goes together: no row of the output is half of one machine. Where
    the files hold several encodings of the same thing, or one with different content, by the rule:

    - "fail": none is chosen, nothing is written.
    - "newest": the one with the latest provenance.time, success or failure: what was measured last holds. The clocks of
      the machines are trusted; times that lie ahead are warned of.
    - "ok-first": a success wins over a failure; among equals the newest.

    Rows of the same time are told apart by how much was measured, then by their content, so the order of `paths` never
    matters. The output is sorted by experiment, entry, settings, data set, budget, seed, image and snapshot; numbers in
    names by value.

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
    runs, read, equal = _gather(files)
    kept: dict[Key, _Row] = {}
    conflicts, yielded = [], 0
    for run, measurements in runs.items():
        chosen = max(measurements, key=lambda measurement: measurement.rank(rule))
        stays = {snapshot: max(rows, key=lambda row: row.rank(rule)) for snapshot, rows in chosen.rows.items()}
        kept |= {(*run, snapshot): row for snapshot, row in stays.items()}
        others = [row for measurement in measurements for row in measurement.all if row not in stays.values()]
        # Where nobody ran it, any of the reasons is as good.
        rivals = [row for row in others if row.status != "not_run"]
        yielded += len(others) - len(rivals)
        if rivals:
            conflicts.append(Conflict(_name(run), _sorted(stays.values()), _sorted(rivals)))
    if conflicts and rule == "fail":
        raise MergeError(_refusal(conflicts))
    _require_nothing_lost(out, files, conflicts)
    write_atomic(out, (_line(kept[key]) for key in sorted(kept, key=key_order)))
    return Merged(len(files), read, len(kept), equal, yielded, conflicts, _warnings(kept))


def _gather(files: Iterable[Path]) -> tuple[dict[Key, list[_Measurement]], int, int]:
    """Measurements by what they are of (`Record.key` without the snapshot); rows read; rows that stood there before."""
    runs: dict[Key, dict[bytes, _Measurement]] = {}
    read = equal = 0
    for path in files:
        for place, line in lines_of(path):
            record, row = _row(place, line)
            *run, snapshot = record.key
            measurements = runs.setdefault(tuple(run), {})
            equal += not measurements.setdefault(_encoding(record), _Measurement()).add(snapshot, row)
            read += 1
    return {run: list(measurements.values()) for run, measurements in runs.items()}, read, equal


def _row(place: Place, line: bytes) -> tuple[Record, _Row]:
    try:
        record = parse(line)
        canonical = to_line(record).encode()
        time = moment(record.provenance.time, record.status)
    except LineError as error:
        raise MergeError(f"{place}: {error}; mend or remove the line") from None
    except ValueError as error:
        raise MergeError(f"{place}: {error}; `splatbench results validate` says more") from None
    values = sum(value is not None for value in record.metrics.values())
    origin = Origin.of(record.config_hash, record.provenance, record.container)
    digest = hashlib.sha256(canonical).digest()
    return record, _Row(place, digest, line == canonical, record.status, time, values, origin)


def _encoding(record: Record) -> bytes:
    """Tells encodings of the same thing apart: by when and where they were made."""
    made = record.provenance.model_dump_json()
    if record.container is not None:
        made += record.container.model_dump_json()
    return hashlib.sha256(made.encode()).digest()


def _line(row: _Row) -> bytes:
    line = line_at(row.place)
    if not row.canonical:
        line = to_line(parse(line)).encode()
    if hashlib.sha256(line).digest() != row.digest:
        raise MergeError(f"{row.place} was changed while it was merged; nothing was written: repeat the command")
    return line + b"\n"


def _warnings(kept: dict[Key, _Row]) -> list[str]:
    mixtures, ahead, now = Mixtures(), [], datetime.now(UTC)
    for key, row in kept.items():
        if row.status != "not_run":
            mixtures.add(key[0], key[3], row.origin)
        if ahead_of_now(row.time, now):
            ahead.append(row.place)
    warnings = list(mixtures.warnings())
    if ahead:
        warnings.append(
            f"{len(ahead)} rows were measured after now by their machine's clock ({min(ahead, key=str)} is one): "
            "it was wrong, and --on-conflict newest and ok-first trust it"
        )
    return warnings


def _name(run: Key) -> str:
    experiment, dataset, image, entry, _, budget, seed = run
    return plain(f"{experiment}, {dataset}, {image}, {entry}@{budget}, seed {seed}")


def _sorted(rows: Iterable[_Row]) -> tuple[Place, ...]:
    return tuple(sorted((row.place for row in rows), key=str))


def _places(places: Sequence[Place]) -> str:
    """The first of each file; a measurement with its snapshots is many lines."""
    return ", ".join(_of_files(places))


def _of_files(places: Sequence[Place]) -> Iterator[str]:
    for path in dict.fromkeys(place.path for place in places):
        inside = [place for place in places if place.path == path]
        yield f"{inside[0]}" + (f" and {len(inside) - 1} more" if len(inside) > 1 else "")


def _refusal(conflicts: Sequence[Conflict]) -> str:
    named = "\n".join(f"  {c.name}: {_places((*c.kept, *c.dropped))}" for c in conflicts[:_NAMED])
    more = f"\n  ... and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
    return (
        f"{len(conflicts)} results stand in the files with different content; nothing was written. "
        f"Choose with --on-conflict newest or ok-first, or remove one of each:\n{named}{more}"
    )


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

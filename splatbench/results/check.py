"""Everything that is looked at before records are published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from splatbench.results import identity, plausible
from splatbench.results.across import Agreement
from splatbench.results.findings import Finding, Place, Problem
from splatbench.results.history import changed_since
from splatbench.results.originals import Originals
from splatbench.results.reading import LineError, lines_of, parse, record_files
from splatbench.results.stale import staleness
from splatbench.results.store import Expected, check_store, stores


@dataclass
class Checked:
    """What was looked at, and every problem in the order of files and lines."""

    files: list[Path] = field(default_factory=list)
    records: int = 0
    encoded: int = 0  # files beside the records that these name
    measured_again: int | None = None  # of these, files whose PSNR was computed again; None: not asked for
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return sum(not problem.finding.warning for problem in self.problems)

    @property
    def warnings(self) -> int:
        return len(self.problems) - self.errors


def check(paths: Iterable[Path], *, git: bool = False, store: bool = True, decode: bool = False) -> Checked:
    """Checks files of records: schema, hashes, plausibility, duplicates, agreement with each other, with the manifests
    and with the encoded files beside them; stale rows are warnings.

    Args:
        paths: .jsonl files, or folders of them.
        git: also say which rows' code has changed since their commit.
        store: also look at the encoded files beside the records.
        decode: also measure the PSNR of these files again, where the originals are on this machine.

    Raises:
        ValueError: a path is not there, or a folder holds no records.
        RuntimeError: `git` without the whole history of a checkout.
    """
    checked = Checked(files=record_files(paths))
    agreement = Agreement()
    named: dict[str, Expected] = {}
    for path in checked.files:
        before = checked.records
        for place, line in lines_of(path):
            checked.records += 1
            checked.problems += [Problem(place, finding) for finding in _of_line(place, line, agreement, named, git)]
        if checked.records == before:
            checked.problems.append(Problem(Place(path), Finding("empty", "holds no record; remove it, or collect it")))
    checked.problems += agreement.trends()
    originals = Originals() if decode else None
    for folder, complete in stores(checked.files) if store else ():
        checked.encoded += sum(path.stem in named for path in folder.iterdir())
        checked.problems += check_store(folder, named, complete, originals)
    checked.measured_again = originals.compared if originals else None
    return checked


def _of_line(
    place: Place, line: bytes, agreement: Agreement, named: dict[str, Expected], git: bool
) -> Iterator[Finding]:
    try:
        record = parse(line)
    except LineError as error:
        yield error.finding
        return
    yield from identity.of_text(line)
    yield from identity.of_record(record)
    yield from plausible.of_record(record)
    yield from agreement.add(place, record, line)
    yield from (Finding("stale", reason, warning=True) for reason in staleness(record))
    if git and (reason := changed_since(record)):
        yield Finding("code", reason, warning=True)
    if record.status == "ok" and record.file_sha256:
        named.setdefault(record.file_sha256, Expected.of(record))

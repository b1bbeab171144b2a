"""Whether a record says in full what was measured, and where: names, settings, hashes, provenance."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime

from splatbench.budget import Budget
from splatbench.record import Record
from splatbench.results.findings import Finding

_SHA256 = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{40}")
_HASH8 = re.compile("[0-9a-f]{8}")

#: Names that are shown, and the identifiers that must not be empty.
_NAMES = ("experiment", "dataset", "image", "entry", "method", "title", "family", "snapshot", "budget_slug")
_NEEDED = ("experiment", "dataset", "image", "entry", "method", "snapshot", "config_hash", "budget_slug")

#: Characters that turn the direction of text around: a name could show another one.
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

#: Absolute paths of common systems, in JSON text: they name people and machines, and mean nothing elsewhere. First what
#: such a text holds anyway, which is quick to look for.
_ROOTS = ("home", "Users", "root", "tmp", "var", "mnt", "media", "srv", "opt", "data", "scratch", "work", "private")
_REST = r"[^\s\"]*"
_LOCAL = (
    *((f"/{name}/", re.compile(rf"(?<![\w.~/-])/{name}/{_REST}")) for name in _ROOTS),
    ("~/", re.compile(rf"(?<![\w.~/-])~/{_REST}")),
    ("file:/", re.compile(rf"file:/{_REST}")),
    (":\\\\", re.compile(rf"\b[A-Za-z]:\\\\{_REST}")),
)


def of_text(line: bytes) -> Iterator[Finding]:
    """Of the line of a file that holds a record."""
    text = line.decode().replace("\\/", "/")
    for needle, path in _LOCAL:
        if needle in text and (found := path.search(text)):
            what = f"a path of one machine: {found[0]!r}"
            yield Finding("path", f"{what}; write it relative to the project, or leave it out")
            return


def of_record(record: Record) -> Iterator[Finding]:
    """Names, settings, hashes, provenance and status of one record."""
    yield from _names(record)
    yield from _budget(record)
    yield from _hashes(record)
    yield from _status(record)
    if _ran(record):
        yield from _provenance(record)


def _names(record: Record) -> Iterator[Finding]:
    for name in _NEEDED:
        if not getattr(record, name).strip():
            yield Finding("name", f"{name} is empty")
    for name in _NAMES:
        value = getattr(record, name)
        if value.isascii() and value.isprintable():
            continue
        if bad := [c for c in value if c in _TURNING or unicodedata.category(c) in ("Cc", "Cs")]:
            codes = ", ".join(f"U+{ord(c):04X}" for c in dict.fromkeys(bad))
            yield Finding("name", f"{name} holds control characters ({codes}): rename it")
    if record.file is not None and (record.file.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", record.file)):
        yield Finding("path", f"file {record.file!r} leads out of the experiment's folder; it must be relative to it")


def _budget(record: Record) -> Iterator[Finding]:
    try:
        budget = Budget(**record.budget)
    except (TypeError, ValueError) as error:
        yield Finding("budget", str(error))
        return
    if budget.slug != record.budget_slug:
        yield Finding("budget", f"budget_slug is {record.budget_slug!r}, but the budget's name is {budget.slug!r}")
    if budget.matched_to != record.matched_to:
        yield Finding("budget", f"matched_to is {record.matched_to!r}, but the budget says {budget.matched_to!r}")


def _hashes(record: Record) -> Iterator[Finding]:
    forms = {"config_hash": (_HASH8, "8"), "pixel_sha256": (_SHA256, "64"), "file_sha256": (_SHA256, "64")}
    for name, (form, digits) in forms.items():
        value = getattr(record, name)
        if value and not form.fullmatch(value):
            yield Finding("hash", f"{name} is {value[:80]!r}; it has {digits} hexadecimal digits, in lower case")
    if record.status == "ok":
        missing = [name for name in ("pixel_sha256", "file_sha256") if not getattr(record, name)]
        if missing:
            yield Finding("hash", f"{' and '.join(missing)} missing: nobody can tell which pixels and file these are")


def _status(record: Record) -> Iterator[Finding]:
    if record.status != "ok" and not (record.reason or "").strip():
        yield Finding("status", f"status {record.status!r} without a reason; say why, and how to get the row")
    if record.status == "ok" and record.reason:
        yield Finding("status", f"status 'ok' with a reason for failure: {record.reason[:80]!r}")


def _ran(record: Record) -> bool:
    """A row that nobody has encoded has no provenance, and needs none."""
    return record.status != "not_run" or bool(record.provenance.time)


def _provenance(record: Record) -> Iterator[Finding]:
    made = record.provenance
    if not _COMMIT.fullmatch(made.commit or ""):
        yield Finding("provenance", f"commit is {made.commit!r}; measure from a git checkout: 40 hexadecimal digits")
    if made.dirty is not False:
        state = "measured with uncommitted changes" if made.dirty else "not known whether all changes were committed"
        yield Finding("provenance", f"{state}; commit them and measure again")
    missing = [name for name in ("version", "versions", "cpu", "device", "cores") if not getattr(made, name)]
    if missing:
        yield Finding("provenance", f"provenance lacks {', '.join(missing)}")
    try:
        when = datetime.fromisoformat(made.time)
    except ValueError:
        yield Finding("provenance", f"time {made.time[:80]!r} is not ISO 8601, e.g. 2026-01-31T12:00:00+00:00")
        return
    if when.utcoffset() is None:
        yield Finding("provenance", f"time {made.time!r} has no offset from UTC, e.g. 2026-01-31T12:00:00+00:00")

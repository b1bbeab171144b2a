"""Results as the survey of 3D Gaussian splatting compression collects them (github.com/w-m/3dgs-compression-survey):
a folder per data set, a CSV per image, a row per variant of one method.

SSIM is our `ssim`; LPIPS is our `lpips_vgg`, the network of the 3DGS evaluation that the survey asks for. Where that
was not measured the cell is empty: a value of another network is another quantity. Sizes are lengths of real files.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from splatbench.files import write_atomic
from splatbench.record import Record
from splatbench.report.content import dataset_ids
from splatbench.results.findings import plain
from splatbench.results.order import natural

HEADER = ("Submethod", "PSNR", "SSIM", "LPIPS", "Size [Bytes]", "#Gaussians")

#: The survey's table shows so many named variants of a method.
NAMED_AT_MOST = 2


#: Characters of a file's name; file systems take 255 bytes with the ending.
_LONGEST = 100


class SurveyError(ValueError):
    """A submethod that cannot be written as the survey wants it."""


@dataclass(frozen=True)
class Submethod:
    """The name that the survey's table shows for the rows of one entry with one budget.

    Attributes:
        entry: of the experiment.
        budget: slug, e.g. n28000-i800.
        name: "Baseline" for the method's plain name, or a suffix to it that begins with "-" or a space.
    """

    entry: str
    budget: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Submethod:
        """From ENTRY@BUDGET=NAME.

        Raises:
            SurveyError: not of that form, or a name that the survey would glue to the method's.
        """
        match = re.fullmatch(r"(?P<entry>[^@=]+)@(?P<budget>[^=]+)=(?P<name>.+)", text)
        if match is None:
            raise SurveyError(f"{text!r}: expected ENTRY@BUDGET=NAME, e.g. cholesky@n28000-i800=Baseline")
        if match["name"] != "Baseline" and not re.fullmatch(r"[- ]\S.*", match["name"]):
            raise SurveyError(f"{text!r}: a name is Baseline, or begins with - or a space: it follows the method's own")
        return cls(**match.groupdict())

    def of(self, record: Record) -> bool:
        return (record.entry, record.budget_slug) == (self.entry, self.budget)


@dataclass(frozen=True)
class Survey:
    """What was written, and what was not."""

    files: list[Path]
    rows: int
    left_out: int  # controls, failures, snapshots of longer runs
    without_lpips: int


def write_survey(records: Iterable[Record], out: Path, submethods: Sequence[Submethod] = ()) -> Survey:
    """Writes out/<method>/<data set>/<image>.csv: named submethods first, then every other final result unnamed.

    Controls, failures and snapshots are left out: the survey is of Gaussians, and shows results.

    Raises:
        SurveyError: nothing to write; more than two names for one method, one that no record has, or that several
            records of an image share.
        OSError: a file cannot be written.
    """
    records = list(records)
    wanted = [r for r in records if r.status == "ok" and r.snapshot == "final" and r.column != "control"]
    if not wanted:
        raise SurveyError("no final result of a method with Gaussians is among the records; the survey has no controls")
    _check_names(wanted, submethods)
    methods = _file_names(record.method for record in wanted)
    datasets = _file_names(record.dataset for record in wanted)
    images: dict[tuple[str, str, str], list[Record]] = {}
    for record in wanted:
        images.setdefault((record.method, record.dataset, record.image), []).append(record)
    names = {
        (method, dataset): _file_names(image for m, d, image in images if (m, d) == (method, dataset))
        for method, dataset, _ in images
    }
    files = []
    for (method, dataset, image), group in sorted(images.items()):
        path = out / methods[method] / datasets[dataset] / f"{names[method, dataset][image]}.csv"
        write_atomic(path, _csv(group, submethods).encode())
        files.append(path)
    without = sum(record.metrics.get("lpips_vgg") is None for record in wanted)
    return Survey(files, len(wanted), len(records) - len(wanted), without)


def _file_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> a name for a file or folder: plain characters, not too long, no two the same."""
    return {
        name: plain
        if len(plain) <= _LONGEST
        else f"{plain[: _LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        for name, plain in dataset_ids(names).items()
    }


def _check_names(records: Sequence[Record], submethods: Sequence[Submethod]) -> None:
    of_method: dict[str, set[str]] = {}
    for submethod in submethods:
        where = f"{submethod.entry}@{submethod.budget}"
        matching = [record for record in records if submethod.of(record)]
        if not matching:
            raise SurveyError(f"no final result of {where} is there to be named {submethod.name!r}")
        seen: set[tuple[str, str, str]] = set()
        for record in matching:
            image = (record.method, record.dataset, record.image)
            if image in seen:
                text = f"{where} has several results of {plain(record.image)} (seeds, experiments or settings)"
                raise SurveyError(f"{text}; a named submethod is one row per image: export fewer records")
            seen.add(image)
            of_method.setdefault(record.method, set()).add(submethod.name)
    for method, names in of_method.items():
        if len(names) > NAMED_AT_MOST:
            raise SurveyError(f"{method} has {len(names)} named submethods; the survey shows at most {NAMED_AT_MOST}")


def _csv(records: Sequence[Record], submethods: Sequence[Submethod]) -> str:
    """The content of one file: rows of the records of one image."""
    places = {record.key: _place(record, submethods) for record in records}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADER)
    for record in sorted(records, key=lambda r: (places[r.key], r.bytes or 0, natural(r.entry), r.key)):
        place = places[record.key]
        name = submethods[place].name if place < len(submethods) else ""
        metrics = [_value(record, "psnr"), _value(record, "ssim"), _value(record, "lpips_vgg")]
        writer.writerow([name, *metrics, record.bytes, record.n_actual])
    return buffer.getvalue()


def _place(record: Record, submethods: Sequence[Submethod]) -> int:
    """Of the record's name among the submethods; behind all of them if it has none."""
    return next((i for i, submethod in enumerate(submethods) if submethod.of(record)), len(submethods))


def _value(record: Record, metric: str) -> str:
    """With the survey's precision and more: it rounds by itself."""
    value = record.metrics.get(metric)
    return "" if value is None else f"{value:.6f}"

"""Figures in documents, filled in from published records: `python -m benchmarks.figures docs/corrections.md`.

With `--check` nothing is written; what is not as the records say is named, and the exit code is 1.

A document marks a place with `<!--METRIC FILE ENTRY@BUDGET-->...<!--/-->` for a mean over images, or
`<!--METRIC FILE ENTRY@BUDGET - ENTRY@BUDGET-->...<!--/-->` for the mean of the differences image by image, with the
smallest and the largest. A mean `... over ENTRY@BUDGET-->` is over the images that this one has, too. FILE is a name in
results/published, BUDGET a slug such as n28000-i600; ENTRY:SNAPSHOT is what an entry had then.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

from splatbench.record import Record, read_records

FOLDER = Path(__file__).resolve().parent.parent / "results" / "published"

_PLACE = re.compile(
    r"<!--(?P<metric>\w+) (?P<file>\w+) (?P<first>[^\s<>]+?)(?: (?P<how>-|over) (?P<second>[^\s<>]+?))?-->.*?<!--/-->"
)
_DIGITS = {"psnr": 2, "ms_ssim": 4, "ssim": 4, "lpips_alex": 3, "bpp": 3, "nominal_bpp": 3, "n_actual": 0,
           "encode_seconds": 2}  # fmt: skip
#: Those that are fields of a record, not metrics.
_FIELDS = ("bpp", "nominal_bpp", "n_actual", "encode_seconds")


class FigureError(ValueError):
    """A place that the records cannot fill: names the place and what is missing."""


@functools.cache
def _records(file: str) -> list[Record]:
    return list(read_records(FOLDER / f"{file}.jsonl"))


def _values(file: str, metric: str, run: str) -> dict[tuple[str, str, int], float]:
    """By data set, image and seed: a metric, or one of _FIELDS, of ENTRY@BUDGET or ENTRY:SNAPSHOT@BUDGET."""
    name, _, budget = run.partition("@")
    entry, _, snapshot = name.partition(":")
    rows = [r for r in _records(file) if (r.entry, r.budget_slug, r.snapshot) == (entry, budget, snapshot or "final")]
    if failed := [f"{r.image} ({r.status})" for r in rows if r.status != "ok"]:
        raise FigureError(f"{file}.jsonl: a mean of {run} would leave out {', '.join(failed)}")
    values = {
        (r.dataset, r.image, r.seed): getattr(r, metric) if metric in _FIELDS else r.metrics.get(metric) for r in rows
    }
    found = {key: value for key, value in values.items() if value is not None}
    if not found:
        raise FigureError(f"{file}.jsonl has no {metric} of {run}")
    return found


def _figure(place: re.Match[str]) -> str:
    metric, digits = place["metric"], _DIGITS[place["metric"]]
    first = _values(place["file"], metric, place["first"])
    second = _values(place["file"], metric, place["second"]) if place["second"] else first
    if place["how"] == "over":
        first = {key: value for key, value in first.items() if key in second}
    if place["how"] != "-":
        if first.keys() != second.keys():
            raise FigureError(f"{place['first']} in {place['file']}.jsonl lacks images of {place['second']}")
        return f"{sum(first.values()) / len(first):.{digits}f}"
    if first.keys() != second.keys():
        raise FigureError(f"{place['first']} and {place['second']} in {place['file']}.jsonl are of different images")
    differences = [first[key] - second[key] for key in first]
    mean = sum(differences) / len(differences)
    ends = " … ".join(f"{value:+.{digits}f}" for value in (min(differences), max(differences)))
    return f"{mean:+.{digits}f} ({ends})"


def fill(text: str) -> str:
    """The document with every marked place filled in.

    Raises:
        FigureError: the records do not hold what a place names.
    """
    return _PLACE.sub(lambda place: place[0][: place[0].index("-->") + 3] + _figure(place) + "<!--/-->", text)


def main(arguments: list[str]) -> int:
    """Fills documents in, or with --check compares them with the records; the exit code."""
    check = "--check" in arguments
    paths = [Path(name) for name in arguments if name != "--check"]
    if not paths:
        print("name the documents: python -m benchmarks.figures [--check] README.md docs/*.md", file=sys.stderr)
        return 2
    stale = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        filled = fill(text)
        if filled == text:
            continue
        stale.append(path)
        if not check:
            path.write_text(filled, encoding="utf-8")
    if check and stale:
        names = " ".join(map(str, stale))
        print(f"stale: {names}; fill in with: python -m benchmarks.figures {names}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

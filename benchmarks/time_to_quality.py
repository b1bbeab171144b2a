"""Does a learned start pay, and when is it overtaken? Quality against time of every optimiser, from each of its starts.

    python -m benchmarks.time_to_quality results/published/time_to_quality.jsonl --figure docs/time_to_quality.svg
    python -m benchmarks.time_to_quality results/published/time_to_quality.jsonl --fill docs/time_to_quality.md

The records are those of config/time_to_quality.yaml, or of any experiment whose fits have convergence curves: entries
of one family are one optimiser from several starts. A document's places are `<!--time_to_quality WHAT-->...
<!--/time_to_quality-->`, WHAT being table or setting.

A point of a curve is the picture before a step, at the time after it; the last one is the decoded file. Times hold all
that came before: networks, initialisation, conversion. Between points the quality is interpolated.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from splatbench.files import write_atomic
from splatbench.record import Record, read_records

#: dB that the table asks for.
LEVELS = (28.0, 30.0, 32.0, 35.0, 40.0)
OWN = "own start"
NEVER = math.inf
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_PLACE = re.compile(r"<!--time_to_quality (?P<what>\w+)-->.*?<!--/time_to_quality-->", re.S)


@dataclass(frozen=True)
class Curve:
    """Quality of one fit: times [n] in seconds, rising, and PSNR [n] in dB."""

    seconds: np.ndarray
    psnr: np.ndarray

    @classmethod
    def of(cls, record: Record) -> Curve:
        """The curve of a final record.

        Raises:
            ValueError: it has no curve, or no PSNR of its file.
        """
        points = [(at, values["psnr"]) for _, at, values in record.curve if "psnr" in values]
        end, quality = record.encode_seconds, record.metrics.get("psnr")
        if not points or end is None or quality is None:
            raise ValueError(f"{_name(record)}: needs a convergence curve, an encode time and a PSNR")
        points = [(at, value) for at, value in points if at < end] + [(end, quality)]
        return cls(*np.array(points).T)

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """PSNR at times, which must lie within the curve's."""
        return np.interp(seconds, self.seconds, self.psnr)

    def reach(self, level: float) -> float:
        """The first time at which the quality is there; NEVER where it never is."""
        above = np.flatnonzero(self.psnr >= level)
        if not len(above):
            return NEVER
        i = int(above[0])
        if i == 0:
            return float(self.seconds[0])
        share = (level - self.psnr[i - 1]) / (self.psnr[i] - self.psnr[i - 1])
        return float(self.seconds[i - 1] + share * (self.seconds[i] - self.seconds[i - 1]))


def overtaken(learned: Curve, own: Curve) -> float:
    """The first time from which on `own` is ahead for as long as both ran; NEVER where it is not ahead at their end.

    Times before the first picture of either count for nobody.
    """
    first, last = max(learned.seconds[0], own.seconds[0]), min(learned.seconds[-1], own.seconds[-1])
    times = np.unique(np.concatenate([learned.seconds, own.seconds]))
    times = np.unique(np.concatenate([[first, last], times[(times > first) & (times < last)]]))
    ahead = own.at(times) - learned.at(times)
    if first > last or ahead[-1] <= 0:
        return NEVER
    behind = np.flatnonzero(ahead <= 0)
    if not len(behind):
        return float(first)
    i = int(behind[-1])
    return float(times[i] + (times[i + 1] - times[i]) * ahead[i] / (ahead[i] - ahead[i + 1]))


@dataclass
class Series:
    """One optimiser from one start.

    Attributes:
        family: of the records: the optimiser.
        start: in words.
        learned: whether a network made it.
        curves, counts: of each image.
    """

    family: str
    start: str
    learned: bool
    curves: dict[str, Curve] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def read_series(records: Iterable[Record]) -> list[Series]:
    """All fits that have a convergence curve, in the order of the records; all have the same images.

    Raises:
        ValueError: a fit that is not there, two of the same image, or images that only some have; no fit at all.
    """
    records = [r for r in records if r.snapshot == "final" and r.column != "control"]
    titles = {record.entry: record.family for record in records}
    if missing := [f"{_name(r)}: {r.status}, {r.reason}" for r in records if r.status != "ok"]:
        raise ValueError("a comparison would leave out " + "; ".join(missing))
    found: dict[tuple[str, str], Series] = {}
    for record in records:
        if not any("psnr" in values for *_, values in record.curve):
            continue  # nothing was fitted
        start, learned = _start(record, titles)
        series = found.setdefault((record.family, start), Series(record.family, start, learned))
        if record.image in series.curves:
            raise ValueError(f"{_name(record)}: {record.family} from {start} is there twice")
        series.curves[record.image] = Curve.of(record)
        series.counts[record.image] = record.n_actual or 0
    if not found:
        raise ValueError("no record has a convergence curve of PSNR")
    images = {image for series in found.values() for image in series.curves}
    for series in found.values():
        if lacking := images - series.curves.keys():
            raise ValueError(f"{series.family} from {series.start} lacks {', '.join(sorted(lacking))}")
    return list(found.values())


def _start(record: Record, titles: dict[str, str]) -> tuple[str, bool]:
    """What a fit began from, in words, and whether a network made it."""
    if record.start is not None:
        return titles.get(record.start.entry, record.start.entry), True
    own = record.config.get("start")
    return ("its network", True) if own == "network" else (f"{OWN} ({own})" if own else OWN, False)


def _name(record: Record) -> str:
    return f"{record.image}, {record.entry} {record.budget_slug}"


# -- the table ---------------------------------------------------------------------------------------------------------


def table(series: Sequence[Series]) -> str:
    """Markdown: a row per optimiser and start."""
    levels = [f"{level:g} dB [s]" for level in LEVELS]
    headers = ["optimiser", "start", "N", "first picture", *levels, "at the end [dB]", "overtaken [s]"]
    return tabulate([_row(one, series) for one in series], headers, tablefmt="pipe", disable_numparse=True)


def _row(one: Series, series: Sequence[Series]) -> list[str]:
    curves = one.curves.values()
    first = statistics.fmean(curve.psnr[0] for curve in curves), statistics.fmean(curve.seconds[0] for curve in curves)
    rivals = [other for other in series if other.family == one.family and not other.learned]
    return [
        one.family,
        one.start,
        f"{statistics.fmean(one.counts.values()):.0f}",
        f"{first[0]:.2f} dB at {first[1]:.2f} s",
        *(_median([curve.reach(level) for curve in curves]) for level in LEVELS),
        f"{statistics.fmean(curve.psnr[-1] for curve in curves):.2f}",
        _overtaken(one, rivals) if one.learned and rivals else "",
    ]


def _overtaken(one: Series, rivals: Sequence[Series]) -> str:
    """By the first of the optimiser's own starts, image by image."""
    times = [min(overtaken(curve, rival.curves[image]) for rival in rivals) for image, curve in one.curves.items()]
    return _median(times, "never")


def _median(times: Sequence[float], none: str = "–") -> str:
    """Of all images, those that never get there included, and how many do, where it is not all; a dash where it is not
    more than half of them; `none` where it is no one."""
    reached = sum(math.isfinite(time) for time in times)
    if not reached:
        return none
    middle = statistics.median(times)
    text = f"{middle:.2f}" if math.isfinite(middle) else "–"
    return text if reached == len(times) else f"{text} ({reached} of {len(times)})"


def setting(series: Sequence[Series], records: Sequence[Record]) -> str:
    """Markdown: what was measured, and on what."""
    made = next(record for record in records if record.status == "ok").provenance
    images, limits = sorted(series[0].curves), sorted({r.budget["seconds"] for r in records if r.budget.get("seconds")})
    stop = f"stopped after {' or '.join(f'{limit:g}' for limit in limits)} s" if limits else "no time limit"
    dirty = ", with uncommitted changes" if made.dirty else ""
    threads = "thread" if made.threads == 1 else "threads"
    return (
        f"{len(images)} images ({', '.join(images)}), {stop}; {made.cpu}, {made.threads} {threads}, load "
        f"{made.load_average or 0:.1f} at the beginning, commit {(made.commit or 'outside a checkout')[:12]}{dirty}."
    )


def fill(text: str, series: Sequence[Series], records: Sequence[Record]) -> str:
    """A document with its places filled in.

    Raises:
        ValueError: a place for something else.
    """
    parts: dict[str, Callable[[], str]] = {"table": lambda: table(series), "setting": lambda: setting(series, records)}

    def part(place: re.Match[str]) -> str:
        if place["what"] not in parts:
            raise ValueError(f"<!--time_to_quality {place['what']}-->: known are {', '.join(parts)}")
        return f"<!--time_to_quality {place['what']}-->\n{parts[place['what']]()}\n<!--/time_to_quality-->"

    return _PLACE.sub(part, text)


# -- the figure --------------------------------------------------------------------------------------------------------


def figure(series: Sequence[Series], points: int = 200) -> Figure:
    """A panel per optimiser: mean PSNR over the images against time, a line per start, where all images have one."""
    families = list(dict.fromkeys(one.family for one in series))
    labels = list(dict.fromkeys(one.start for one in series))
    columns = min(3, len(families))
    rows = -(-len(families) // columns)
    drawn = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    panels = drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for panel, family in zip(panels, families, strict=False):
        for one in (one for one in series if one.family == family):
            times, mean = mean_curve(one, points)
            index = labels.index(one.start)
            style = "-" if one.learned else "--"
            panel.plot(times, mean, style, color=_COLOURS[index % len(_COLOURS)], label=one.start)
        panel.set(title=family, xscale="log")
        panel.grid(True, color="0.9")
        panel.legend(frameon=False, fontsize="small")
    for panel in panels[len(families) :]:
        panel.set_axis_off()
    drawn.supxlabel("encode time [s]")
    drawn.supylabel("PSNR [dB]")
    return drawn


def mean_curve(one: Series, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Times, evenly in their logarithm, at which all images have a picture, and the mean PSNR there."""
    curves = list(one.curves.values())
    first, last = max(curve.seconds[0] for curve in curves), min(curve.seconds[-1] for curve in curves)
    times = np.geomspace(first, max(first, last), points)
    return times, np.mean([curve.at(times) for curve in curves], 0)


# -- the command -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("records", type=Path, help="JSON lines of an experiment")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg")
    parser.add_argument("--fill", type=Path, metavar="FILE.md", help="a document with places for the table")
    args = parser.parse_args(arguments)
    try:
        records = list(read_records(args.records))
        series = read_series(records)
        if args.fill:
            text = args.fill.read_text(encoding="utf-8")
            write_atomic(args.fill, fill(text, series, records).encode())
        if args.figure:
            figure(series).savefig(args.figure)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(series))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Ours against the papers: which row of ours stands beside a paper's, the deviation, and what may be said about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from splatbench.metrics import RATES, REGISTRY
from splatbench.report.aggregate import Row, fitted_iterations, single_errors, snapshot_label
from splatbench.report.caveats import caveats
from splatbench.report.labels import count, heading, target_label
from splatbench.report.reference import OUTCOMES, Reference, ReferenceRow, ReferenceTable
from splatbench.report.settings import TableSettings

#: "only here": the paper prints a word ("Fail", "OOM") where we have a number.
VerdictKind = Literal["reproduced", "better", "worse", "only here", "not comparable", "not run"]

#: Kinds that say how two numbers relate; the others have no number, or none of the same setting.
JUDGED: tuple[VerdictKind, ...] = ("reproduced", "better", "worse")

#: Why a cell of a paper has no number of ours: no record of its data set, of its method there, of its budget, a metric
#: that was not measured, or a run that gave nothing.
Cause = Literal["data set", "method", "budget", "metric", "failure"]

#: Largest |ours - paper| that still counts as reproduced, in the metric's unit. The papers print two decimals of PSNR
#: and three of the others; implementations and machines differ by a few hundredths of a dB with everything else equal.
TOLERANCES = {
    "psnr": 0.10,
    "psnr_u8": 0.10,
    "ssim": 0.005,
    "ms_ssim": 0.005,
    "lpips_alex": 0.01,
    "lpips_vgg": 0.01,
    "lpips_squeeze": 0.01,
    "flip": 0.01,
    "bpp": 0.05,
    "nominal_bpp": 0.05,
}

#: The papers print counts in thousands: 28k stands for anything within this of 28000.
COUNT_TOLERANCE = 0.02

#: As much for a nominal rate that stands for a count: 0.122 bit/pixel are 4000 Gaussians at 2048 x 2048.
RATE_TOLERANCE = 0.02

#: Which of our columns claims to repeat the paper, in this order.
_COLUMN_ORDER = ("published", "corrected", "ours")


@dataclass(frozen=True)
class Verdict:
    """What may be said, and why where that is not obvious; `cause` of what was not run."""

    kind: VerdictKind
    reason: str = ""
    cause: Cause | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


@dataclass(frozen=True)
class Comparison:
    """One value of a paper beside ours.

    Attributes:
        family: ours; empty where the experiment has no such method.
        value: None where the paper prints an outcome instead.
        rows: our column ("published", "corrected", "ours") -> the row it is taken from.
        basis: the column that deviation and verdict are of.
        deviation: ours minus the paper's, in the metric's unit.
        images: where the paper gives values image by image: those that our row has, too. Both means are over these.
        caveats: of a verdict on two numbers (`JUDGED`): what the paper leaves open, or does otherwise.
    """

    reference: Reference
    table: ReferenceTable
    paper: ReferenceRow
    family: str
    metric: str
    value: float | None
    rows: dict[str, Row]
    basis: str | None
    deviation: float | None
    verdict: Verdict
    images: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    def ours(self, column: str) -> float | None:
        """Our mean of the metric in one of our columns; None where it lacks one of the images compared."""
        return _our_mean(self.rows[column], self.metric, self.images) if column in self.rows else None

    @property
    def confirmed(self) -> bool:
        """Whether the transcription of the paper's value is beyond doubt."""
        return self.paper.is_confirmed(self.metric)

    @property
    def why(self) -> str:
        """The verdict's reason and its caveats, as text."""
        return "; ".join(filter(None, [self.verdict.reason, *self.caveats]))


def _our_column(metric: str) -> str:
    return "encode_seconds" if metric == "seconds" else metric


def _our_mean(row: Row, metric: str, images: Sequence[str]) -> float | None:
    """Over some images, or over all that the row has."""
    if not images:
        return row.means.get(_our_column(metric))
    values = row.values.get(_our_column(metric), {})
    return sum(values[name] for name in images) / len(images) if values.keys() >= set(images) else None


def _paper_mean(paper: ReferenceRow, metric: str, images: Sequence[str]) -> float | None:
    """Over some images where the paper gives them, else as printed."""
    if metric in paper.metrics and 0 < len(images) < len(paper.images):
        return sum(paper.images[name][metric] for name in images) / len(images)
    return paper.seconds if metric == "seconds" else paper.metrics.get(metric)


def judge(metric: str, paper: float, ours: float, obstacles: Sequence[str] = ()) -> Verdict:
    """The verdict on two values of a metric.

    Args:
        obstacles: differences of setting; any of them makes the values not comparable.
    """
    if obstacles:
        return Verdict("not comparable", "; ".join(obstacles))
    deviation = ours - paper
    # 26.98 - 26.88 is a little more than 0.1 in floating point.
    if abs(deviation) <= TOLERANCES[metric] + 1e-9:
        return Verdict("reproduced")
    direction = (REGISTRY.get(metric) or RATES[metric]).direction
    return Verdict("better" if (deviation > 0) == (direction == "higher") else "worse")


def is_variant(family: str, paper_family: str, families: dict[str, str]) -> bool:
    """Whether our family stands in the paper's row: named so in the settings, the same name, or "name (variant)"."""
    if family in families:
        return families[family] == paper_family
    return family == paper_family or family.startswith(f"{paper_family} (")


def obstacles(paper: ReferenceRow, row: Row) -> list[str]:
    """Differences of setting between a paper's row and ours, as sentences."""
    found = [paper.incomparable] if paper.incomparable else []
    if not _same_budget(paper, row):
        found.append(f"{_count_text(row)} here, {paper.label} in the paper")
    return [*found, *_other_settings(paper, row)]


def plans_for(paper: ReferenceRow, row: Row, families: dict[str, str]) -> bool:
    """Whether a run that is planned, a row without any value, would have the setting of a paper's row.

    A count that the method chooses is known only afterwards: it is taken to be the paper's where the settings are those
    that gave it there.
    """
    config = row.record.config
    chosen = bool(paper.count_from) and all(config.get(name) == value for name, value in paper.count_from.items())
    same_budget = _same_budget(paper, row) or (chosen and bool(row.record.budget.get("native")))
    variant = is_variant(row.record.family, paper.family, families) and _fits(paper, row)
    return variant and same_budget and not _other_settings(paper, row)


def _other_settings(paper: ReferenceRow, row: Row) -> list[str]:
    """`obstacles` but for the budget."""
    found = []
    iterations = 0 if _fits_nothing(row) else row.iterations
    if paper.iterations is not None and iterations != paper.iterations:
        here = "varying iterations" if iterations is None else f"{count(iterations)} iterations"
        found.append(f"{here} here, {count(paper.iterations)} in the paper")
    for name, value in paper.protocol.items():
        if name in row.record.config and row.record.config[name] != value:
            found.append(f"{name} {row.record.config[name]} here, {value} in the paper")
    if row.record.budget.get("warm"):
        found.append("begins from the Gaussians of another method here")
    if single_errors(row):
        found.append("single errors of the released code here, not all of its behaviour")
    return found


def _fits_nothing(row: Row) -> bool:
    """Whether neither budget nor settings nor the method count any step."""
    return row.iterations is None and fitted_iterations(row.record) is None


def _shared_images(paper: ReferenceRow, row: Row, metric: str) -> tuple[str, ...]:
    """Images of which both have the metric, where the paper gives it image by image."""
    return tuple(name for name in row.values.get(metric, ()) if metric in paper.images.get(name, ()))


def _same_budget(paper: ReferenceRow, row: Row) -> bool:
    if paper.compression_ratio is not None:
        return row.record.budget.get("compression_ratio") == paper.compression_ratio
    if paper.rate is not None:
        rate = row.means.get("nominal_bpp")
        return rate is not None and abs(rate / paper.rate - 1) <= RATE_TOLERANCE
    n = row.means.get("n_actual", row.record.budget.get("gaussians"))
    return paper.n is None or (n is not None and abs(n / paper.n - 1) <= COUNT_TOLERANCE)


def _unknown_count(row: Row) -> bool:
    """Whether the method chooses its number of Gaussians and no image says how many: it was not run, or failed."""
    budget = row.record.budget
    return not row.images and bool(budget.get("native") or budget.get("psnr"))


def _count_text(row: Row) -> str:
    mean = row.means.get("n_actual")
    return target_label(row.record.budget) if mean is None else f"N = {count(mean)}"


def compare(reference: Reference, rows: Iterable[Row], settings: TableSettings | None = None) -> list[Comparison]:
    """Every value of a paper beside ours, in the paper's order."""
    families = settings.families if settings else {}
    rows = [row for row in rows if row.track != "controls"]
    result: list[Comparison] = []
    for table in reference.tables:
        here = [row for row in rows if row.record.dataset == table.dataset]
        for paper in table.rows:
            ours = [row for row in here if is_variant(row.record.family, paper.family, families) and _fits(paper, row)]
            if ours:
                for family in dict.fromkeys(row.record.family for row in ours):
                    mine = [row for row in ours if row.record.family == family]
                    result += [
                        _compare_value(reference, table, paper, family, m, _best(paper, table, mine, m))
                        for m in _columns(table, paper)
                    ]
            else:
                verdict = (
                    Verdict("not run", "this experiment has no such method", "method")
                    if here
                    else Verdict("not run", f"this experiment does not use the data set {table.dataset}", "data set")
                )
                result += [
                    Comparison(reference, table, paper, "", m, _paper_mean(paper, m, ()), {}, None, None, verdict)
                    for m in _columns(table, paper)
                ]
    return result


def _fits(paper: ReferenceRow, row: Row) -> bool:
    """Whether our row is this variant of the method, and of the same stage."""
    config = row.record.config
    if paper.snapshot and row.record.snapshot != paper.snapshot:
        return False
    return all(name not in config or config[name] == value for name, value in paper.variant.items())


def _columns(table: ReferenceTable, paper: ReferenceRow) -> list[str]:
    """What a row of the paper gives, or would give if it did not print an outcome; a rate that is its setting is no
    result."""
    results = [name for name in paper.metrics or table.metrics if name != "nominal_bpp" or paper.rate is None]
    return [*results, *(["seconds"] if paper.seconds is not None else [])]


def _best(paper: ReferenceRow, table: ReferenceTable, rows: list[Row], metric: str) -> dict[str, Row]:
    """Per column of ours the row with the same budget that is nearest; none where no budget is the same."""
    best: dict[str, Row] = {}
    for column in _COLUMN_ORDER:
        candidates = [r for r in rows if r.record.column == column and (_same_budget(paper, r) or _unknown_count(r))]
        if candidates:
            best[column] = min(candidates, key=lambda r: _distance(paper, table, r, metric))
    return best


def _distance(
    paper: ReferenceRow, table: ReferenceTable, row: Row, metric: str
) -> tuple[bool, bool, int, int, float, bool]:
    """Sorts rows of the same budget, whatever their values are: those that have the metric first, then by differences
    of setting, images that are missing or too many, and steps.

    Of equals the final one: the snapshot of a stage ("fit", before quantisation) has the same settings.
    """
    differences = obstacles(paper, row)
    shared = len(_shared_images(paper, row, metric))
    images = len(paper.images) - shared if shared else abs(len(row.images) - table.images)
    has_metric = bool(row.counts.get(_our_column(metric)))
    return (
        not has_metric,
        not row.images,
        len(differences),
        images,
        _steps_apart(paper, row),
        row.record.snapshot != "final",
    )


def _steps_apart(paper: ReferenceRow, row: Row) -> float:
    """Logarithm of the ratio of steps; where the paper does not say how many it took, the longest run comes first."""
    steps = 0 if _fits_nothing(row) else row.iterations
    if paper.iterations is None:
        return -float(steps or 0)
    return math.inf if steps is None else abs(math.log((1 + steps) / (1 + paper.iterations)))


def _basis(
    table: ReferenceTable, paper: ReferenceRow, metric: str, rows: dict[str, Row]
) -> tuple[str | None, tuple[str, ...]]:
    """The column that is judged, and the images: the first in order among those that can be compared, so that a run
    with the paper's setting is never displaced by one with another."""

    def rank(column: str) -> tuple[bool, bool, int, int]:
        row = rows[column]
        images = _shared_images(paper, row, metric)
        missing = _our_mean(row, metric, images) is None
        # No two machines compare: for times only the rest of the setting counts.
        differs = bool(_differences(table, paper, row, metric, images)[metric == "seconds" :])
        return missing, differs, len(obstacles(paper, row)), _COLUMN_ORDER.index(column)

    if not rows:
        return None, ()
    basis = min(rows, key=rank)
    return basis, _shared_images(paper, rows[basis], metric)


def _compare_value(
    reference: Reference, table: ReferenceTable, paper: ReferenceRow, family: str, metric: str, rows: dict[str, Row]
) -> Comparison:
    basis, images = _basis(table, paper, metric, rows)
    value = _paper_mean(paper, metric, images)
    deviation = None
    if basis is None:
        verdict = Verdict("not run", f"this experiment has no budget of {paper.label} for this method", "budget")
    elif (ours := _our_mean(rows[basis], metric, images)) is None:
        cause: Cause = "metric" if rows[basis].images else "failure"
        verdict = Verdict("not run", _why_missing(rows[basis], metric), cause)
    else:
        differences = _differences(table, paper, rows[basis], metric, images)
        if value is None:
            verdict = Verdict("only here", "; ".join([f"the paper: {outcome_text(paper)}", *differences]))
        else:
            deviation = ours - value
            verdict = judge(metric, value, ours, differences)
    known: tuple[str, ...] = ()
    if basis is not None and verdict.kind in JUDGED:
        known = caveats(table, paper, rows[basis], metric, images)
    return Comparison(reference, table, paper, family, metric, value, rows, basis, deviation, verdict, images, known)


def outcome_text(paper: ReferenceRow) -> str:
    """The word that a row of the paper has instead of numbers, with its cause."""
    return f"{OUTCOMES[paper.outcome]} ({paper.note})" if paper.outcome else ""


def _differences(table: ReferenceTable, paper: ReferenceRow, row: Row, metric: str, images: Sequence[str]) -> list[str]:
    """`obstacles`, and what the two means are over where it is not the same images."""
    found = obstacles(paper, row)
    if metric == "seconds":
        found.insert(0, _hardware(table, row))
    if images:
        return found
    if len(row.images) > table.images:
        found.append(f"{len(row.images)} images here, {table.images} in the paper")
    elif len(row.images) < table.images:
        found.append(f"{len(row.images)} of the paper's {table.images} images")
    if metric != "seconds" and row.counts.get(metric, 0) < len(row.images):
        found.append(f"measured on {row.counts.get(metric, 0)} of {len(row.images)} images")
    return found


def _hardware(table: ReferenceTable, row: Row) -> str:
    """Times of two machines never give a verdict, not even on the same model of GPU."""
    theirs = table.hardware or "not stated"
    return f"other hardware: {', '.join(row.devices) or 'unknown'} here, {theirs} in the paper"


def _why_missing(row: Row, metric: str) -> str:
    if not row.images:
        return "; ".join(f"{status}: {reason}" for status, reason in row.reasons)
    if metric in row.not_run:
        return "; ".join(row.not_run[metric])
    return (
        f"{heading(metric)} was not recorded" if metric not in REGISTRY else f"the experiment does not ask for {metric}"
    )


def setting(comparison: Comparison) -> str:
    """N, iterations and images of the paper's row, as text."""
    paper, total = comparison.paper, comparison.table.images
    steps = "" if paper.iterations is None else f", {snapshot_label(str(paper.iterations))}"
    some = f", {len(comparison.images)} of {total} images" if 0 < len(comparison.images) < total else ""
    return paper.label + steps + some


def tolerances_text(metrics: Iterable[str]) -> str:
    """The tolerances that apply to these metrics, in words."""
    parts = []
    for name in dict.fromkeys(metrics):
        if name in TOLERANCES:
            metric = REGISTRY.get(name) or RATES[name]
            parts.append(f"{metric.title} {TOLERANCES[name]:g}{' ' + metric.unit if metric.unit else ''}")
    return ", ".join(parts)

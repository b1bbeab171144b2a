"""All records of all experiments as the rows of one site.

The same measurement may stand in several experiments under different entry names; it is one row here, with the numbers
of one of them. Repeats over seeds are one row, too: its values are means over the seeds, image by image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from splatbench.analysis.spread import Repeats, repeats
from splatbench.record import Record
from splatbench.report.aggregate import Row, Track, group_rows, why_unranked
from splatbench.report.labels import target_label
from splatbench.results.stale import staleness

#: What is the same for the records of a row: data set, method, settings, budget, what the budget refers to, snapshot.
Identity = tuple[str, ...]


@dataclass(frozen=True)
class SiteRow:
    """One method variant with one budget and snapshot on one data set.

    Attributes:
        id: the same for the same measurement whatever else is on the site; letters, digits and dashes.
        row: means and per-image values; of the first seed where there is one, else over the seeds.
        records: everything behind it, failures included, in the order of images and seeds.
        experiments: where it was measured; its numbers are of the one that `record` is of.
        target: what rows that may be ranked against each other share, as text.
        stale: why the row may not be what today's code would give; empty: nothing is known against it.
        spread: over seeds, by metric; empty with a single seed.
        unranked: why it takes no part in ranks, or None.
    """

    id: str
    row: Row
    records: tuple[Record, ...]
    experiments: tuple[str, ...]
    target: str
    stale: tuple[str, ...]
    spread: dict[str, Repeats]
    unranked: str | None

    @property
    def record(self) -> Record:
        return self.row.record

    @property
    def dataset(self) -> str:
        return self.record.dataset

    @property
    def track(self) -> Track:
        return self.row.track

    @property
    def family(self) -> str:
        return self.record.family or self.record.title or self.record.entry

    @property
    def label(self) -> str:
        return self.row.label

    @property
    def busy(self) -> bool:
        """Whether a job of it began while more threads wanted to run than there were cores: times may be too long."""
        made = (record.provenance for record in self.records if record.status == "ok")
        return any(p.load_average is not None and 0 < p.cores < p.load_average for p in made)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({record.seed for record in self.records}))

    @property
    def board(self) -> tuple[str, Track, str]:
        """Rows of the same board may be compared: same data, same kind of budget, same target."""
        return (self.dataset, self.track, self.target)


def site_rows(records: Iterable[Record], rank_by: str = "psnr") -> list[SiteRow]:
    """The rows of a site, in the order of their first record.

    Of a measurement that several experiments repeat (same settings and budget), the most complete experiment counts.
    """
    records = list(records)
    context = _targets(records)
    names = _names_of_choosers(records)
    totals: dict[str, set[str]] = {}
    groups: dict[Identity, list[Record]] = {}
    for record in records:
        totals.setdefault(record.dataset, set()).add(record.image)
        groups.setdefault(_identity(record, context), []).append(record)
    return [
        _site_row(identity, group, len(totals[identity[0]]), context, names, rank_by)
        for identity, group in groups.items()
    ]


def _targets(records: Sequence[Record]) -> dict[tuple[str, str], Record]:
    """(experiment, entry) -> a record of the entry: what `matched_to` of that experiment means."""
    found: dict[tuple[str, str], Record] = {}
    for record in records:
        found.setdefault((record.experiment, record.entry), record)
    return found


def _identity(record: Record, context: dict[tuple[str, str], Record]) -> Identity:
    matched = record.budget.get("matched_to")
    other = context.get((record.experiment, str(matched))) if matched else None
    reference = "" if not matched else record.experiment if other is None else f"{other.method} {other.config_hash}"
    slug = record.budget_slug.replace(str(matched), "*", 1) if other is not None else record.budget_slug
    return (
        record.dataset,
        record.method,
        record.implementation,
        record.config_hash or record.entry,
        record.column,
        slug,
        reference,
        record.snapshot,
    )


def _site_row(
    identity: Identity,
    group: list[Record],
    total: int,
    context: dict[tuple[str, str], Record],
    names: dict[_Chooser, str],
    rank_by: str,
) -> SiteRow:
    from splatbench.site.links import row_id

    records = _of_one_experiment(group)
    seeds = sorted({record.seed for record in records})
    by_seed = {seed: [record for record in records if record.seed == seed] for seed in seeds}
    pooled = _pooled(by_seed) if len(seeds) > 1 else records
    row = replace(group_rows(pooled)[0], total=total)
    return SiteRow(
        id=row_id(identity),
        row=row,
        records=tuple(records),
        experiments=tuple(dict.fromkeys(record.experiment for record in group)),
        target=_target(row.record, context, names),
        stale=tuple(dict.fromkeys(reason for record in records for reason in staleness(record))),
        spread=_repeats(by_seed) if len(seeds) > 1 else {},
        unranked=why_unranked(row, rank_by),
    )


def _of_one_experiment(group: list[Record]) -> list[Record]:
    """The records of the experiment that has most images and seeds of the row, then most values, then the newest: means
    and times are of one run, never pieced together. Ordered by image and seed."""
    by_experiment: dict[str, list[Record]] = {}
    for record in group:
        by_experiment.setdefault(record.experiment, []).append(record)

    def completeness(name: str) -> tuple[int, int, str, str]:
        done = [record for record in by_experiment[name] if record.status == "ok"]
        values = sum(value is not None for record in done for value in record.metrics.values())
        newest = max(record.provenance.time for record in by_experiment[name])
        return len({(record.image, record.seed) for record in done}), values, newest, name

    chosen: dict[tuple[str, int], Record] = {}
    for record in by_experiment[max(by_experiment, key=completeness)]:
        key = (record.image, record.seed)
        # Two entries of one experiment may be the same by their settings.
        if key not in chosen or (chosen[key].status != "ok" and record.status == "ok"):
            chosen[key] = record
    return [record for _, record in sorted(chosen.items())]


def _pooled(by_seed: dict[int, list[Record]]) -> list[Record]:
    """One record per image with the means over the seeds that succeeded; the first failure where none did."""
    images: dict[str, list[Record]] = {}
    for records in by_seed.values():
        for record in records:
            images.setdefault(record.image, []).append(record)
    seed = min(by_seed)
    pooled = []
    for members in images.values():
        done = [record for record in members if record.status == "ok"]
        pooled.append((_mean_record(done) if done else members[0]).model_copy(update={"seed": seed}))
    return pooled


def _mean_record(records: list[Record]) -> Record:
    names = set.intersection(*({n for n, v in r.metrics.items() if v is not None} for r in records))
    metrics = {name: sum(r.metrics[name] or 0.0 for r in records) / len(records) for name in sorted(names)}
    numbers = (
        "bpp",
        "nominal_bpp",
        "encode_seconds",
        "to_bytes_seconds",
        "decode_seconds",
        "peak_memory_mib",
        "energy_joules",
    )
    means: dict[str, object] = {"metrics": metrics}
    for name in numbers:
        values = [getattr(r, name) for r in records]
        means[name] = None if None in values else sum(values) / len(values)
    for name in ("bytes", "n_actual"):
        values = [getattr(r, name) for r in records]
        means[name] = None if None in values else round(sum(values) / len(values))
    return records[0].model_copy(update=means)


def _repeats(by_seed: dict[int, list[Record]]) -> dict[str, Repeats]:
    names = {name for records in by_seed.values() for record in records for name in record.metrics}
    return {
        name: repeats(
            {
                seed: {r.image: v for r in records if r.status == "ok" and (v := r.metrics.get(name)) is not None}
                for seed, records in by_seed.items()
            }
        )
        for name in sorted(names)
    }


#: An entry that chooses its counts, on a data set: what entries that are matched to it share.
_Chooser = tuple[str, str, str, str]


def _chooser(record: Record, dataset: str) -> _Chooser:
    return (dataset, record.method, record.config_hash or record.entry, str(record.budget.get("psnr") or ""))


def _names_of_choosers(records: Sequence[Record]) -> dict[_Chooser, str]:
    """By the family that it has first; where several settings of one family choose their counts, by the entry, too:
    these differ."""
    first: dict[_Chooser, Record] = {}
    for record in records:
        if _chooses(record):
            first.setdefault(_chooser(record, record.dataset), record)
    families = Counter((record.dataset, _name(record)) for record in first.values())
    names = {}
    for chooser, record in first.items():
        psnr = record.budget.get("psnr")
        own = record.entry if psnr is None else f"{record.entry}, {psnr:g} dB"
        alone = families[record.dataset, _name(record)] == 1
        names[chooser] = _name(record) if alone else f"{_name(record)}, {own}"
    return names


def _chooses(record: Record) -> bool:
    return target_label(record.budget) == "native" or record.budget.get("psnr") is not None


def _target(record: Record, context: dict[tuple[str, str], Record], names: dict[_Chooser, str]) -> str:
    """As text. An entry that chooses its counts and those that are matched to it share one."""
    matched = record.budget.get("matched_to")
    if not matched and not _chooses(record):
        return target_label(record.budget)
    other = context.get((record.experiment, str(matched))) if matched else record
    if other is None:
        return target_label({"matched_to": str(matched)})
    return target_label({"matched_to": names.get(_chooser(other, record.dataset), _name(other))})


def _name(record: Record) -> str:
    return record.family or record.title or record.entry

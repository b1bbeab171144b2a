"""What the project's experiment files say about papers' tables: which file asks for which cells, and which of our rows
belong there under another name."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splatbench.experiment import DatasetChoice, Entry, Experiment, ExperimentError, load_experiment
from splatbench.metrics import RATES
from splatbench.record import Provenance, Record
from splatbench.report.aggregate import Row, group_rows
from splatbench.report.reference import ReferenceRow, ReferenceTable, reports_folder
from splatbench.report.settings import ReportSettings, TableSettings
from splatbench.report.verdict import plans_for
from splatbench.runner.plan import configured


@dataclass(frozen=True)
class ExperimentFile:
    """An experiment file of the project.

    Attributes:
        file: its path below the project.
        metrics: those that it measures.
        images: data set -> the images chosen by name; None for all of them.
        rows: what it will measure, without any value: one per data set, entry, budget and stage.
    """

    file: str
    metrics: frozenset[str]
    images: dict[str, frozenset[str] | None]
    rows: tuple[Row, ...]

    def asks_for(self, table: ReferenceTable, paper: ReferenceRow, metric: str, families: dict[str, str]) -> bool:
        """Whether it measures one value of a paper with the paper's setting."""
        if table.dataset not in self.images or metric not in (*self.metrics, *RATES, "seconds"):
            return False
        images = self.images[table.dataset]
        # Some images can stand beside values image by image alone.
        if images is not None and not images <= {name for name, known in paper.images.items() if metric in known}:
            return False
        return any(plans_for(paper, row, families) for row in self.rows if row.record.dataset == table.dataset)


@dataclass(frozen=True)
class PaperExperiments:
    """The project's experiment files.

    Attributes:
        settings: reference -> our names of families that are called otherwise there, of all files that name it.
    """

    experiments: tuple[ExperimentFile, ...]
    settings: dict[str, TableSettings]

    def files(self, reference: str, table: ReferenceTable, paper: ReferenceRow, metric: str) -> list[str]:
        """Those that ask for one value of a paper with the paper's setting."""
        families = self.settings[reference].families if reference in self.settings else {}
        return [each.file for each in self.experiments if each.asks_for(table, paper, metric, families)]


@functools.cache
def paper_experiments() -> PaperExperiments:
    """The files of config/.

    Raises:
        ExperimentError: an experiment file cannot be read, or two of them give a family two names in one reference.
    """
    return read_experiments(sorted((reports_folder().parent / "config").glob("*.yaml")))


def read_experiments(paths: Iterable[Path]) -> PaperExperiments:
    """As `paper_experiments`, of any files."""
    found: list[ExperimentFile] = []
    families: dict[str, dict[str, str]] = {}
    for path in paths:
        experiment = load_experiment(path)
        found.append(_planned(path, experiment))
        for table in ReportSettings.model_validate(experiment.report).tables or []:
            known = families.setdefault(table.reference, {})
            for ours, theirs in table.families.items():
                if known.setdefault(ours, theirs) != theirs:
                    raise ExperimentError(
                        f"{path}: report: tables: {table.reference}: {ours!r} stands for {theirs!r} here and for "
                        f"{known[ours]!r} in another experiment; give it one name"
                    )
    settings = {name: TableSettings(reference=name, families=names) for name, names in families.items()}
    return PaperExperiments(tuple(found), settings)


def _planned(path: Path, experiment: Experiment) -> ExperimentFile:
    images = {choice.source: _images(choice) for choice in experiment.datasets if choice.name is not None}
    records = [
        record for dataset in images for entry in experiment.entries for record in _records(experiment, dataset, entry)
    ]
    file = f"{path.parent.name}/{path.name}"
    return ExperimentFile(file, frozenset(experiment.metrics), images, tuple(group_rows(records)))


def _images(choice: DatasetChoice) -> frozenset[str] | None:
    """The first so many are no image that a paper names."""
    if choice.images == "all":
        return None
    return frozenset(choice.images) if isinstance(choice.images, list) else frozenset({""})


def _records(experiment: Experiment, dataset: str, entry: Entry) -> Iterator[Record]:
    """Those of one image, without values. A limit of wall time leaves the steps open: no paper's setting."""
    config, config_hash = configured(entry.method, entry.config)
    for budget in entry.budgets:
        if budget.seconds is not None or entry.column == "control":
            continue
        common: dict[str, Any] = {
            "experiment": experiment.name,
            "dataset": dataset,
            "image": "planned",
            "entry": entry.id,
            "method": entry.method,
            "family": entry.family,
            "column": entry.column,
            "config": config,
            "config_hash": config_hash,
            "budget": budget.as_dict(),
            "budget_slug": budget.slug,
            "provenance": Provenance(time="", device=""),
        }
        yield Record(**common)
        for snapshot in entry.snapshots:
            yield Record(**common, snapshot=str(snapshot))

"""What the project's experiment files say about papers' tables: which file fills which, and which of our rows belong
there under another name."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splatbench.experiment import ExperimentError, read_yaml
from splatbench.report.reference import reports_folder
from splatbench.report.settings import ReportSettings, TableSettings


@dataclass(frozen=True)
class PaperExperiment:
    """An experiment file that asks for a paper's table: its path below the project, its data sets and methods."""

    file: str
    datasets: frozenset[str]
    methods: frozenset[str]


@dataclass(frozen=True)
class PaperExperiments:
    """The experiment files that ask for one reference file.

    Attributes:
        settings: the reference, and our names of families that are called otherwise there.
    """

    experiments: tuple[PaperExperiment, ...]
    settings: TableSettings

    def files(self, dataset: str, methods: Iterable[str] = ()) -> list[str]:
        """Those that measure on a data set, and one of the methods where some are given."""
        wanted = set(methods)
        return [e.file for e in self.experiments if dataset in e.datasets and (not wanted or e.methods & wanted)]


@functools.cache
def paper_experiments() -> dict[str, PaperExperiments]:
    """Reference -> the project's own experiments that ask for it.

    Raises:
        ExperimentError: an experiment file cannot be read, or two of them give a family two names in one reference.
    """
    return read_experiments(sorted((reports_folder().parent / "config").glob("*.yaml")))


def read_experiments(paths: Iterable[Path]) -> dict[str, PaperExperiments]:
    """As `paper_experiments`, of any files; those without a `report:` section ask for nothing."""
    found: dict[str, list[PaperExperiment]] = {}
    families: dict[str, dict[str, str]] = {}
    for path in paths:
        content = read_yaml(path)
        for table in _tables(path, content):
            found.setdefault(table.reference, []).append(_experiment(path, content))
            known = families.setdefault(table.reference, {})
            for ours, theirs in table.families.items():
                if known.setdefault(ours, theirs) != theirs:
                    raise ExperimentError(
                        f"{path}: report: tables: {table.reference}: {ours!r} stands for {theirs!r} here and for "
                        f"{known[ours]!r} in another experiment; give it one name"
                    )
    return {
        name: PaperExperiments(tuple(experiments), TableSettings(reference=name, families=families[name]))
        for name, experiments in found.items()
    }


def _tables(path: Path, content: dict[str, Any]) -> list[TableSettings]:
    try:
        return ReportSettings.model_validate(content.get("report") or {}).tables or []
    except ValueError as error:
        raise ExperimentError(f"{path}: report: {error}") from None


def _experiment(path: Path, content: dict[str, Any]) -> PaperExperiment:
    """Of the file as it is: checking it whole would load every method."""
    try:
        datasets = [item if isinstance(item, str) else item["name"] for item in content["datasets"]]
        methods = [entry["method"] for entry in content["entries"]]
    except (KeyError, TypeError) as error:
        raise ExperimentError(f"{path}: datasets and entries must be lists with names and methods: {error}") from None
    return PaperExperiment(f"{path.parent.name}/{path.name}", frozenset(datasets), frozenset(methods))

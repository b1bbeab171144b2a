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
class PaperExperiments:
    """Experiment files that ask for one reference file.

    Attributes:
        files: their paths below the project, e.g. "config/air_table1.yaml".
        settings: the reference, and our names of families that are called otherwise there.
    """

    files: tuple[str, ...]
    settings: TableSettings


@functools.cache
def paper_experiments() -> dict[str, PaperExperiments]:
    """Reference -> the project's own experiments that ask for it.

    Raises:
        ExperimentError: an experiment file cannot be read, or two of them give a family two names in one reference.
    """
    return read_experiments(sorted((reports_folder().parent / "config").glob("*.yaml")))


def read_experiments(paths: Iterable[Path]) -> dict[str, PaperExperiments]:
    """As `paper_experiments`, of any files; those without a `report:` section ask for nothing."""
    files: dict[str, list[str]] = {}
    families: dict[str, dict[str, str]] = {}
    for path in paths:
        for table in _tables(path):
            files.setdefault(table.reference, []).append(f"{path.parent.name}/{path.name}")
            known = families.setdefault(table.reference, {})
            for ours, theirs in table.families.items():
                if known.setdefault(ours, theirs) != theirs:
                    raise ExperimentError(
                        f"{path}: report: tables: {table.reference}: {ours!r} stands for {theirs!r} here and for "
                        f"{known[ours]!r} in another experiment; give it one name"
                    )
    return {
        name: PaperExperiments(tuple(paths), TableSettings(reference=name, families=families[name]))
        for name, paths in files.items()
    }


def _tables(path: Path) -> list[TableSettings]:
    content: Any = read_yaml(path).get("report") or {}
    try:
        return ReportSettings.model_validate(content).tables or []
    except ValueError as error:
        raise ExperimentError(f"{path}: report: {error}") from None

"""The experiment file: data sets, entries (a method with its settings), budgets and metrics of one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from splatbench.budget import Budget
from splatbench.plain_yaml import repeated
from splatbench.record import Column, Implementation
from splatbench.schema import Strict, explain, read_mapping

#: Names that become parts of paths: no separators, no leading dot, no "@" (it marks snapshots).
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]

#: JPEG qualities of the control: coarse, low, usual, high.
JPEG_QUALITIES = (10, 30, 60, 90)


class ExperimentError(ValueError):
    """An experiment file that cannot be read or does not fit the schema: names file, key and the nearest valid one."""


def _as_budget(value: Any) -> Any:
    from splatbench.method import build_dataclass

    if not isinstance(value, dict):
        return value
    return build_dataclass(Budget, value, where="budget")


class First(Strict):
    """The first images of a data set, in its own order."""

    first: int = Field(ge=1)


class DatasetChoice(Strict):
    """A data set by name, or a folder of the user's own images; all of its images or some."""

    name: str | None = None
    folder: Path | None = None
    images: Literal["all"] | list[str] | First = "all"

    @field_validator("images", mode="before")
    @classmethod
    def _images(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return First.model_validate(value)
        if value != "all" and not (isinstance(value, list) and value and all(isinstance(v, str) for v in value)):
            raise ValueError("expected `all`, a list of image names, or `{first: N}`")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> DatasetChoice:
        if (self.name is None) == (self.folder is None):
            raise ValueError("give either `name` (of a data set) or `folder` (with images)")
        return self

    @property
    def source(self) -> str:
        """What `splatbench.datasets.get_dataset` takes."""
        return self.name if self.name is not None else str(self.folder)


class Entry(Strict):
    """One line of the table: a method with its settings, at one or several budgets."""

    id: Name
    title: str
    family: str
    column: Column = "ours"
    implementation: Implementation | None = None  # None: as the method says
    method: str
    config: dict[str, Any] = Field(default_factory=dict)
    budgets: list[Annotated[Budget, BeforeValidator(_as_budget)]] = Field(min_length=1)
    snapshots: list[int | str] = Field(default_factory=list)

    @field_validator("budgets", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """A budget without a list around it; of a field with several values one budget for each of them."""
        if not isinstance(value, dict):
            return value
        several = [name for name, item in value.items() if isinstance(item, list)]
        if len(several) > 1:
            raise ValueError(f"only one field may list values, got lists for {' and '.join(several)}")
        return [value | {name: item} for name in several for item in value[name]] if several else [value]

    @model_validator(mode="after")
    def _method_knows_this(self) -> Entry:
        from splatbench.method import get_method

        method = get_method(self.method)
        method.make_config(self.config)
        if self.implementation not in (None, method.implementation) and method.implementation == "ours":
            raise ValueError(
                f"implementation: method {self.method!r} is this project's; only rows of the method `external` can be "
                f"{self.implementation!r}"
            )
        for budget in self.budgets:
            if budget.target not in method.budgets:
                takes = ", ".join(method.budgets)
                raise ValueError(
                    f"method {self.method!r} cannot meet a budget of kind {budget.target!r} (it takes: {takes})"
                )
            if budget.warm and not method.warm:
                raise ValueError(f"method {self.method!r} cannot begin from another entry's Gaussians (warm)")
        slugs = [budget.slug for budget in self.budgets]
        if twice := repeated(slugs):
            raise ValueError(f"budget {twice} is listed twice")
        return self


class Experiment(Strict):
    """One experiment file. Everything that a result depends on is in `entries`, `datasets` and `seeds`; metrics, titles
    and the report may change at any time without encoding anything again."""

    name: Name
    title: str = ""
    datasets: list[DatasetChoice] = Field(min_length=1)
    seeds: list[int] = Field(default=[1], min_length=1)
    metrics: list[str] = Field(default=["psnr", "psnr_u8", "ssim", "ms_ssim"], min_length=1)
    shard_size: int = Field(default=24, ge=1)  # images per job: as many as Kodak has
    timing_repeats: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    controls: bool = True
    entries: list[Entry] = Field(min_length=1)
    report: dict[str, Any] = Field(default_factory=dict)

    @field_validator("datasets", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return (
            [{"name": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value
        )

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, names: list[str]) -> list[str]:
        from splatbench.metrics import get_metric

        for name in names:
            get_metric(name)
        return list(dict.fromkeys(names))

    @field_validator("report")
    @classmethod
    def _report_settings(cls, value: dict[str, Any]) -> dict[str, Any]:
        from splatbench.report.settings import ReportSettings

        try:
            ReportSettings.model_validate(value)
        except ValidationError as error:
            raise ValueError("; ".join(explain(error, ReportSettings))) from None
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: list[int]) -> list[int]:
        if (twice := repeated(seeds)) is not None:
            raise ValueError(f"seed {twice} is listed twice")
        return seeds

    @model_validator(mode="after")
    def _entries_fit_together(self) -> Experiment:
        _check_matching(self.entries)
        if twice := repeated([entry.id for entry in self.all_entries]):
            raise ValueError(
                f"two entries have the id {twice!r} (the controls have ids, too: rename, or set `controls: false`)"
            )
        return self

    @property
    def all_entries(self) -> list[Entry]:
        """The file's entries, then the controls."""
        return [*self.entries, *(control_entries(_control_budget(self.entries)) if self.controls else [])]

    def entry(self, entry_id: str) -> Entry:
        return next(entry for entry in self.all_entries if entry.id == entry_id)


def control_entries(budget: Budget) -> list[Entry]:
    """What stands in every table beside the contenders: upper and lower bounds, and a codec everybody knows.

    Args:
        budget: fixes the number of Gaussians of the random ones; down-sampling keeps as many parameters.
    """
    plain = [
        ("identity", "Identity (lossless PNG)", "identity", [Budget(native=True)]),
        ("jpeg", "JPEG", "codecs", [Budget(quality=quality) for quality in JPEG_QUALITIES]),
        ("downsample", "Down- and up-sampling", "downsample", [budget]),
        ("random_gaussians", "Gaussians at random", "random_gaussians", [budget]),
    ]
    return [
        Entry(id=id, title=title, family=title, column="control", method=method, budgets=budgets)
        for id, title, method, budgets in plain
    ]


def _control_budget(entries: list[Entry]) -> Budget:
    """The number of Gaussians of the first entry that fixes or can lend one, without limits on steps or time."""
    for entry in entries:
        budget = entry.budgets[0]
        if budget.matched_to is not None:
            return Budget(matched_to=budget.matched_to)
        if budget.gaussians is not None:
            return Budget(gaussians=budget.gaussians)
        if budget.compression_ratio is not None:
            return Budget(compression_ratio=budget.compression_ratio)
        lends = budget.native or budget.bpp is not None or budget.psnr is not None
        if len(entry.budgets) == 1 and lends and _has_gaussians(entry):
            return Budget(matched_to=entry.id)
    raise ValueError("no entry fixes a number of Gaussians for the controls; set `controls: false`")


def _has_gaussians(entry: Entry) -> bool:
    from splatbench.method import get_method

    return not get_method(entry.method).control


def _check_matching(entries: list[Entry]) -> None:
    """`matched_to` names another entry with one budget, and no chain of them closes."""
    from splatbench.method import nearest

    by_id = {entry.id: entry for entry in entries}
    targets = {entry.id: {b.matched_to for b in entry.budgets if b.matched_to is not None} for entry in entries}
    for entry_id, wanted in targets.items():
        for target in wanted:
            if target not in by_id:
                raise ValueError(
                    f"entry {entry_id!r} is matched to an unknown entry {target!r}{nearest(target, by_id)}"
                )
            if len(by_id[target].budgets) != 1:
                raise ValueError(
                    f"entry {entry_id!r} is matched to {target!r}, which has {len(by_id[target].budgets)} budgets; "
                    f"give it one, so that its counts are unambiguous"
                )
    for start in targets:
        seen, frontier = set[str](), set(targets[start])
        while frontier:
            if start in frontier:
                raise ValueError(f"entry {start!r} is matched to itself, directly or through others")
            seen |= frontier
            frontier = {t for f in frontier for t in targets[f]} - seen


# -- reading -------------------------------------------------------------------------------------------------------


def read_yaml(path: Path | str) -> dict[str, Any]:
    """An experiment file's content, not yet validated.

    Raises:
        ExperimentError: not readable, not YAML, or not a mapping.
    """
    try:
        return read_mapping(path, "experiment file", "name, datasets and entries")
    except ValueError as error:
        raise ExperimentError(str(error)) from None


def load_experiment(path: Path | str) -> Experiment:
    """Reads and validates an experiment file.

    Raises:
        ExperimentError: naming the file, the path of the key, and for an unknown name the nearest valid one.
    """
    content = read_yaml(path)
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        raise ExperimentError("\n".join(f"{path}: {problem}" for problem in explain(error, Experiment))) from None

"""From an experiment to its runs, shards and paths. A path holds a hash of all that the result depends on."""

from __future__ import annotations

import dataclasses
import functools
import graphlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splatbench.budget import Budget
from splatbench.datasets import Dataset, get_dataset
from splatbench.devices import DeviceMissing, choose_device, gpu_slots
from splatbench.experiment import DatasetChoice, Entry, Experiment, ExperimentError, First, load_experiment
from splatbench.method import get_method, nearest
from splatbench.runner.results import SourceState, safe_name

#: Controls are cheap, so all of them share one job per shard.
CONTROLS = "controls"


def hash8(value: Any) -> str:
    """First 8 hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def configured(name: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A method's full settings, defaults included, and the hash that stands for them in paths and records: of the
    method's name and version, the settings and the content of the weights that they name.

    Raises:
        MethodError: there is no such method, or it does not take these settings.
    """
    method = get_method(name)
    made = method.make_config(settings)
    config = dataclasses.asdict(made)
    content = {"method": name, "version": method.version, "config": config}
    if weights := method.fingerprint(made):
        content["weights"] = weights
    return config, hash8(content)


def _short_names(files: list[str]) -> list[str]:
    """Names without their endings, where no other picture of the data set has the same; tables read better so."""
    stems = [Path(file).stem for file in files]
    return [stem if stems.count(stem) == 1 else file for stem, file in zip(stems, files, strict=True)]


@dataclass(frozen=True)
class Run:
    """One entry at one budget and seed on one data set: a folder of results."""

    entry: Entry
    config: dict[str, Any]  # full, defaults included
    config_hash: str
    budget: Budget
    seed: int
    dataset: str
    target_hash: str = ""  # config hash of the entry that the budget is matched to

    @property
    def folder(self) -> Path:
        """Below `encodings/` and, mirrored, below `evaluations/`."""
        budget = self.budget.slug + (f"-{self.target_hash}" if self.target_hash else "")
        return Path(f"{self.entry.id}-{self.config_hash}", safe_name(self.dataset), f"{budget}-s{self.seed}")

    @property
    def label(self) -> str:
        return f"{self.entry.id} {self.budget.slug}" + (f" seed {self.seed}" if self.seed != 1 else "")


@dataclass(frozen=True)
class Shard:
    """What one job does: the runs of an entry (or of all controls) on some images of one data set."""

    group: str
    dataset: str
    number: int
    images: tuple[str, ...]
    runs: tuple[Run, ...]
    token: str  # of everything that decides what the encode job has to do
    needs: tuple[str, ...]  # groups whose same shard must be encoded before (matched_to)

    @property
    def place(self) -> str:
        """The part of the name that the shards of all groups on the same images share."""
        return f"{safe_name(self.dataset)}-{self.number:03d}"

    @property
    def name(self) -> str:
        return f"{self.group}/{self.place}"


class Plan:
    """All runs, shards and paths of an experiment.

    Args:
        experiment: a validated experiment.
        results: folder that holds the experiments' results.

    Raises:
        ExperimentError: a data set or image that does not exist.
    """

    def __init__(self, experiment: Experiment, results: Path | str = "results") -> None:
        self.experiment = experiment
        self.root = Path(results) / experiment.name
        self.datasets: dict[str, Dataset] = {}
        self.images: dict[str, tuple[str, ...]] = {}
        self._folders: set[str] = set()
        for i, choice in enumerate(experiment.datasets):
            self._add_dataset(choice, f"datasets[{i}]")
        self.shards = {shard.name: shard for shard in self._shards()}

    @classmethod
    def load(cls, path: Path | str, results: Path | str = "results") -> Plan:
        """Raises ExperimentError naming the file and what is wrong in it."""
        experiment = load_experiment(path)
        try:
            return cls(experiment, results)
        except ExperimentError as error:
            raise ExperimentError(f"{path}: {error}") from None

    # -- what there is to do ----------------------------------------------------------------------------------------
    def _add_dataset(self, choice: DatasetChoice, where: str) -> None:
        try:
            dataset = get_dataset(choice.source)
            names = _short_names([image.name for image in dataset.images])
            if isinstance(choice.images, First):
                chosen = list(names)[: choice.images.first]
            elif isinstance(choice.images, list):
                wanted = {dataset.entry(name).name for name in choice.images}
                chosen = [name for name in names if dataset.entry(name).name in wanted]
            else:
                chosen = list(names)
        except ValueError as error:
            raise ExperimentError(f"{where}: {error}") from None
        if dataset.name in self.datasets:
            raise ExperimentError(
                f"{where}: the data set {dataset.name!r} is listed twice (a folder is named by its last part)"
            )
        self.datasets[dataset.name] = dataset
        if choice.folder is not None:
            self._folders.add(dataset.name)
        self.images[dataset.name] = tuple(chosen)

    @functools.cached_property
    def runs(self) -> tuple[Run, ...]:
        """In the order of the experiment file."""
        configs = {entry.id: configured(entry.method, entry.config) for entry in self.experiment.all_entries}
        return tuple(
            Run(
                entry=entry,
                config=configs[entry.id][0],
                config_hash=configs[entry.id][1],
                budget=budget,
                seed=seed,
                dataset=dataset,
                target_hash=configs[budget.matched_to][1] if budget.matched_to is not None else "",
            )
            for entry in self.experiment.all_entries
            for dataset in self.images
            for budget in entry.budgets
            for seed in self.experiment.seeds
        )

    def _shards(self) -> Iterator[Shard]:
        groups: dict[tuple[str, str], list[Run]] = {}
        for run in self.runs:
            group = CONTROLS if run.entry.column == "control" else run.entry.id
            groups.setdefault((group, run.dataset), []).append(run)
        for (group, dataset), runs in groups.items():
            needs = sorted({run.budget.matched_to for run in runs if run.budget.matched_to is not None})
            images, size = self.images[dataset], self.experiment.shard_size
            for number, start in enumerate(range(0, len(images), size)):
                part = images[start : start + size]
                token = hash8([str(run.folder) for run in runs] + [self._wishes(runs), self._files(dataset, part)])
                yield Shard(group, dataset, number, part, tuple(runs), token, tuple(needs))

    def _wishes(self, runs: list[Run]) -> Any:
        """What an encoding must hold beyond what its path says."""
        return [self.experiment.timing_repeats, [run.entry.snapshots for run in runs]]

    def _files(self, dataset: str, images: tuple[str, ...]) -> Any:
        """Names, and for a folder of the user's own also what the files look like: they may change under us."""
        if dataset not in self._folders:
            return images
        states = [SourceState.of(self.datasets[dataset].path(name)) for name in images]
        return [[name, state.model_dump() if state else None] for name, state in zip(images, states, strict=True)]

    def matched_run(self, run: Run) -> Run:
        """The run whose per-image counts are the targets of this one."""
        return next(
            other
            for other in self.runs
            if (other.entry.id, other.dataset, other.seed) == (run.budget.matched_to, run.dataset, run.seed)
        )

    def shard(self, name: str) -> Shard:
        """Raises ExperimentError for an unknown name."""
        if name not in self.shards:
            raise ExperimentError(
                f"experiment {self.experiment.name!r} has no shard {name!r}{nearest(name, self.shards)}"
            )
        return self.shards[name]

    def ordered_shards(self) -> list[Shard]:
        """All shards, each after those whose counts it is matched to."""
        graph = {shard.name: [f"{need}/{shard.place}" for need in shard.needs] for shard in self.shards.values()}
        return [self.shards[name] for name in graphlib.TopologicalSorter(graph).static_order()]

    def device(self, entry: Entry, slots: Sequence[str] | None = None) -> str:
        """Device type that an entry's encoder runs on.

        Args:
            slots: GPUs of the machine that it will run on; None: of this one.

        Raises:
            DeviceMissing: it is not there.
        """
        wanted = self.experiment.device
        supported = get_method(entry.method).devices_for(wanted)
        return choose_device(wanted, supported, gpu_slots() if slots is None else slots)

    def needs_gpu(self, shard: Shard, slots: Sequence[str] | None = None) -> bool:
        """Whether the shard's encode job has to lease a GPU of `slots` (None: of this machine's)."""
        for entry in {run.entry.id: run.entry for run in shard.runs}.values():
            try:
                if self.device(entry, slots) == "cuda":
                    return True
            except DeviceMissing:
                continue
        return False

    # -- paths ------------------------------------------------------------------------------------------------------
    def encoding(self, run: Run, image: str) -> Path:
        """The JSON of an encoded image; its files lie beside it."""
        return self.root / "encodings" / run.folder / f"{safe_name(image)}.json"

    def evaluation(self, run: Run, image: str) -> Path:
        return self.root / "evaluations" / run.folder / f"{safe_name(image)}.json"

    def fetch_marker(self, dataset: str) -> Path:
        return self.root / "shards" / "fetch" / f"{safe_name(dataset)}-{hash8(self.images[dataset])}.json"

    def encode_marker(self, shard: Shard) -> Path:
        return self._marker(shard, "encode", shard.token)

    def evaluate_marker(self, shard: Shard) -> Path:
        return self._marker(shard, "evaluate", hash8([shard.token, self._computable_metrics]))

    @functools.cached_property
    def _computable_metrics(self) -> list[Any]:
        """Metrics with what they lack now: weights that arrive later make the evaluate jobs run again."""
        from splatbench.metrics import get_metric
        from splatbench.metrics.weights import find

        metrics = [get_metric(name) for name in self.experiment.metrics]
        return [[metric.name, not metric.weights or find(metric.weights) is not None] for metric in metrics]

    def _marker(self, shard: Shard, stage: str, token: str) -> Path:
        return self.root / "shards" / stage / f"{shard.name}-{token}.json"

    @property
    def records(self) -> Path:
        return self.root / "records.jsonl"

"""What the Snakefile needs from Python: the experiment file, the plan, open markers, the run's lock and overhead."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from splatbench.datasets import DataMissing, ImageError
from splatbench.datasets.images import image_size
from splatbench.devices import gpu_slots
from splatbench.experiment import ExperimentError, read_yaml
from splatbench.method import nearest
from splatbench.runner import deployment
from splatbench.runner.deployment import Deployment, literal
from splatbench.runner.locks import Busy, is_busy, lock_run
from splatbench.runner.plan import Plan, Shard
from splatbench.runner.repair import open_files
from splatbench.runner.results import Summary, read_result

#: Keys that `snakemake --config` may give, with their meaning; everything else belongs into the experiment file.
OPTIONS = {
    "encode_threads": "threads per encode job (default: all cores, so that timed jobs never share any; on a machine "
    "with several GPUs, those that need one share the cores evenly; on a cluster 8)",
    "evaluate_threads": "threads per evaluate job (default: all cores; on a cluster 8)",
    "remote_gpus": "whether the compute nodes of a cluster have GPUs (default: true)",
    "retry_failed": "encode and evaluate again what failed",
    **deployment.OPTIONS,
}

#: Threads of a job on a cluster: what a compute node has cannot be seen from here, and rows of all jobs must compare.
CLUSTER_THREADS = 8

#: MB that a job asks a scheduler for: the libraries, and room for about ten float copies of its largest picture, which
#: methods that draw whole pictures hold (those that stream need far less: docs/renderer.md). Doubled when tried again.
MEMORY_MB, MEMORY_MB_PER_MEGAPIXEL = 4000, 120

#: When the run began, for its jobs: on a cluster each of them reads the Snakefile again.
_STARTED = "SPLATBENCH_RUN_STARTED"


class Workflow:
    """One invocation of Snakemake on one experiment.

    Args:
        configfiles: what `--configfile` named; one at most.
        config: Snakemake's merged configuration, experiment file and `--config` together.
        default: the experiment without `--configfile`.
        remote: jobs run on other machines than the one that plans them.
        main: False in the process that Snakemake starts for one job, which leaves the folder as it is.
        apptainer: Snakemake runs the jobs in apptainer (`--sdm apptainer`).

    Raises:
        ExperimentError: several files, an invalid file, `--config` with a key that belongs into the file, or options
            that do not go together.
    """

    def __init__(
        self,
        configfiles: list[str],
        config: Mapping[str, Any],
        default: Path,
        remote: bool = False,
        main: bool = True,
        apptainer: bool = False,
    ) -> None:
        if len(configfiles) > 1:
            raise ExperimentError(f"give one --configfile, not {len(configfiles)}: an experiment is one file")
        # Not Snakemake's `configfile:` directive: that would merge the default into what the user names.
        self.experiment_file = Path(configfiles[0]).resolve() if configfiles else default
        self.options = _options(config, read_yaml(self.experiment_file) if configfiles else {})
        self.deployment = Deployment.chosen(self.options, apptainer)
        self.plan = Plan.load(self.experiment_file)
        folders = [dataset.folder.expanduser() for dataset in self.plan.experiment.datasets if dataset.folder]
        self._needed = [self.experiment_file, *(folder.absolute() for folder in folders)]
        self.deployment.prepare(self._needed)
        self.remote = remote
        self._lock: Any = None
        #: What Snakemake has to make again though it is there; see `repair.open_files`. It stays there: what only
        #: looks (a dry run, a report, a graph) leaves everything as it is.
        self.again: list[str] = []
        if main:
            self.started = time.time()
            os.environ[_STARTED] = str(self.started)
            # What another run is making now will look different when this one begins.
            self._planned_beside_another = is_busy(self.plan.root)
            if not self._planned_beside_another:
                self.again = list(map(str, open_files(self.plan, retry=bool(self.options.get("retry_failed")))))
        else:
            self.started = float(os.environ.get(_STARTED) or time.time())

    def shell(self, command: str, network: bool = False, gpu: bool = False) -> str:
        """A rule's shell command: `splatbench` of this very Python, whatever PATH says, or of the image that jobs run
        in, on this experiment.

        Args:
            command: command and options; Snakemake replaces what stands in braces.
            network: the job downloads.
            gpu: the rule has the resource `gpu`.
        """
        splatbench = self.deployment.command(self._needed, network=network, gpu=gpu)
        return f"{splatbench} {command} --experiment {literal(str(self.experiment_file))}"

    def threads(self, stage: str, cores: int | None) -> int:
        """Threads of a stage's jobs: all cores unless `--config <stage>_threads=N`.

        Args:
            stage: "encode" or "evaluate".
            cores: cores that the run may use; on a cluster they are another machine's and do not count.
        """
        return int(self.options.get(f"{stage}_threads") or (CLUSTER_THREADS if self.remote else cores) or 1)

    def encode_threads(self, wildcards: Any, cores: int | None, gpus: int | None) -> int:
        """Threads of an encode job. Where it leases a GPU, the jobs of all GPUs share the cores.

        Args:
            cores: cores that the run may use; None on a cluster.
            gpus: GPUs that it may use; None on a cluster.
        """
        threads = self.threads("encode", cores)
        if not gpus or self.options.get("encode_threads") or not self.gpus(wildcards):
            return threads
        return max(1, threads // gpus)

    @functools.cached_property
    def slots(self) -> list[str]:
        """GPUs of this machine that may be used."""
        return gpu_slots()

    @property
    def retry(self) -> str:
        """Option for jobs; the time stamp keeps a job that is started again from retrying for ever."""
        return f" --retry-before {self.started:.0f}" if self.options.get("retry_failed") else ""

    def start(self) -> None:
        """Takes the experiment's folder for this process. Replaces Snakemake's own lock, which a SIGKILL leaves behind.

        Raises:
            Busy: another run has it, or had it while this one was planned.
            OSError: the results folder cannot be written.
        """
        self._lock = lock_run(self.plan.root)
        if self._planned_beside_another:
            self._lock.lock.release()
            raise Busy(f"another run was working in {self.plan.root} while this one was planned; repeat the command")

    # -- what rules ask for, by their wildcards ---------------------------------------------------------------------
    def _shard(self, wildcards: Any) -> Shard:
        return self.plan.shard(f"{wildcards.group}/{wildcards.place}")

    def dataset(self, wildcards: Any) -> str:
        """Name of the data set whose fetch marker is asked for."""
        return unquote(wildcards.dataset)

    def fetch_marker(self, wildcards: Any, graph: Any) -> Path:
        """Input of an encode job. Also has Snakemake make again what is open, as `--forcerun` would: each graph has
        encode jobs, and there is none to tell before its input functions are called.

        Args:
            graph: `workflow.dag` of Snakemake.
        """
        graph.forcefiles.update(self.again)
        return self.plan.fetch_marker(self._shard(wildcards).dataset)

    def matched_markers(self, wildcards: Any) -> list[Path]:
        """Encode markers of the shards whose counts this one needs."""
        shard = self._shard(wildcards)
        return [self.plan.encode_marker(self.plan.shard(f"{need}/{shard.place}")) for need in shard.needs]

    def encode_marker(self, wildcards: Any) -> Path:
        return self.plan.encode_marker(self._shard(wildcards))

    def evaluate_markers(self) -> list[Path]:
        return [self.plan.evaluate_marker(shard) for shard in self.plan.shards.values()]

    def gpus(self, wildcards: Any) -> int:
        """GPUs that the encode job leases: 0 or 1. Of a cluster's nodes it is assumed that they have them."""
        if self.remote:
            slots = ["on the node"] if _is_true(self.options.get("remote_gpus", True)) else []
        else:
            slots = self.slots
        return int(self.plan.needs_gpu(self._shard(wildcards), slots))

    def memory(self, wildcards: Any, attempt: int) -> int:
        """MB that a job of either stage asks a scheduler for; one machine alone does not look at it."""
        shard = self._shard(wildcards)
        pixels = max(self._pixels(shard.dataset, image) for image in shard.images)
        return round((MEMORY_MB + MEMORY_MB_PER_MEGAPIXEL * pixels / 1e6) * 2 ** (attempt - 1))

    def _pixels(self, dataset: str, image: str) -> int:
        """Pixels of a picture; 0 where that is not known before it is fetched."""
        entry = self.plan.datasets[dataset].entry(image)
        if entry.width and entry.height:
            return entry.width * entry.height
        try:
            width, height = image_size(self.plan.datasets[dataset].path(image))
        except (DataMissing, ImageError):
            return 0
        return width * height

    def overhead(self) -> str:
        """One sentence: wall time of this run against what its jobs spent on encoding and evaluating."""
        wall, busy, made = time.time() - self.started, 0.0, 0
        for shard in self.plan.shards.values():
            for marker in (self.plan.encode_marker(shard), self.plan.evaluate_marker(shard)):
                summary = read_result(Summary, marker)
                if summary is not None and marker.stat().st_mtime >= self.started:
                    busy += summary.busy_seconds
                    made += summary.done
        if not busy:
            return f"nothing was encoded or evaluated ({wall:.0f} s)"
        return f"{made} results in {wall:.0f} s, of which {busy:.0f} s encode and evaluate: overhead {wall / busy:.3f}x"


def _is_true(value: Any) -> bool:
    """A value of `--config`, which may have come as text."""
    return str(value).lower() not in ("false", "no", "0", "")


def _options(config: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    """The options among Snakemake's configuration, after a check that nothing else was changed."""
    options = {key: value for key, value in config.items() if key in OPTIONS}
    for key, value in config.items():
        if key not in options and (key not in file or file[key] != value):
            where = "belongs into the experiment file" if key in file else f"is unknown{nearest(key, OPTIONS)}"
            raise ExperimentError(f"--config {key}: {where}")
    return options

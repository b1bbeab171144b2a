"""What the Snakefile needs from Python: the experiment file, the plan, open markers, the run's lock and overhead."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from splatbench.experiment import ExperimentError, read_yaml
from splatbench.method import nearest
from splatbench.runner.locks import lock_run
from splatbench.runner.plan import Plan, Shard
from splatbench.runner.results import Summary, read_result

#: Keys that `snakemake --config` may give, with their meaning; everything else belongs into the experiment file.
OPTIONS = {
    "encode_threads": "threads per encode job (default: all cores, so that timed jobs never share any)",
    "evaluate_threads": "threads per evaluate job (default: all cores)",
    "retry_failed": "encode and evaluate again what failed",
}


class Workflow:
    """One invocation of Snakemake on one experiment.

    Args:
        configfiles: what `--configfile` named; one at most.
        config: Snakemake's merged configuration, experiment file and `--config` together.
        default: the experiment without `--configfile`.

    Raises:
        ExperimentError: several files, an invalid file, or `--config` with a key that belongs into the file.
    """

    def __init__(self, configfiles: list[str], config: Mapping[str, Any], default: Path) -> None:
        if len(configfiles) > 1:
            raise ExperimentError(f"give one --configfile, not {len(configfiles)}: an experiment is one file")
        # Not Snakemake's `configfile:` directive: that would merge the default into what the user names.
        self.experiment_file = Path(configfiles[0]).resolve() if configfiles else default
        self.options = _options(config, read_yaml(self.experiment_file) if configfiles else {})
        self.plan = Plan.load(self.experiment_file)
        self.started = time.time()
        self._lock: Any = None
        self.forget_open()

    def shell(self, command: str) -> str:
        """A rule's shell command: `splatbench` of this very Python, whatever PATH says, on this experiment.

        Args:
            command: command and options; Snakemake replaces what stands in braces.
        """
        experiment = shlex.quote(str(self.experiment_file)).replace("{", "{{").replace("}", "}}")
        return f"{shlex.quote(sys.executable)} -m splatbench {command} --experiment {experiment}"

    def threads(self, stage: str, cores: int | None) -> int:
        """Threads of a stage's jobs: all cores unless `--config <stage>_threads=N`."""
        return int(self.options.get(f"{stage}_threads") or cores or 1)

    @property
    def retry(self) -> str:
        """Option for jobs; the time stamp keeps a job that is started again from retrying for ever."""
        return f" --retry-before {self.started:.0f}" if self.options.get("retry_failed") else ""

    def forget_open(self) -> None:
        """Removes markers of jobs that left rows to be made (data, weights or a device were missing, or failures that
        are to be retried), so that Snakemake plans these jobs again. Results stay."""
        retry = bool(self.options.get("retry_failed"))
        for shard in self.plan.shards.values():
            if not all(self.plan.encoding(run, image).exists() for run in shard.runs for image in shard.images):
                self.plan.encode_marker(shard).unlink(missing_ok=True)  # somebody removed results by hand
            for marker in (self.plan.encode_marker(shard), self.plan.evaluate_marker(shard)):
                _remove_open(marker, retry)
        for dataset in self.plan.datasets:
            _remove_open(self.plan.fetch_marker(dataset), retry)

    def start(self) -> None:
        """Takes the experiment's folder for this process. Replaces Snakemake's own lock, which a SIGKILL leaves behind.

        Raises:
            Busy: another run has it.
            OSError: the results folder cannot be written.
        """
        self._lock = lock_run(self.plan.root)

    # -- what rules ask for, by their wildcards ---------------------------------------------------------------------
    def _shard(self, wildcards: Any) -> Shard:
        return self.plan.shard(f"{wildcards.group}/{wildcards.place}")

    def dataset(self, wildcards: Any) -> str:
        """Name of the data set whose fetch marker is asked for."""
        return unquote(wildcards.dataset)

    def fetch_marker(self, wildcards: Any) -> Path:
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
        """GPUs that the encode job leases: 0 or 1."""
        return int(self.plan.needs_gpu(self._shard(wildcards)))

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


def _remove_open(marker: Path, retry: bool) -> None:
    summary = read_result(Summary, marker)
    if summary is not None and (summary.open or (retry and summary.failed)):
        marker.unlink(missing_ok=True)


def _options(config: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    """The options among Snakemake's configuration, after a check that nothing else was changed."""
    options = {key: value for key, value in config.items() if key in OPTIONS}
    for key, value in config.items():
        if key not in options and (key not in file or file[key] != value):
            where = "belongs into the experiment file" if key in file else f"is unknown{nearest(key, OPTIONS)}"
            raise ExperimentError(f"--config {key}: {where}")
    return options

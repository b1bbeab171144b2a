"""The stages of an experiment as commands; each Snakemake rule is one of them."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from splatbench.runner.plan import Plan
    from splatbench.runner.progress import Reporter

ExperimentFile = Annotated[Path, typer.Option("--experiment", "-e", help="Experiment file, e.g. config/sample.yaml.")]
ShardName = Annotated[str, typer.Option("--shard", help="Name of the shard: GROUP/DATASET-NUMBER.")]
Results = Annotated[Path, typer.Option("--results", help="Folder of all experiments' results.")]
Log = Annotated[Path | None, typer.Option("--log", help="File that lines and tracebacks are appended to.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Threads of this job (0: all cores).")]
RetryBefore = Annotated[
    float, typer.Option("--retry-before", hidden=True, help="Try again what failed before this time stamp.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed.")]
Worker = Annotated[bool, typer.Option("--worker", hidden=True, help="Do the work in this process.")]

#: Read by numba, OpenMP, MKL, OpenBLAS and ourselves when they are first imported.
_THREAD_VARIABLES = (
    "SPLATBENCH_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)


def fetch_dataset(
    experiment: ExperimentFile,
    dataset: Annotated[str, typer.Option("--dataset", help="Name of a data set of the experiment.")],
    results: Results = Path("results"),
    log: Log = None,
) -> None:
    """Gets and verifies the images of one data set of an experiment.

    Example: splatbench fetch-dataset -e config/sample.yaml --dataset sample
    """
    from splatbench.runner.fetch import fetch_dataset as fetch

    plan = _plan(experiment, results)
    if dataset not in plan.datasets:
        from splatbench.method import nearest

        raise ValueError(f"{experiment} has no data set {dataset!r}{nearest(dataset, plan.datasets)}")
    with _reporter("fetch", log) as reporter:
        fetch(plan, dataset, reporter)


def encode_shard(
    experiment: ExperimentFile,
    shard: ShardName,
    results: Results = Path("results"),
    threads: Threads = 0,
    log: Log = None,
    retry_failed: RetryFailed = False,
    retry_before: RetryBefore = 0.0,
    worker: Worker = False,
) -> None:
    """Encodes what a shard lacks; failures become rows.

    Example: splatbench encode-shard -e config/sample.yaml --shard controls/sample-000
    """
    if not worker:
        retry_before = time.time() if retry_failed else retry_before
        raise typer.Exit(_supervise("encode-shard", experiment, results, shard, log, threads, retry_before))
    from splatbench.runner.encode import encode_shard as encode

    with _in_shard("encode", experiment, results, shard, log) as (plan, reporter):
        summary = encode(plan, plan.shard(shard), reporter, threads, retry_before)
        if summary.failed:
            reporter.line(f"{shard}: {summary.failed} rows without a result; results/ says why, row by row")


def evaluate_shard(
    experiment: ExperimentFile,
    shard: ShardName,
    results: Results = Path("results"),
    threads: Threads = 0,
    log: Log = None,
    retry_failed: RetryFailed = False,
    retry_before: RetryBefore = 0.0,
    worker: Worker = False,
) -> None:
    """Decodes and measures what a shard lacks, from the files alone; failures become rows.

    Example: splatbench evaluate-shard -e config/sample.yaml --shard controls/sample-000
    """
    if not worker:
        retry_before = time.time() if retry_failed else retry_before
        raise typer.Exit(_supervise("evaluate-shard", experiment, results, shard, log, threads, retry_before))
    from splatbench.runner.evaluate import evaluate_shard as evaluate

    with _in_shard("evaluate", experiment, results, shard, log) as (plan, reporter):
        evaluate(plan, plan.shard(shard), reporter, retry_before)


def collect(experiment: ExperimentFile, results: Results = Path("results"), log: Log = None) -> None:
    """Gathers all rows of an experiment into results/NAME/records.jsonl.

    Example: splatbench collect -e config/sample.yaml
    """
    from collections import Counter

    from splatbench.runner.collect import collect as gather

    plan = _plan(experiment, results)
    with _reporter("collect", log) as reporter:
        records = gather(plan)
        counts = ", ".join(f"{n} {status}" for status, n in sorted(Counter(r.status for r in records).items()))
        reporter.line(f"{plan.records}: {len(records)} rows ({counts})")


def _plan(experiment: Path, results: Path) -> Plan:
    from splatbench.runner.plan import Plan

    return Plan.load(experiment, results)


@contextlib.contextmanager
def _reporter(stage: str, log: Path | None) -> Iterator[Reporter]:
    from splatbench.runner.progress import Reporter

    reporter = Reporter(stage, log)
    try:
        yield reporter
    except Exception as error:
        import traceback

        reporter.log("".join(traceback.format_exception(error)))
        raise
    finally:
        reporter.close()


@contextlib.contextmanager
def _in_shard(
    stage: str, experiment: Path, results: Path, shard: str, log: Path | None
) -> Iterator[tuple[Plan, Reporter]]:
    """The plan and a reporter, with the shard locked for this process."""
    from splatbench.runner.locks import lock_shard

    plan = _plan(experiment, results)
    plan.shard(shard)
    with _reporter(stage, log) as reporter:

        def waiting() -> None:
            reporter.line(f"{shard}: waiting for another process that works on it")

        with lock_shard(plan.root, stage, shard, waiting):
            yield plan, reporter


def _supervise(
    command: str,
    experiment: Path,
    results: Path,
    shard: str,
    log: Path | None,
    threads: int,
    retry_before: float,
) -> int:
    """Runs the same command as a worker with the threads of this job; light, so that it costs no second import."""
    from splatbench.experiment import read_yaml
    from splatbench.runner.supervise import run_supervised

    root = results / str(read_yaml(experiment).get("name"))
    count = str(threads or _usable_cores())
    # Threads of torch that wait busily cost more than their work as soon as anything else runs on the machine.
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | dict.fromkeys(_THREAD_VARIABLES, count)
    arguments = ["--experiment", str(experiment), "--results", str(results), "--shard", shard, "--threads", count]
    arguments += ["--retry-before", str(retry_before), *(("--log", str(log)) if log is not None else ())]
    options = ["--debug"] if "--debug" in sys.argv[1:] else []
    with _reporter(command, log) as reporter:
        return run_supervised(
            [sys.executable, "-m", "splatbench", *options, command, *arguments, "--worker"],
            root,
            shard,
            lambda text: reporter.line(f"{shard}: {text}"),
            environment,
        )


def _usable_cores() -> int:
    from splatbench.provenance import usable_cores

    return usable_cores()

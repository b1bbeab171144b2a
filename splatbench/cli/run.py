"""`splatbench run`: one image, or a whole experiment without Snakemake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from splatbench.cli.options import (
    DEFAULT_METRICS,
    AsJson,
    Bpp,
    CompressionRatio,
    Device,
    GaussianCount,
    Iterations,
    Metrics,
    Native,
    Quality,
    Seconds,
    Seed,
    Settings,
    TargetPsnr,
    make_budget,
)


def run(
    image: Annotated[Path | None, typer.Argument(help="One picture.", show_default=False)] = None,
    experiment: Annotated[Path | None, typer.Option("--experiment", "-e", help="A whole experiment instead.")] = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="Name of a method.")] = None,
    gaussians: GaussianCount = None,
    compression_ratio: CompressionRatio = None,
    bpp: Bpp = None,
    quality: Quality = None,
    target_psnr: TargetPsnr = None,
    native: Native = False,
    iterations: Iterations = None,
    seconds: Seconds = None,
    settings: Settings = None,
    seed: Seed = 1,
    device: Device = "auto",
    metrics: Metrics = DEFAULT_METRICS,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep the encoded file here.")] = None,
    results: Annotated[Path, typer.Option("--results", help="Folder of all experiments' results.")] = Path("results"),
    threads: Annotated[int, typer.Option("--threads", help="Threads (0: all cores).")] = 0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Experiment: try again what failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fits, decodes in another process and measures one picture; or runs all stages of an experiment.

    Examples: splatbench run photo.png --method gaussianimage --gaussians 10000

    splatbench run --experiment config/sample.yaml
    """
    if (image is None) == (experiment is None):
        raise typer.BadParameter("give either an IMAGE or --experiment FILE")
    if experiment is not None:
        run_experiment(experiment, results, threads, retry_failed)
        return
    assert image is not None
    if method is None:
        raise typer.BadParameter("give --method NAME (see `splatbench methods`)")
    if threads:
        os.environ.update(dict.fromkeys(("SPLATBENCH_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), str(threads)))
    from splatbench.cli.fit import evaluate_elsewhere, fit_image, print_evaluation, write_encoding

    budget = make_budget(gaussians, compression_ratio, bpp, quality, target_psnr, native, iterations, seconds)
    encoded, suffix = fit_image(image, method, budget, settings or [], seed, device, live=sys.stderr.isatty())
    with tempfile.TemporaryDirectory(prefix="splatbench-") as folder:
        path = output or Path(folder, image.stem + suffix)
        if path.resolve() == image.resolve():
            raise ValueError(f"{path} is the picture itself; name another file with --output")
        write_encoding(path, encoded)
        decoder = ["--method", method, *(word for setting in settings or [] for word in ("--set", setting))]
        facts = evaluate_elsewhere(path, image, metrics, decoder)
    facts["file"] = str(output) if output else None
    facts |= {
        "encode_seconds": encoded.files[-1].seconds,
        "stage_seconds": encoded.stage_seconds,
        "notes": encoded.notes,
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        print_evaluation(facts)
        for note in encoded.notes:
            typer.echo(f"note: {note}")


def run_experiment(experiment: Path, results: Path, threads: int, retry_failed: bool) -> None:
    """All stages, one job after the other, each in a process of its own.

    Raises:
        Busy: another run works on this experiment.
        typer.Exit: a stage failed; what is finished stays.
    """
    from splatbench.runner.locks import lock_run
    from splatbench.runner.plan import Plan

    plan = Plan.load(experiment, results)
    begin = time.time()
    common = ["--experiment", str(experiment), "--results", str(results)]
    jobs = ["--threads", str(threads)] if threads else []
    jobs += ["--retry-before", str(begin)] if retry_failed else []
    with lock_run(plan.root):
        failed = [not _stage("fetch-dataset", *common, "--dataset", name) for name in plan.datasets]
        for shard in plan.ordered_shards():
            if _stage("encode-shard", *common, *jobs, "--shard", shard.name):
                failed.append(not _stage("evaluate-shard", *common, *jobs, "--shard", shard.name))
            else:
                failed.append(True)
        if not _stage("collect", *common) or any(failed):
            raise typer.Exit(1)
        if not _stage("report", "build", *common):
            raise typer.Exit(1)


def _stage(*arguments: str) -> bool:
    return subprocess.run([sys.executable, "-m", "splatbench", *arguments]).returncode == 0

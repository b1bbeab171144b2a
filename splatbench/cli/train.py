"""`splatbench train`: one phase of a method that learns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="The training file (docs/train.md).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of this run.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")] = False,
    iterations: Annotated[
        int | None, typer.Option("--iterations", "-i", min=1, help="Steps, instead of the file's.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the file; dots lead into sections; repeatable.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads (0: all cores).")] = 0,
) -> None:
    """Trains one phase of a method; Ctrl-C or SIGTERM writes a checkpoint and stops.

    Example: splatbench train config/train/air_small_pod.yaml --out runs/pod --set data.train=my_photos
    """
    if threads:
        os.environ.update(dict.fromkeys(("SPLATBENCH_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), str(threads)))
    import logging

    from splatbench.training.config import load_config

    changes = list(settings or []) + ([f"iterations={iterations}"] if iterations else [])
    resolved = load_config(config, changes)
    from splatbench.training.loop import train as run

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    outcome = run(resolved, out, resume, say=lambda line: print(line, flush=True))
    if outcome.signal is not None and outcome.first:
        raise typer.Exit(128 + outcome.signal)

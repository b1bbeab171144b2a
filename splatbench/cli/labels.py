"""`splatbench labels`: what a method that learns is told about its training pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def labels(
    method: Annotated[str, typer.Argument(help="Name of a method that learns with labels.", show_default=False)],
    data: Annotated[str, typer.Option("--data", help="Pictures: folder or tar shards, as `data.train` names them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the labels, `data.labels` of a training file.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the method's labels; repeatable.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads (0: all cores).")] = 0,
) -> None:
    """Makes a grey PNG for every training picture; the same command goes on where it was interrupted.

    Example: splatbench labels instant_gi --data photos --out labels --set iterations=0
    """
    if threads:
        os.environ.update(dict.fromkeys(("SPLATBENCH_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), str(threads)))
    from splatbench.cli.options import parse_settings
    from splatbench.method import get_method
    from splatbench.training.labels import write_labels

    kind = get_method(method)
    write_labels(kind, kind.make_labels(parse_settings(settings)), data, out, typer.echo)

"""`splatbench weights`: the downloaded weights that learned metrics need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Weights that learned metrics (LPIPS) need: what is here, and how to get the rest.", no_args_is_help=True
)

_Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Weights, e.g. lpips_alex.")]


@app.command("list", epilog="Example: splatbench weights list --json")
def list_weights(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """Shows all weights, where they lie, and which are missing."""
    from splatbench.metrics import weights

    rows = []
    for name, entry in _manifest().items():
        found = weights.find(name)
        wanted = found[1] if found else entry.download or entry.files[0]
        rows.append(
            {
                "name": name,
                "title": entry.title,
                "file": wanted.file,
                "bytes": wanted.bytes,
                "licence": entry.licence,
                "path": str(found[0]) if found else None,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        where = row["path"] or f"missing: splatbench weights fetch {row['name']}"
        typer.echo(f"{row['name']:14} {row['bytes'] / 2**20:7.1f} MiB  {where}")
    typer.echo("Looked in: " + ", ".join(map(str, weights.folders())))


@app.command(epilog="Example: splatbench weights fetch lpips_alex lpips_vgg")
def fetch(
    names: _Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch all that are missing.")] = False,
) -> None:
    """Downloads weights (resumes, verifies) into the cache folder; keeps what is there already."""
    from splatbench.datasets.download import DownloadError
    from splatbench.metrics import MetricError, weights

    failed = False
    for name in _chosen(names, everything):
        try:
            with _Progress(name) as progress:
                path = weights.fetch(name, progress.update)
            typer.echo(f"{name}: {path}")
        except (MetricError, DownloadError) as error:
            typer.echo(f"{name}: {error}", err=True)
            failed = True
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: splatbench weights path lpips_alex")
def path(name: Annotated[str, typer.Argument(help="Weights, e.g. lpips_alex.")]) -> None:
    """Prints the path of verified weights; exit code 1 where they are missing."""
    _chosen([name], everything=False)
    typer.echo(_locate(name))


@app.command(epilog="Example: splatbench weights verify")
def verify(names: _Names = None) -> None:
    """Compares weights that are here (all, or those named) with the manifest's SHA-256."""
    from splatbench.metrics import MetricNotRun, weights

    failed = False
    for name in _chosen(names, everything=not names):
        try:
            typer.echo(f"{name}: ok, {weights.locate(name)}")
        except MetricNotRun as reason:
            damaged = any((folder / file.file).is_file() for folder in weights.folders() for file in _files(name))
            # Weights that were never fetched are no fault unless they were asked for.
            failed = failed or damaged or bool(names)
            typer.echo(f"{name}: {reason}" if damaged or names else f"{name}: not here", err=damaged or bool(names))
    if failed:
        raise typer.Exit(1)


def _manifest() -> dict[str, Any]:
    from splatbench.metrics import MetricError, weights

    try:
        return dict(weights.manifest())
    except MetricError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _files(name: str) -> tuple[Any, ...]:
    return tuple(_manifest()[name].files)


def _chosen(names: list[str] | None, everything: bool) -> list[str]:
    """The names asked for, checked; exit code 2 for an unknown one or none at all."""
    from splatbench.metrics import MetricError, weights

    known = list(_manifest())
    if not names and not everything:
        typer.echo(f"name the weights to fetch, or use --all (known: {', '.join(known)})", err=True)
        raise typer.Exit(2)
    try:
        for name in names or ():
            weights.get_weights(name)
    except MetricError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    return known if everything else list(names or ())


def _locate(name: str) -> Path:
    from splatbench.metrics import MetricNotRun, weights

    try:
        return weights.locate(name)
    except MetricNotRun as reason:
        typer.echo(f"{name}: {reason}", err=True)
        raise typer.Exit(1) from None


class _Progress:
    """A bar with size, rate and time left; appears with the first byte and writes to stderr."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._name = name
        self._task: Any = None

    def __enter__(self) -> _Progress:
        return self

    def update(self, here: int, total: int | None) -> None:
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=total)
        self._bar.update(self._task, completed=here, total=total)

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._bar.stop()

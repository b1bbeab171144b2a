"""`splatbench leaderboard`: the site of all published records."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The site of all published records.", no_args_is_help=True)

PUBLISHED = Path("results/published")


@app.callback()
def _group() -> None:
    """Keeps `build` a command of its own."""


@app.command("build")
def build(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of records, or folders of them.", show_default="results/published"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The site's folder.")] = Path("site"),
    files: Annotated[
        Path | None,
        typer.Option("--files", help="Encoded files by hash, for pictures.", show_default="results/published/files"),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Folder of experiments that ran here: their encoded files make pictures, too."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse records that `results validate` refuses.")] = False,
) -> None:
    """Writes the site: leaderboard, verdicts, curves, and a page for every method, data set and image.

    It works from a folder, from any web server and without a network; equal records give equal bytes.

    Example: splatbench leaderboard build -o site && open site/index.html
    """
    from splatbench.results.check import check
    from splatbench.site.build import build as build_site
    from splatbench.site.build import gather

    paths = paths or [PUBLISHED]
    records = gather(paths)
    checked = check(paths, store=False)
    if checked.problems:
        counts = f"{checked.errors} errors, {checked.warnings} warnings"
        named = shlex.join(map(str, paths))
        typer.echo(f"warning: {counts} in the records: `splatbench results validate {named}` lists them", err=True)
    if strict and checked.errors:
        typer.echo("no site was written: --strict refuses records with errors", err=True)
        raise typer.Exit(1)
    store = files if files is not None else PUBLISHED / "files"
    built = build_site(records, out, results=results, store=store if store.is_dir() or files else None)
    typer.echo(
        f"{built.index.resolve()}: {built.files} files, {built.bytes / 1e6:.1f} MB; "
        f"{built.picture_files} pictures and encoded files, {built.picture_bytes / 1e6:.1f} MB"
    )
    for problem in built.problems:
        typer.echo(f"picture left out: {problem}", err=True)

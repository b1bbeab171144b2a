"""`splatbench results`: files of records are checked, merged and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Files of measured records: check, merge, export.", no_args_is_help=True)

PUBLISHED = Path("results/published")


@app.command("validate")
def validate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of records (.jsonl), or folders of them.", show_default=str(PUBLISHED)),
    ] = None,
    git: Annotated[
        bool, typer.Option("--git", help="Also say which rows' code has changed since their commit.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="List every problem, not the first ten of a kind.")] = False,
) -> None:
    """Checks records: schema, hashes, plausibility, duplicates, older code. Exit code 1 if any is wrong.

    Example: splatbench results validate results/published/sample.jsonl
    """
    from splatbench.results.check import check
    from splatbench.results.findings import SHOWN, listing

    checked = check(paths or [PUBLISHED], git=git)
    for line in listing(checked.problems, shown=None if everything else SHOWN):
        typer.echo(line)
    encoded = f" and {checked.encoded} encoded files" if checked.encoded else ""
    looked_at = f"{checked.records} records in {len(checked.files)} files{encoded}"
    typer.echo(f"{looked_at}: {checked.errors} errors, {checked.warnings} warnings")
    if checked.errors:
        raise typer.Exit(1)

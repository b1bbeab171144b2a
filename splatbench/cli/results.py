"""`splatbench results`: files of records are checked, merged and exported."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splatbench.record import Record

app = typer.Typer(help="Files of measured records: check, merge, export.", no_args_is_help=True)

PUBLISHED = Path("results/published")


Sources = Annotated[
    list[Path], typer.Argument(help="Files of records (.jsonl), or folders of them.", show_default=False)
]


class OnConflict(enum.StrEnum):
    fail = "fail"
    newest = "newest"
    ok_first = "ok-first"


class ExportFormat(enum.StrEnum):
    csv = "csv"
    parquet = "parquet"
    latex = "latex"
    survey = "survey"


@app.command("validate")
def validate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of records (.jsonl), or folders of them.", show_default=str(PUBLISHED)),
    ] = None,
    git: Annotated[
        bool, typer.Option("--git", help="Also say which rows' code has changed since their commit.")
    ] = False,
    decode: Annotated[
        bool,
        typer.Option(
            "--decode",
            help="Also measure the PSNR of the encoded files beside the records again, where their originals are here.",
        ),
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="List every problem, not the first ten of a kind.")] = False,
) -> None:
    """Checks records: schema, hashes, plausibility, duplicates, older code. Exit code 1 if any is wrong.

    Example: splatbench results validate results/published/sample.jsonl
    """
    from splatbench.results.check import check
    from splatbench.results.findings import SHOWN, listing

    checked = check(paths or [PUBLISHED], git=git, decode=decode)
    for line in listing(checked.problems, shown=None if everything else SHOWN):
        typer.echo(line)
    encoded = f" and {checked.encoded} encoded files" if checked.encoded else ""
    if checked.measured_again is not None:
        encoded += f" (PSNR of {checked.measured_again} measured again)"
    looked_at = f"{checked.records} records in {len(checked.files)} files{encoded}"
    typer.echo(f"{looked_at}: {checked.errors} errors, {checked.warnings} warnings")
    if checked.errors:
        raise typer.Exit(1)


@app.command("merge")
def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Files of records (.jsonl), or folders of them; with --folders results of one experiment, "
            "e.g. results/sample.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write (.jsonl), or folder.", show_default=False)
    ],
    on_conflict: Annotated[
        OnConflict,
        typer.Option(
            help="What stays of results of the same thing with other content: none (fail), what was measured "
            "last (newest), or a success before a failure, then the newest (ok-first)."
        ),
    ] = OnConflict.fail,
    folders: Annotated[
        bool, typer.Option("--folders", help="Merge whole results: what one machine finished is not done again.")
    ] = False,
) -> None:
    """Makes one file of several, or one experiment's results of several machines; the order does not matter.

    Examples: splatbench results merge laptop.jsonl server.jsonl -o all.jsonl --on-conflict ok-first

    splatbench results merge --folders laptop/sample server/sample -o results/sample
    """
    _require_folder(output)
    if folders:
        _merge_folders(sources, output, on_conflict)
    else:
        _merge_files(sources, output, on_conflict)


def _merge_files(files: Sequence[Path], output: Path, rule: OnConflict) -> None:
    from splatbench.results.merge import merge as merge_files

    merged = merge_files(files, output, rule.value)
    _list("conflict", merged.conflicts)
    _list("warning", merged.warnings)
    yielded = f"; {merged.yielded} rows that were never run yielded to others" if merged.yielded else ""
    typer.echo(
        f"{output}: {merged.written} records of {merged.read} in {merged.files} files; {merged.equal} stood there "
        f"more than once, {len(merged.conflicts)} conflicts settled by {rule.value}{yielded}"
    )


def _merge_folders(sources: Sequence[Path], output: Path, rule: OnConflict) -> None:
    from splatbench.results.folders import merge_folders

    merged = merge_folders(sources, output, rule.value)
    _list("conflict", merged.conflicts)
    _list("left out", merged.damaged)
    _list("warning", merged.warnings)
    repeated = f" ({merged.repeated} measured twice, with the same files)" if merged.repeated else ""
    typer.echo(
        f"{output}: {merged.copied} encodings came, {merged.kept} were there{repeated}; "
        f"{merged.evaluated} evaluations came; "
        f"{len(merged.damaged)} damaged results left out, {len(merged.conflicts)} conflicts settled by {rule.value}"
    )
    typer.echo("Run the experiment there: what is finished is checked and kept, the rest is made, tables are written.")


def _list(kind: str, lines: Sequence[object]) -> None:
    from splatbench.results.findings import SHOWN

    for line in lines[:SHOWN]:
        typer.echo(f"{kind}: {line}")
    if len(lines) > SHOWN:
        typer.echo(f"{kind}: ... and {len(lines) - SHOWN} more")


@app.command("export")
def export(
    paths: Sources,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; for survey a folder.", show_default=False)
    ],
    format: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            "-f",
            help="csv, parquet: a row per record; latex: the tables; survey: a folder as "
            "the 3dgs-compression-survey collects results.",
            show_default=False,
        ),
    ],
    submethod: Annotated[
        list[str] | None,
        typer.Option(
            "--submethod",
            help="survey: ENTRY@BUDGET=NAME, a variant that its table names; at most two for a "
            "method. NAME is Baseline, or begins with - or a space.",
        ),
    ] = None,
) -> None:
    """Writes records for other programs.

    Examples: splatbench results export results/published -f parquet -o records.parquet

    splatbench results export results/published/kodak_gaussianimage.jsonl -f survey -o survey
    --submethod cholesky_corrected@n28000-i800=Baseline
    """
    from splatbench.results.reading import read_all

    if submethod and format is not ExportFormat.survey:
        raise typer.BadParameter("--submethod belongs to --format survey")
    _require_folder(output)
    records = read_all(paths)
    typer.echo(f"{output}: {_export(records, format, output, submethod or ())}")


def _require_folder(output: Path) -> None:
    """A mistyped folder is not made."""
    if not output.parent.is_dir():
        raise typer.BadParameter(f"--output {output}: there is no folder {output.parent}; make it first")


def _export(records: Sequence[Record], format: ExportFormat, output: Path, submethods: Sequence[str]) -> str:
    """Writes them; returns what was written, in words."""
    if format is ExportFormat.survey:
        return _export_survey(records, output, submethods)
    from splatbench.results import export as formats

    write = {"csv": formats.write_csv, "parquet": formats.write_parquet, "latex": formats.write_latex}[format.value]
    write(records, output)
    return f"{len(records)} records"


def _export_survey(records: Sequence[Record], output: Path, submethods: Sequence[str]) -> str:
    from splatbench.results.survey import Submethod, write_survey

    written = write_survey(records, output, [Submethod.parse(text) for text in submethods])
    text = f"{written.rows} results in {len(written.files)} files"
    if written.left_out:
        text += f"; {written.left_out} controls, failures and snapshots left out"
    if written.without_lpips:
        text += f"; {written.without_lpips} LPIPS cells are empty: the survey wants lpips_vgg, which was not measured"
    return text

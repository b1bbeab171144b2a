"""`splatbench report`: the page of an experiment, and tables of any records."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Tables and the page of what was measured.", no_args_is_help=True)


class TableFormat(enum.StrEnum):
    md = "md"
    csv = "csv"
    latex = "latex"


@app.command("build")
def build(
    experiment: Annotated[Path, typer.Option("--experiment", "-e", help="Experiment file, e.g. config/sample.yaml.")],
    results: Annotated[Path, typer.Option("--results", help="Folder of all experiments' results.")] = Path("results"),
    out: Annotated[
        Path | None, typer.Option("--out", help="The page's folder.", show_default="reports/NAME of the experiment")
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option("--records", help="Records to show.", show_default="records.jsonl of the experiment"),
    ] = None,
    log: Annotated[Path | None, typer.Option("--log", help="File that lines and tracebacks are appended to.")] = None,
) -> None:
    """Writes page, tables, figures and pictures of an experiment that has run.

    Example: splatbench report build -e config/sample.yaml
    """
    from splatbench.runner.progress import Reporter

    reporter = Reporter("report", log)
    try:
        _build(experiment, results, out, records, reporter.line)
    except Exception as error:
        import traceback

        reporter.log("".join(traceback.format_exception(error)))
        raise
    finally:
        reporter.close()


def _build(experiment: Path, results: Path, out: Path | None, records: Path | None, say: object) -> None:
    from splatbench.record import read_records
    from splatbench.report.build import build as build_report
    from splatbench.report.settings import ReportSettings
    from splatbench.runner.plan import Plan

    assert callable(say)
    plan = Plan.load(experiment, results)
    path = records or plan.records
    if not path.is_file():
        raise ValueError(
            f"{path} is not there; run the experiment first (snakemake --cores all --configfile {experiment})"
        )
    built = build_report(
        list(read_records(path)),
        ReportSettings.model_validate(plan.experiment.report),
        out or Path("reports") / plan.experiment.name,
        title=plan.experiment.title,
        results=plan.root,
        datasets=plan.datasets,
    )
    for warning in built.warnings:
        say(f"picture left out: {warning}")
    say(f"{built.page.resolve()}: {len(built.files)} files")


@app.command("tables")
def tables(
    records: Annotated[
        Path, typer.Argument(help="Records of an experiment: a .jsonl file.", exists=True, dir_okay=False)
    ],
    format: Annotated[TableFormat, typer.Option("--format", "-f", help="Markdown, CSV or LaTeX.")] = TableFormat.md,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", "-r", help="Paper's table to compare with (default: those that fit the records)."),
    ] = None,
) -> None:
    """Prints the tables of any records, without running anything.

    Example: splatbench report tables results/published/sample.jsonl --format latex > tables.tex
    """
    from splatbench.record import read_records
    from splatbench.report.build import tables_text
    from splatbench.report.reference import load_reference
    from splatbench.report.settings import ReportSettings, TableSettings

    wanted = None if reference is None else [TableSettings(reference=load_reference(name).name) for name in reference]
    settings = ReportSettings(tables=wanted)
    typer.echo(tables_text(list(read_records(records)), settings, format.value), nl=False)

"""The command line. Importing it is cheap: commands import what they need when they run.

Exit codes: 0 done, 1 failed (one sentence says why), 2 wrong usage.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from splatbench.cli import (
    containers,
    contract,
    data,
    decode,
    doctor,
    fit,
    importing,
    labels,
    leaderboard,
    methods,
    report,
    results,
    run,
    stages,
    train,
    view,
    weights,
)

HELP = """Benchmark images made of 2D Gaussians.

A whole table:  [bold]snakemake --cores all --configfile config/sample.yaml[/bold]\n
One image:      [bold]splatbench run photo.png --method gaussianimage --gaussians 10000[/bold]\n
What is here:   [bold]splatbench doctor[/bold]

Exit codes: 0 done, 1 failed (one sentence says why), 2 wrong usage."""

app = typer.Typer(
    name="splatbench",
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("fit", rich_help_panel="One image")(fit.fit)
app.command("decode", rich_help_panel="One image")(decode.decode)
app.command("view", rich_help_panel="One image")(view.view)
app.command("evaluate", rich_help_panel="One image")(fit.evaluate)
app.command("run", rich_help_panel="One image")(run.run)
app.command("import", rich_help_panel="One image")(importing.import_result)
app.command("export", rich_help_panel="One image")(importing.export_result)
app.command("fetch-dataset", rich_help_panel="Stages of an experiment (Snakemake calls these)")(stages.fetch_dataset)
app.command("encode-shard", rich_help_panel="Stages of an experiment (Snakemake calls these)")(stages.encode_shard)
app.command("evaluate-shard", rich_help_panel="Stages of an experiment (Snakemake calls these)")(stages.evaluate_shard)
app.command("collect", rich_help_panel="Stages of an experiment (Snakemake calls these)")(stages.collect)
app.add_typer(report.app, name="report", rich_help_panel="Stages of an experiment (Snakemake calls these)")
app.add_typer(results.app, name="results", rich_help_panel="Published records")
app.add_typer(leaderboard.app, name="leaderboard", rich_help_panel="Published records")
app.command("train", rich_help_panel="Training")(train.train)
app.command("labels", rich_help_panel="Training")(labels.labels)
app.command("methods", rich_help_panel="What there is")(methods.methods)
app.add_typer(data.app, name="data", rich_help_panel="What there is")
app.add_typer(weights.app, name="weights", rich_help_panel="What there is")
app.command("contract-run", hidden=True)(contract.contract_run)
app.add_typer(containers.app, name="containers", rich_help_panel="What there is")
app.command("doctor", rich_help_panel="What there is")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("splatbench"))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Read before any command; `main` looks at --debug itself."""


def main() -> None:
    """Entry point: runs a command and turns exceptions into one sentence and an exit code."""
    # Read when torch is first imported: threads that wait busily stall everything as soon as the machine is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted; what is finished stays, the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv[1:]:
            raise
        from splatbench.cli.errors import sentence

        print(f"splatbench: {sentence(error)}", file=sys.stderr)
        sys.exit(1)

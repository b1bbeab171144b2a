"""`splatbench contract-run`: what an image of this project runs to keep the file contract."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def contract_run() -> None:
    """Encodes the job in /splatbench/in with one of this project's methods; docs/container-contract.md.

    Settings of the job: {method: gaussianimage, config: {...}}. SPLATBENCH_IN and SPLATBENCH_OUT name other folders.
    """
    from splatbench.containers import contract
    from splatbench.runner.serve import serve

    source = Path(os.environ.get(contract.INPUT_VARIABLE, contract.INPUT))
    target = Path(os.environ.get(contract.OUTPUT_VARIABLE, contract.OUTPUT))
    raise typer.Exit(serve(source, target))

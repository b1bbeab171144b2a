"""`splatbench doctor`: what is installed, which devices, data sets and weights are here."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    imports: Annotated[bool, typer.Option("--imports/--no-imports", help="Also try to import the packages.")] = True,
    check: Annotated[
        bool, typer.Option("--check", help="Only whether the software works: exit code 1 and sentences if not.")
    ] = False,
) -> None:
    """Says what is installed and what is missing, and how to get it.

    Example: splatbench doctor --json
    """
    if check:
        from splatbench.cli.health import broken

        faults = broken()
        for fault in faults:
            typer.echo(f"splatbench: {fault}", err=True)
        if faults:
            raise typer.Exit(1)
        typer.echo("the software works: packages, methods and a rendered picture")
        return
    facts = {
        "software": _software(imports),
        "devices": _devices(),
        "folders": _folders(),
        "data_sets": _data_sets(),
        "weights": _weights(),
        "methods": _methods(),
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2, default=str))
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    for heading, rows in facts.items():
        console.print(f"[bold]{heading.replace('_', ' ')}[/bold]")
        for name, value in rows.items():
            console.print(f"  {escape(name):24} {escape(str(value))}")


def _software(imports: bool) -> dict[str, Any]:
    import importlib
    from importlib import metadata

    from splatbench.provenance import provenance

    made = provenance()
    rows: dict[str, Any] = {"splatbench": made.version}
    if made.commit:
        rows["commit"] = made.commit[:10] + (" with uncommitted changes" if made.dirty else "")
    rows |= made.versions
    modules = {"torch": "torch", "numba": "numba", "constriction": "constriction", "lpips": "lpips"}
    for package, module in modules.items() if imports else ():
        try:
            importlib.import_module(module)
        except Exception as error:
            rows[package] = f"cannot be imported: {type(error).__name__}: {error}"
    for extra in ("pyiqa",):
        try:
            rows[extra] = metadata.version(extra)
        except metadata.PackageNotFoundError:
            rows[extra] = "not installed (optional: pip install 'splatbench[iqa]')"
    return rows


def _devices() -> dict[str, Any]:
    from splatbench.devices import gpu_slots, lock_folder
    from splatbench.provenance import provenance, usable_cores

    slots = gpu_slots()
    rows: dict[str, Any] = {"cpu": provenance().cpu, "cores": usable_cores()}
    rows["threads"] = os.environ.get("SPLATBENCH_THREADS", f"{usable_cores()} (SPLATBENCH_THREADS is not set)")
    rows["gpus"] = ", ".join(slots) if slots else "none"
    if slots:
        import torch

        usable = torch.cuda.is_available()
        rows["cuda"] = f"torch {torch.__version__} {'can' if usable else 'CANNOT'} use it"
        rows["gpu leases"] = lock_folder()
    return rows


def _folders() -> dict[str, Any]:
    from splatbench.datasets import cache_folder, data_roots
    from splatbench.method import method_folders

    return {
        "cache": cache_folder(),
        "data": ", ".join(map(str, data_roots())),
        "methods": ", ".join(map(str, method_folders())),
    }


def _data_sets() -> dict[str, str]:
    from splatbench.datasets import available_datasets, get_dataset
    from splatbench.runner.fetch import missing_images

    rows = {}
    for name in available_datasets():
        dataset = get_dataset(name)
        total = len(dataset.images)
        missing = len(missing_images(dataset, [image.name for image in dataset.images]))
        state = "complete" if not missing else f"{missing} missing: splatbench data fetch {name}"
        rows[name] = f"{total - missing} of {total} images, {state}"
    return rows


def _weights() -> dict[str, str]:
    from splatbench.metrics.weights import find, manifest

    rows = {}
    for name in manifest():
        found = find(name)
        rows[name] = str(found[0]) if found else f"missing: splatbench weights fetch {name}"
    return rows


def _methods() -> dict[str, str]:
    from splatbench.method import available, get_method

    rows = {}
    for name in available():
        try:
            rows[name] = get_method(name).title
        except Exception as error:
            rows[name] = f"cannot be loaded: {type(error).__name__}: {error}"
    return rows

"""`splatbench data`: the pictures that benchmarks need."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from splatbench.cli.synthetic import synthetic

if TYPE_CHECKING:
    from splatbench.datasets import Dataset
    from splatbench.datasets.fetch import Fetched

app = typer.Typer(
    help="Data sets: what is here, and how to get the rest.\n\n"
    "Pictures are looked for in the folders named by SPLATBENCH_DATA (separated like PATH, two levels deep), then in "
    "the cache folder (SPLATBENCH_CACHE). Exit codes: 0 all right, 1 something is missing or wrong, 2 wrong usage.",
    no_args_is_help=True,
)

app.command("synthetic", epilog="Example: splatbench data synthetic -o test.png --size 768x512 --seed 3")(synthetic)

_BAD = ("missing", "wrong")
_Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Data sets, or folders of your own pictures.")]
_Images = Annotated[str | None, typer.Option("--images", metavar="A,B", help="Only these pictures of each data set.")]
_Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command("list", epilog="Example: splatbench data list --json")
def list_datasets(as_json: _Json = False) -> None:
    """Shows all data sets: how many pictures are here, and where (by name and size; `verify` compares contents)."""
    from splatbench.datasets import available_datasets, data_roots

    rows = [_row(_dataset(name)) for name in available_datasets()]
    roots = data_roots()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        where = ", ".join(row["folders"]) or f"missing: splatbench data fetch {row['name']}"
        typer.echo(f"{row['name']:16} {row['present']:4d} of {row['images']:<4d} {where}")
    typer.echo("Looked in: " + ", ".join(str(root) for root in roots))
    for root in roots[:-1]:
        if not root.is_dir():
            typer.echo(f"SPLATBENCH_DATA names {root}, which is not a folder", err=True)


@app.command(
    epilog="Examples: splatbench data fetch kodak · splatbench data fetch div8k --images 0138,0001 · "
    "SPLATBENCH_CACHE=/big/disk splatbench data fetch div2k_valid_hr"
)
def fetch(
    names: _Names,
    images: _Images = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=32, help="Downloads at once.")] = 4,
    as_json: _Json = False,
) -> None:
    """Downloads pictures that are not here (resumes, retries, verifies); keeps what is there already."""
    from splatbench.datasets.display import download_display
    from splatbench.datasets.fetch import fetch_dataset

    report: dict[str, list[Fetched]] = {}
    for dataset in [_dataset(name) for name in names]:
        with download_display(enabled=not as_json) as display:
            report[dataset.name] = fetch_dataset(dataset, _chosen(dataset, images), jobs, display)
        if not as_json:
            _say_fetched(dataset, report[dataset.name])
    if as_json:
        rows = {name: [vars(result) for result in results] for name, results in report.items()}
        typer.echo(json.dumps(rows, indent=2, default=str))
    if any(result.status == "failed" for results in report.values() for result in results):
        raise typer.Exit(1)


@app.command(epilog="Example: SPLATBENCH_DATA=/data splatbench data verify kodak")
def verify(names: _Names, images: _Images = None, as_json: _Json = False) -> None:
    """Compares pictures with their published hashes (file, else pixels); where none is published, with their sizes."""
    report: dict[str, list[dict[str, Any]]] = {}
    for dataset in [_dataset(name) for name in names]:
        report[dataset.name] = [_check(dataset, image) for image in _chosen(dataset, images)]
        if not as_json:
            _say_verified(dataset, report[dataset.name])
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    if any(row["status"] in _BAD for rows in report.values() for row in rows):
        raise typer.Exit(1)


@app.command(epilog="Examples: splatbench data path kodak kodim07 · splatbench data path kodak --json")
def path(
    name: Annotated[str, typer.Argument(help="A data set, or a folder.")],
    image: Annotated[str | None, typer.Argument(help="A picture; its ending may be left out.")] = None,
    as_json: _Json = False,
) -> None:
    """Prints a picture's verified file; without IMAGE the folders that hold the data set, or the one to put it in."""
    from splatbench.datasets import DataMissing, DatasetError

    dataset = _dataset(name)
    names = _chosen(dataset, image)
    files = {}
    for entry in names:
        try:
            files[entry] = str(dataset.path(entry))
        except (DatasetError, DataMissing) as error:
            if image is not None:
                _fail(error, 1)
    if as_json:
        typer.echo(json.dumps(files, indent=2))
    elif image is not None:
        typer.echo(files[names[0]])
    else:
        folders = sorted({str(Path(file).parent) for file in files.values()})
        typer.echo("\n".join(folders or [str(dataset.home)]))
    if len(files) < len(names):
        _fail(dataset.explain([entry for entry in names if entry not in files]), 1)


def _dataset(name: str) -> Dataset:
    from splatbench.datasets import DatasetError, get_dataset

    try:
        return get_dataset(name)
    except DatasetError as error:
        _fail(error, 2)


def _chosen(dataset: Dataset, images: str | None) -> list[str]:
    """Full names of the pictures in a list separated by commas; all without one."""
    from splatbench.datasets import DatasetError

    if images is None:
        return [entry.name for entry in dataset.images]
    try:
        return [dataset.entry(image.strip()).name for image in images.split(",") if image.strip()]
    except DatasetError as error:
        _fail(error, 2)


def _fail(message: object, code: int) -> NoReturn:
    typer.echo(str(message), err=True)
    raise typer.Exit(code)


def _row(dataset: Dataset) -> dict[str, Any]:
    found = [path for entry in dataset.images if (path := dataset.glance(entry.name))]
    return {
        "name": dataset.name,
        "title": dataset.title,
        "licence": dataset.licence,
        "homepage": dataset.homepage,
        "images": len(dataset.images),
        "present": len(found),
        "folders": sorted({str(path.parent) for path in found}),
        "notes": list(dataset.notes),
    }


def _check(dataset: Dataset, image: str) -> dict[str, Any]:
    from splatbench.datasets import FolderDataset, ImageError, load_image

    located, refused = dataset.find(image)
    row: dict[str, Any] = {"image": image, "status": "wrong" if refused else "missing", "path": None, "notes": []}
    row["refused"] = [{"path": str(r.path), "reason": r.reason} for r in refused]
    if located is None:
        return row
    row |= {"path": str(located.path), "notes": list(located.notes)}
    row["status"] = "verified" if located.verified else "unverified"
    if isinstance(dataset, FolderDataset):  # no hashes to compare with: whether it can be read is what can be checked
        try:
            row["notes"] += [f"{image}: {note}" for note in load_image(located.path).notes]
        except ImageError as error:
            row |= {"status": "wrong", "notes": [str(error)]}
    return row


def _say_verified(dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    counts = Counter(row["status"] for row in rows)
    parts = [f"{counts[status]} {status}" for status in ("verified", "unverified", *_BAD) if counts[status]]
    typer.echo(f"{dataset.name}: {len(rows)} images: {', '.join(parts)}")
    for note in [*dataset.notes, *(note for row in rows for note in row["notes"])]:
        typer.echo(f"  {note}")
    for row in rows:
        for refused in row["refused"]:
            typer.echo(f"  refused {refused['path']}: {refused['reason']}", err=True)
    if missing := [row["image"] for row in rows if row["path"] is None]:
        typer.echo(dataset.explain(missing), err=True)


def _say_fetched(dataset: Dataset, results: list[Fetched]) -> None:
    counts = Counter(result.status for result in results)
    parts = [f"{counts[status]} {status}" for status in ("present", "fetched", "failed") if counts[status]]
    typer.echo(f"{dataset.name}: {len(results)} images: {', '.join(parts)}")
    for message in dict.fromkeys(r.message for r in results if r.message and r.status != "failed"):
        typer.echo(f"  {message}")
    failed = [result for result in results if result.status == "failed"]
    for message in dict.fromkeys(result.message for result in failed if result.message):
        typer.echo(textwrap.indent(message, "  "), err=True)
    if failed:
        typer.echo(dataset.explain([result.image for result in failed]), err=True)

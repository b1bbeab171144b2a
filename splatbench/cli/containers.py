"""`splatbench containers`: the suite's own images, and what runs containers here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from splatbench.containers.suite import SuiteImage
    from splatbench.containers.task import Mount

app = typer.Typer(help="The suite's own images, and what runs containers here.", no_args_is_help=True)


class Kind(StrEnum):
    """Our images: one per environment."""

    cpu = "cpu"
    gpu = "gpu"
    report = "report"


class Engine(StrEnum):
    """What runs images."""

    docker = "docker"
    apptainer = "apptainer"


_Engine = Annotated[Engine, typer.Option("--engine", help="What runs the image.")]


@app.command("build", epilog="Example: splatbench containers build cpu")
def build(
    kind: Annotated[Kind, typer.Argument(help="Which image.")] = Kind.cpu,
    engine: Annotated[Engine, typer.Option("--engine", help="apptainer: also writes splatbench-KIND.sif here.")] = (
        Engine.docker
    ),
    base: Annotated[
        str | None, typer.Option("--base", help="Another base image (Debian 12) than the pinned one.")
    ] = None,
    ca_bundle: Annotated[
        Path | None,
        typer.Option("--ca-bundle", exists=True, dir_okay=False, help="Certificates that the network needs (PEM)."),
    ] = None,
    network: Annotated[str | None, typer.Option("--network", help="Network of the build, e.g. host.")] = None,
    arguments: Annotated[
        list[str] | None, typer.Option("--build-arg", help="NAME=VALUE, e.g. PIP_INDEX_URL=...; repeatable.")
    ] = None,
) -> None:
    """Builds an image of the suite from this checkout: minutes and 7 GB at first, less when only our code changed."""
    from splatbench.containers import sif, suite
    from splatbench.provenance import source_state

    commit, dirty = source_state()
    built = suite.build(
        kind.value,
        base=base,
        ca_bundle=ca_bundle,
        network=network,
        arguments=_pairs(arguments or []),
        revision=f"{commit or ''}{'-dirty' if dirty else ''}",
        log=lambda text: typer.echo(text, nl=False),
    )
    typer.echo(f"{built.name}: {built.digest}, {built.size / 1e9:.2f} GB")
    if engine is Engine.apptainer:
        path = Path(f"{built.name}.sif")
        sif.convert(built.name, path)
        typer.echo(f"{path}: {sif.digest(path)}, {path.stat().st_size / 1e9:.2f} GB")


@app.command("list", epilog="Example: splatbench containers list --json")
def list_images(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """Shows the suite's images: which are here, of which code, and whether today's recipe would make them otherwise."""
    from dataclasses import asdict

    from splatbench.containers.suite import suite_images

    images = suite_images()
    if as_json:
        typer.echo(json.dumps([asdict(image) for image in images], indent=2))
        return
    for image in images:
        typer.echo(_line(image))


def _line(image: SuiteImage) -> str:
    if image.digest is None:
        return f"{image.name:18} not here: splatbench containers build {image.name.removeprefix('splatbench-')}"
    code = (
        f"code of {image.revision[:10]}{'-dirty' if image.revision.endswith('-dirty') else ''}"
        if image.revision
        else ""
    )
    state = "current recipe" if image.current else "STALE: built from another recipe, build it again"
    return f"{image.name:18} {image.digest[7:19]}  {image.size / 1e9:.2f} GB  {image.created}  {state}  {code}".rstrip()


@app.command(
    "run", epilog="Example: splatbench containers run -- run photo.png --method gaussianimage --gaussians 10000"
)
def run(
    arguments: Annotated[list[str], typer.Argument(metavar="ARGS...", help="Arguments of `splatbench`, after --.")],
    image: Annotated[
        str, typer.Option("--image", help="cpu, gpu, report, a reference, or the path of a .sif file.")
    ] = "cpu",
    engine: _Engine = Engine.docker,
    gpus: Annotated[int, typer.Option("--gpus", min=0, max=1, help="1: one leased GPU.")] = 0,
    network: Annotated[
        str, typer.Option("--network", help="none; default: the engine's own; host; or a network's name.")
    ] = "none",
    mounts: Annotated[
        list[str] | None,
        typer.Option("--mount", help="PATH or PATH:TARGET that the inside may read; repeatable."),
    ] = None,
) -> None:
    """Runs `splatbench` in an image: this folder is writable, data and weights are readable, there is no network.

    What it writes belongs to you. Rows say in which image they were made.
    """
    from splatbench.containers.suite_run import SuiteRun, run_in_apptainer, run_in_docker
    from splatbench.datasets.facts import cache_folder
    from splatbench.devices import DeviceMissing, gpu_slots, lease_gpu

    slots = gpu_slots() if gpus else []
    if gpus and not slots:
        raise DeviceMissing(
            "no CUDA device: nvidia-smi lists none and CUDA_VISIBLE_DEVICES names none; leave --gpus out"
        )
    wanted = SuiteRun(
        image=_reference(image, engine),
        arguments=tuple(arguments),
        folder=Path.cwd(),
        cache=cache_folder().absolute(),
        mounts=tuple(map(_mount, mounts or [])),
        gpu=",".join(slots) or None,
        network=network,
    )
    if engine is Engine.apptainer:
        run_in_apptainer(wanted)
    if not slots:
        raise typer.Exit(run_in_docker(wanted))
    from dataclasses import replace

    with lease_gpu(slots, on_wait=lambda: print("waiting for a free GPU ...", file=sys.stderr)) as slot:
        raise typer.Exit(run_in_docker(replace(wanted, gpu=slot)))


@app.command("doctor", epilog="Example: splatbench containers doctor --json")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """Says which engines are here, whether a container starts, and which limits and devices it can be given."""
    from splatbench.containers.doctor import engine_facts

    facts = engine_facts()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for engine, rows in facts.items():
        typer.echo(engine)
        for name, value in rows.items():
            typer.echo(f"  {name:20} {value}")


def _reference(image: str, engine: Engine) -> str:
    if image in list(Kind):
        return f"splatbench-{image}" + (".sif" if engine is Engine.apptainer else "")
    return image


def _mount(text: str) -> Mount:
    from splatbench.containers.task import Mount

    source, _, target = text.partition(":")
    path = Path(source).expanduser().absolute()
    if target and not Path(target).is_absolute():
        raise typer.BadParameter(f"--mount {text}: the target must be an absolute path")
    if not path.exists():
        raise typer.BadParameter(f"--mount {text}: {path} is not there")
    return Mount(path, target or str(path))


def _pairs(texts: list[str]) -> Mapping[str, str]:
    """NAME=VALUE, as a mapping; NAME alone takes the value that the environment has, as docker does."""
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator and name not in os.environ:
            raise typer.BadParameter(f"--build-arg {text}: expected NAME=VALUE")
        pairs[name] = value if separator else os.environ[name]
    return pairs

"""`splatbench import | export`: between files of named arrays and .s2d files."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from splatbench.cli.options import (
    DEFAULT_METRICS,
    AsJson,
    Bpp,
    CompressionRatio,
    GaussianCount,
    Metrics,
    Seed,
    make_budget,
)


class Author(enum.StrEnum):
    official = "official"
    external = "external"


def import_result(
    file: Annotated[Path, typer.Argument(help="Named arrays (.npz, .safetensors) or a .s2d.", show_default=False)],
    image: Annotated[Path, typer.Option("--image", help="The picture that it is of.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.s2d).", show_default=False)],
    metrics: Metrics = DEFAULT_METRICS,
    record: Annotated[
        Path | None, typer.Option("--record", help="File of records (.jsonl) to add the measurement to.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What made it, for tables.", show_default="as the file says")
    ] = None,
    implementation: Annotated[
        Author, typer.Option("--implementation", help="official: the paper's authors wrote the code.")
    ] = Author.external,
    experiment: Annotated[str, typer.Option("--experiment", help="Record: experiment that it is filed under.")] = (
        "imported"
    ),
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Record: data set of the picture.", show_default="its folder")
    ] = None,
    gaussians: GaussianCount = None,
    compression_ratio: CompressionRatio = None,
    bpp: Bpp = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Takes Gaussians that other code made: checks them, writes a .s2d, decodes it in another process, measures it.

    A budget says what the code was asked for; without one the record says that the method chose.

    Examples: splatbench import kodim01.npz --image kodim01.png -o kodim01.s2d

    splatbench import kodim01.npz --image kodak/kodim01.png -o kodim01.s2d --record mine.jsonl --gaussians 10000
    """
    from splatbench.cli.fit import evaluate_elsewhere, print_evaluation
    from splatbench.datasets import load_image
    from splatbench.metrics import bits_per_pixel, get_metric
    from splatbench.runner import imported

    if output.suffix != ".s2d":
        raise typer.BadParameter(f"--output {output}: the name must end in .s2d")
    if output.is_dir():
        raise typer.BadParameter(f"--output {output} is a folder")
    if output.resolve() in (file.resolve(), image.resolve()):
        raise typer.BadParameter(f"--output {output} is what is read; name another file")
    if record is not None and record.suffix != ".jsonl":
        raise typer.BadParameter(f"--record {record}: the name must end in .jsonl")
    native = gaussians is compression_ratio is bpp is None
    budget = make_budget(gaussians, compression_ratio, bpp, None, None, native, None, None)
    for metric in filter(None, map(str.strip, metrics.split(","))):
        get_metric(metric)  # an unknown one is said before anything is written
    picture = load_image(image)
    title = name if name is not None else imported.name_of(file)
    encoded = imported.encode(file, picture, budget, title)
    with _beside(output, encoded.files[-1].data) as temporary:
        facts = evaluate_elsewhere(temporary, image, metrics)
        bits = encoded.files[-1].nominal_bits
        facts |= {
            "file": str(output),
            "implementation": implementation.value,
            "name": title,
            "nominal_bpp": None if bits is None else bits_per_pixel(bits, *picture.pixels.shape[:2]),
            "encode_seconds": None,
            "notes": encoded.notes,
        }
        if record is not None:
            origin = imported.Origin(
                name=title,
                implementation=implementation.value,
                experiment=experiment,
                dataset=dataset if dataset is not None else image.resolve().parent.name,
                image=image.stem,
                entry=imported.entry_of(title),
            )
            made = imported.record_of(encoded, facts, picture, budget, seed, origin)
            replaced = imported.add_record(record, made)
            facts["record"] = {"file": str(record), "replaced": replaced}
        os.replace(temporary, output)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    print_evaluation(facts)
    for note in encoded.notes:
        typer.echo(f"note: {note}")
    if record is not None:
        typer.echo(f"{record}: the row {'was replaced' if replaced else 'was added'}")


@contextlib.contextmanager
def _beside(output: Path, data: bytes) -> Iterator[Path]:
    """A file beside `output` with what will be in it: it gets its name when it has been measured. Removed at the end if
    it is still there.

    Raises:
        OSError: naming the path.
    """
    from splatbench.files import write_atomic

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.stem}.", dir=output.parent) as folder:
        temporary = Path(folder) / output.name
        write_atomic(temporary, data)
        yield temporary


def export_result(
    file: Annotated[Path, typer.Argument(metavar="FILE.s2d", help="An encoded file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.npz).", show_default=False)],
) -> None:
    """Writes the Gaussians of a file as named arrays, which numpy reads; `splatbench import` takes them back.

    Example: splatbench export photo.s2d -o photo.npz
    """
    from splatbench.codec import decode, peek_method
    from splatbench.exchange import write_npz
    from splatbench.gaussians import Gaussians2D

    if output.suffix != ".npz":
        raise typer.BadParameter(f"--output {output}: the name must end in .npz")
    data = file.read_bytes()
    decoded = decode(data, file.suffix)
    if not isinstance(decoded, Gaussians2D):
        raise ValueError(f"{file}: its picture is not drawn from one set of Gaussians, so there is nothing to export")
    write_npz(output, decoded, method=peek_method(data))
    typer.echo(f"{output}: {len(decoded)} Gaussians")

"""`splatbench fit | evaluate`: one image, one file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splatbench.cli.options import (
    DEFAULT_METRICS,
    AsJson,
    Bpp,
    CompressionRatio,
    Device,
    GaussianCount,
    Image,
    Iterations,
    Method,
    Metrics,
    Native,
    Quality,
    Seconds,
    Seed,
    Settings,
    TargetPsnr,
    make_budget,
    parse_settings,
)

if TYPE_CHECKING:
    from splatbench.budget import Budget
    from splatbench.runner.encoding import Encoded


def fit(
    image: Image,
    method: Method,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write (default: IMAGE.s2d).")] = None,
    gaussians: GaussianCount = None,
    compression_ratio: CompressionRatio = None,
    bpp: Bpp = None,
    quality: Quality = None,
    target_psnr: TargetPsnr = None,
    native: Native = False,
    iterations: Iterations = None,
    seconds: Seconds = None,
    settings: Settings = None,
    seed: Seed = 1,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Fits a picture, or a folder of textures as one, and writes one compressed file.

    Example: splatbench fit photo.png --method gaussianimage --gaussians 10000 -o photo.s2d
    """
    budget = make_budget(gaussians, compression_ratio, bpp, quality, target_psnr, native, iterations, seconds)
    encoded, suffix = fit_image(image, method, budget, settings or [], seed, device, live=sys.stderr.isatty())
    path = output or image.with_suffix(suffix)
    if path.resolve() == image.resolve():
        raise ValueError(f"{path} is the picture itself; name another file with --output")
    write_encoding(path, encoded)
    final = encoded.files[-1]
    facts = {
        "file": str(path),
        "bytes": len(final.data),
        "gaussians": final.n_actual,
        "encode_seconds": final.seconds,
        "stage_seconds": encoded.stage_seconds,
        "to_bytes_seconds": final.to_bytes_seconds,
        "peak_memory_mib": encoded.peak_memory_mib,
        "notes": encoded.notes,
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    count = f"{final.n_actual} Gaussians, " if final.n_actual is not None else ""
    took = f", {final.seconds:.2f} s" if final.seconds is not None else ", made elsewhere"
    typer.echo(f"{path}: {count}{len(final.data)} bytes{took}")
    for note in encoded.notes:
        typer.echo(f"note: {note}")


def evaluate(
    file: Annotated[Path, typer.Argument(metavar="FILE.s2d", help="An encoded file.", show_default=False)],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Its original.", show_default=False)],
    metrics: Metrics = DEFAULT_METRICS,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="What made it, where its bytes alone do not tell the decoder.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Decodes a file and measures it against its original, a picture or a folder of textures.

    Example: splatbench evaluate photo.s2d photo.png --metrics psnr,ms_ssim,lpips_alex --json
    """
    from splatbench.datasets import load_picture
    from splatbench.metrics import bits_per_pixel, get_metric
    from splatbench.runner.scoring import decoder_of, score, warm_up

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    for name in names:
        get_metric(name)
    data, original = file.read_bytes(), load_picture(image).pixels
    decoder = decoder_of(method, parse_settings(settings), file.suffix) if method else None
    if decoder is None:
        score(data, original, [], file.suffix)  # compiles; the decoding time below is that of the second
    warm_up(names)
    result = score(data, original, names, file.suffix, decoder=decoder)
    height, width = original.shape[:2]
    facts: dict[str, Any] = {
        "file": str(file),
        "image": str(image),
        "width": width,
        "height": height,
        "gaussians": result.n_actual,
        "bytes": len(data),
        "bpp": bits_per_pixel(8 * len(data), height, width),
        "metrics": {name: result.values.get(name) for name in names},
        "not_run": result.not_run,
        "decode_seconds": result.decode_seconds,
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        print_evaluation(facts)


def evaluate_elsewhere(file: Path, image: Path, metrics: str, decoder: Sequence[str] = ()) -> dict[str, Any]:
    """What `evaluate` measures, in another process: it has the file and the picture, and nothing of what made them.

    Args:
        decoder: more words of its command line.

    Raises:
        typer.Exit: it failed, and has said why.
    """
    command = [sys.executable, "-m", "splatbench", "evaluate", str(file), str(image), "--metrics", metrics, *decoder]
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise typer.Exit(done.returncode)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def print_evaluation(facts: dict[str, Any]) -> None:
    """A table on the terminal of what `evaluate` measured; also `implementation`, `nominal_bpp` and `encode_seconds`
    where they are there."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from splatbench.metrics import RATES, get_metric

    table = Table(box=None, show_header=False)
    if "implementation" in facts:
        table.add_row("Implementation", facts["implementation"])
    if facts["gaussians"] is not None:
        table.add_row("Gaussians", str(facts["gaussians"]))
    table.add_row("File", f"{facts['bytes']} bytes")
    table.add_row(escape(RATES["bpp"].heading), f"{facts['bpp']:.4f}")
    if facts.get("nominal_bpp") is not None:
        table.add_row(escape(RATES["nominal_bpp"].heading), f"{facts['nominal_bpp']:.4f}")
    for name, value in facts["metrics"].items():
        shown = "not run" if value is None else f"{value:.4f}"
        table.add_row(escape(get_metric(name).heading), shown)
    if "encode_seconds" in facts:
        seconds = facts["encode_seconds"]
        table.add_row(escape("Encode [s]"), "-" if seconds is None else f"{seconds:.3f}")
    table.add_row(escape("Decode [s]"), f"{facts['decode_seconds']:.4f}")
    console = Console(highlight=False)
    console.print(f"{escape(str(facts['image']))}, {facts['width']}x{facts['height']} pixels")
    console.print(table)
    for name, why in facts["not_run"].items():
        console.print(f"{name} was not run: {escape(why)}")


def fit_image(
    image: Path, method_name: str, budget: Budget, settings: list[str], seed: int, device: str, live: bool
) -> tuple[Encoded, str]:
    """The encoding of one picture and the suffix of its file.

    Raises:
        typer.BadParameter: a setting that is not KEY=VALUE, or a budget of a kind that the method cannot meet.
    """
    import contextlib
    from dataclasses import replace
    from typing import cast

    from splatbench.codec import with_groups
    from splatbench.datasets import load_picture
    from splatbench.devices import Choice, choose_device, gpu_slots, lease_gpu
    from splatbench.method import get_method
    from splatbench.runner.encoding import check_budget, encode_image, warm_up
    from splatbench.runner.progress import Reporter

    values = parse_settings(settings)
    kind = get_method(method_name)
    if budget.target not in kind.budgets:
        raise typer.BadParameter(
            f"{method_name} cannot meet a budget of kind {budget.target}; it takes: {', '.join(kind.budgets)}"
        )
    config = kind.make_config(values)
    if device not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"--device {device}: expected auto, cpu or cuda")
    loaded = load_picture(image)
    if (channels := loaded.pixels.shape[2]) not in kind.channels:
        most = f"{kind.channels[0]} to {kind.channels[-1]}" if len(kind.channels) > 1 else f"{kind.channels[0]}"
        raise ValueError(f"{image} has {channels} channels; {method_name} takes pictures of {most} channels")
    check_budget(budget, *loaded.pixels.shape[:2])
    reporter = Reporter("fit", live=live)
    slots = gpu_slots()
    chosen = choose_device(cast(Choice, device), kind.devices_for(device), slots)
    with contextlib.ExitStack() as stack:
        if chosen == "cuda":
            stack.enter_context(lease_gpu(slots, on_wait=lambda: reporter.line("waiting for a free GPU")))
        method = kind(config, chosen)
        if len(loaded.groups) > 1 and method.suffix != ".s2d":
            raise ValueError(f"{image}: a {method.suffix} file holds one picture, not {len(loaded.groups)} textures")
        method.prepare()
        if not method.outside:
            warm_up(method, budget)
        with reporter.steps(image.name) as on_step:
            encoded = encode_image(method, loaded.pixels, budget, seed, on_step=on_step, name=image.stem)
    encoded.notes = [*loaded.notes, *encoded.notes]
    if len(loaded.groups) > 1:
        encoded.files[-1] = replace(encoded.files[-1], data=with_groups(encoded.files[-1].data, loaded.groups))
    return encoded, method.suffix


def write_encoding(path: Path, encoded: Encoded) -> None:
    """Writes the final file, whole or not at all."""
    from splatbench.files import write_atomic

    write_atomic(path, encoded.files[-1].data)

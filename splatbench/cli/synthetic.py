"""`splatbench data synthetic`: a procedural test picture of any size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer


def synthetic(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .png or .ppm file to write.")],
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Width and height in pixels.")] = "768x512",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives another picture.")] = 0,
) -> None:
    """Makes a test picture of any size without a download: the same pixels on every machine.

    A .ppm file is written strip by strip, so a picture of 16320x12288 needs little memory.
    """
    from splatbench.datasets.images import MAX_PIXELS
    from splatbench.datasets.synthetic import write_synthetic

    numbers = re.fullmatch(r"([1-9]\d{0,6})x([1-9]\d{0,6})", size)
    if numbers is None:
        raise typer.BadParameter(f"{size!r} is not a size such as 768x512", param_hint="--size")
    width, height = int(numbers[1]), int(numbers[2])
    if width * height > MAX_PIXELS:
        raise typer.BadParameter(f"{size} is more than {MAX_PIXELS} pixels, the most that is read", param_hint="--size")
    if output.suffix.lower() not in (".png", ".ppm"):
        raise typer.BadParameter(f"{output} must end in .png or .ppm", param_hint="--output")
    write_synthetic(output, height, width, seed)
    typer.echo(f"{output}: {width}x{height}, seed {seed}")

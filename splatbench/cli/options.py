"""Options that several commands share, and the budget that some of them make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from splatbench.budget import Budget

Image = Annotated[
    Path, typer.Argument(help="The picture (PNG, JPEG, TIFF, WebP ...), or a folder of textures.", show_default=False)
]
Method = Annotated[str, typer.Option("--method", "-m", help="Name of a method; see `splatbench methods`.")]
GaussianCount = Annotated[int | None, typer.Option("--gaussians", "-n", min=1, help="Number of Gaussians.")]
CompressionRatio = Annotated[
    float | None, typer.Option("--compression-ratio", "-r", help="CR of N = 3HW / (7 CR) Gaussians.")
]
Bpp = Annotated[float | None, typer.Option("--bpp", "-b", help="Rate of the file in bits per pixel.")]
Quality = Annotated[int | None, typer.Option("--quality", "-q", help="Quality of an image codec, on its own scale.")]
TargetPsnr = Annotated[
    float | None, typer.Option("--target-psnr", help="dB to reach with as few Gaussians as the method can.")
]
Native = Annotated[bool, typer.Option("--native", help="The method chooses (identity, methods that count themselves).")]
Iterations = Annotated[int | None, typer.Option("--iterations", "-i", min=1, help="Fitting steps.")]
Seconds = Annotated[float | None, typer.Option("--seconds", help="Wall-time limit of the fit.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the method's settings; repeatable.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random start.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Metrics = Annotated[
    str, typer.Option("--metrics", help="Comma-separated, e.g. psnr,ms_ssim,lpips_alex.", show_default=True)
]

DEFAULT_METRICS = "psnr,psnr_u8,ssim,ms_ssim"


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """The values of --set KEY=VALUE, each read as YAML.

    Raises:
        typer.BadParameter: one that is not KEY=VALUE, or whose value is not YAML.
    """
    import yaml

    from splatbench import plain_yaml

    values = {}
    for setting in settings or []:
        key, separator, text = setting.partition("=")
        if not separator:
            raise typer.BadParameter(f"--set {setting}: expected KEY=VALUE")
        try:
            values[key] = plain_yaml.parse(text)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"--set {key}: the value is not YAML: {error}") from None
    return values


def make_budget(
    gaussians: int | None,
    compression_ratio: float | None,
    bpp: float | None,
    quality: int | None,
    psnr: float | None,
    native: bool,
    iterations: int | None,
    seconds: float | None,
) -> Budget:
    """Raises typer.BadParameter unless exactly one target was given."""
    from splatbench.budget import Budget

    try:
        return Budget(
            gaussians=gaussians,
            compression_ratio=compression_ratio,
            bpp=bpp,
            quality=quality,
            psnr=psnr,
            native=native,
            iterations=iterations,
            seconds=seconds,
        )
    except ValueError as error:
        hint = "give exactly one of --gaussians, --compression-ratio, --bpp, --quality, --target-psnr, --native"
        raise typer.BadParameter(f"{error}; {hint}") from None

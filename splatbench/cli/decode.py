"""`splatbench decode`: from a file to the picture, or the pictures, that it holds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np


def decode(
    file: Annotated[Path, typer.Argument(metavar="FILE.s2d", help="An encoded file.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="PNG to write (default: FILE.png); the folder of a texture stack's."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", help="Draw the Gaussians at this multiple of the picture's sides.")
    ] = None,
) -> None:
    """Decodes a file to a PNG, or to a folder of them; needs nothing but the file.

    Examples: splatbench decode photo.s2d -o decoded.png

    splatbench decode photo.s2d --scale 2.0 -o large.png
    """
    data = file.read_bytes()
    pixels, groups = _pixels(data, file, scale)
    height, width = pixels.shape[:2]
    stacked = len(groups) > 1
    path = output or (file.with_name(f"{file.stem}-decoded") if stacked else file.with_suffix(".png"))
    if path.resolve() == file.resolve():
        raise ValueError(f"{path} is the encoded file itself; name another with --output")
    if not stacked:
        _write_png(path, pixels)
        typer.echo(f"{path}: {width}x{height} pixels")
        return
    if path.suffix.lower() == ".png":
        raise ValueError(f"{file} holds {len(groups)} textures; name a folder with --output, not {path}")
    path.mkdir(parents=True, exist_ok=True)
    first = 0
    for i, channels in enumerate(groups):
        _write_png(path / f"{i:02d}.png", pixels[..., first : first + channels])
        first += channels
    typer.echo(f"{path}: {len(groups)} textures of {width}x{height} pixels")


def _pixels(data: bytes, file: Path, scale: float | None) -> tuple[np.ndarray, tuple[int, ...]]:
    """uint8 [H, W, C] and the channels of each picture in it."""
    import numpy as np

    from splatbench.codec import channel_groups
    from splatbench.codec import decode as decode_bytes

    decoded = decode_bytes(data, file.suffix)
    if isinstance(decoded, np.ndarray):
        if scale is not None:
            raise ValueError(f"{file} holds pixels, not Gaussians: it has no other size (--scale)")
        return decoded, (decoded.shape[2],)
    from splatbench.gaussians import Gaussians2D
    from splatbench.render import render_u8

    if scale is not None:
        if not isinstance(decoded, Gaussians2D):
            raise ValueError(f"{file} composes its picture of layers, which are made for its size alone (--scale)")
        decoded = decoded.resized(scale)
    pixels = render_u8(decoded)
    return pixels, channel_groups(data, pixels.shape[2])


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """uint8 [H, W, 1 or 3], whole or not at all."""
    from PIL import Image as PillowImage

    from splatbench.files import write_atomic

    if pixels.shape[2] not in (1, 3):
        raise ValueError(f"{path}: a PNG holds 1 or 3 channels, the file has {pixels.shape[2]} and no word of textures")
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())

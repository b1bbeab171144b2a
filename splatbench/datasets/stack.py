"""A folder of textures as one picture of many channels (paper of Image-GS, Sec. 5: texture stacks)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splatbench.datasets.images import SUFFIXES, ImageError, LoadedImage, decoded, load_image, pixels_of


@dataclass(frozen=True)
class Picture(LoadedImage):
    """A picture of any number of channels.

    Attributes:
        pixels: uint8 [H, W, C], C-contiguous.
        groups: channels of each file that it was made of; they add up to C.
    """

    groups: tuple[int, ...] = (3,)


def load_picture(path: Path | str) -> Picture:
    """A picture by `load_image`, or a folder of textures by `load_stack`; raises what they raise."""
    if Path(path).is_dir():
        return load_stack(path)
    loaded = load_image(path)
    return Picture(loaded.pixels, loaded.notes)


def load_stack(folder: Path | str) -> Picture:
    """The pictures directly in a folder, their channels one after the other, sorted by name without regard to case.

    Each is grey (one channel) or RGB (three) with 8 bits per channel; alpha is dropped, not laid over anything, since
    the colours of a texture mean something where it is transparent, too. Files that do not end like pictures and hidden
    ones are left out.

    Raises:
        ImageError: no pictures, one that cannot be read or is of another kind, or pictures of different sizes.
    """
    folder = Path(folder)
    visible = sorted(
        (p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: (p.name.lower(), p.name)
    )
    files = [p for p in visible if p.is_file() and p.suffix.lower() in SUFFIXES]
    if not files:
        raise ImageError(f"{folder}: holds no pictures to stack ({', '.join(sorted(SUFFIXES))})")
    notes = [f"{p.name}: not a picture, left out of the stack" for p in visible if p not in files]
    layers: list[np.ndarray] = []
    for file in files:
        layer, more = _texture(file)
        if layers and layer.shape[:2] != layers[0].shape[:2]:
            (height, width), (first_height, first_width) = layer.shape[:2], layers[0].shape[:2]
            raise ImageError(
                f"{file}: {width}x{height} pixels, but {files[0].name} has {first_width}x{first_height}; "
                "textures of a stack need one size"
            )
        layers.append(layer)
        notes += [f"{file.name}: {note}" for note in more]
    return Picture(np.concatenate(layers, 2), notes, tuple(layer.shape[2] for layer in layers))


def _texture(path: Path) -> tuple[np.ndarray, list[str]]:
    """uint8 [H, W, 1 or 3] of a file, and notes."""
    with decoded(path) as (image, sixteen_bit, notes):
        if sixteen_bit or image.mode not in ("L", "LA", "RGB", "RGBA"):
            kind = "16 bits per channel" if sixteen_bit else f"colour mode {image.mode}"
            raise ImageError(f"{path}: textures are grey or RGB with 8 bits per channel, not {kind}; save it as such")
        if image.mode in ("LA", "RGBA"):
            notes.append("alpha dropped")
        grey = image.mode in ("L", "LA")
        return pixels_of(image.convert("L" if grey else "RGB")), notes

"""Decoded pictures for the page: original, reconstruction and error side by side, made from the encoded files.

Files are decoded again, strip by strip, so that a picture of hundreds of megapixels needs no float copy of itself.
Everything is written losslessly: a lossy copy would add errors that are not the method's.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from splatbench.files import write_atomic
from splatbench.record import Record
from splatbench.report.settings import PictureSettings

if TYPE_CHECKING:
    from splatbench.method import Decoded

#: Absolute errors are shown times this: 64 of 255 is white.
ERROR_GAIN = 4

_ROWS = 256
_OURS = re.compile(r"-[0-9a-f]{8}(-original|-error)?\.webp$")  # file names that this module makes


class ImageSource(Protocol):
    """What is needed of a data set."""

    def path(self, image_name: str) -> Path: ...


@dataclass(frozen=True)
class Shown:
    """One entry's pictures of an image; file names relative to the page."""

    record: Record
    reconstruction: str
    error: str


@dataclass
class Gallery:
    """One image of one data set: its original, what the entries made of it, and what could not be shown.

    `reduced` is the integer factor by which all of its pictures are averaged down (1: every pixel is there).
    """

    dataset: str
    image: str
    original: str = ""
    width: int = 0
    height: int = 0
    reduced: int = 1
    shown: list[Shown] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class PictureProblem(ValueError):
    """A picture that cannot be shown; the text says why."""


def chosen_images(records: Sequence[Record], settings: PictureSettings) -> list[tuple[str, str]]:
    """(data set, image) pairs to show: those named in the settings, else the first few of each data set."""
    if settings.count == 0:
        return []
    pairs = list(dict.fromkeys((record.dataset, record.image) for record in records))
    if settings.images:
        return [pair for pair in pairs if pair[1] in settings.images]
    kept: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        kept.setdefault(pair[0], []).append(pair)
    return [pair for members in kept.values() for pair in members[: settings.count]]


def make_galleries(
    records: Sequence[Record],
    settings: PictureSettings,
    datasets: Mapping[str, ImageSource],
    results: Path,
    out: Path,
) -> list[Gallery]:
    """Decodes and writes the pictures of the chosen images below `out/pictures/`, and removes older ones there.

    Args:
        results: the folder that `Record.file` is relative to.
        out: the page's folder.
    """
    galleries = []
    for dataset, image in chosen_images(records, settings):
        chosen = [
            record
            for record in records
            if (record.dataset, record.image, record.status, record.snapshot) == (dataset, image, "ok", "final")
            and (not settings.entries or record.entry in settings.entries)
        ]
        galleries.append(_gallery(dataset, image, chosen, settings.max_side, datasets, results, out))
    _remove_others(out, galleries)
    return galleries


def _gallery(
    dataset: str,
    image: str,
    records: list[Record],
    max_side: int,
    datasets: Mapping[str, ImageSource],
    results: Path,
    out: Path,
) -> Gallery:
    gallery = Gallery(dataset, image)
    try:
        if dataset not in datasets:
            raise PictureProblem(f"the data set {dataset!r} is not known here")
        original = original_pixels(datasets[dataset].path(image), {r.pixel_sha256 for r in records if r.pixel_sha256})
    except (OSError, RuntimeError, ValueError) as error:
        gallery.problems.append(f"the original of {image} cannot be shown: {error}")
        return gallery
    gallery.height, gallery.width = original.shape[:2]
    gallery.reduced = factor = -(-max(original.shape[:2]) // max_side)
    stem = f"{_safe(dataset)}-{_safe(image)}-{_short(dataset, image)}"
    gallery.original = _write(out, f"{stem}-original", reduce_in_strips(original, factor))
    for record in records:
        name = f"{stem}-{_safe(record.entry)}-{_safe(record.budget_slug)}-{_short(*record.key)}"
        try:
            picture, error_map = compare_pictures(_strips(record, results, factor), original, factor)
        except (OSError, RuntimeError, ValueError) as error:
            gallery.problems.append(f"{record.entry}, {record.budget_slug}: {error}")
            continue
        gallery.shown.append(Shown(record, _write(out, name, picture), _write(out, f"{name}-error", error_map)))
    return gallery


def original_pixels(path: Path, hashes: set[str]) -> np.ndarray:
    """The picture of a file, uint8 [H, W, 3].

    Args:
        hashes: of the pixels that were encoded; empty: not recorded.

    Raises:
        PictureProblem: it has other pixels. OSError, ValueError: it cannot be read.
    """
    from splatbench.datasets import load_image, pixel_sha256

    pixels = load_image(path).pixels
    if hashes and pixel_sha256(pixels) not in hashes:
        raise PictureProblem("its pixels are not those that were encoded; run the experiment again")
    return pixels


def _strips(record: Record, results: Path, factor: int) -> Iterator[tuple[int, np.ndarray]]:
    """Decodes a record's file; see `decoded_strips`."""
    from splatbench.codec import decode

    if record.file is None:
        raise PictureProblem("the record does not name an encoded file")
    path = results / record.file
    if not path.is_file():
        raise PictureProblem(f"{path} is not there; run the experiment again, or build the report where the files are")
    data = path.read_bytes()
    if record.file_sha256 and hashlib.sha256(data).hexdigest() != record.file_sha256:
        raise PictureProblem(f"{path} is not the file that was measured; run the experiment again")
    yield from decoded_strips(decode(data, path.suffix), factor)


def decoded_strips(decoded: Decoded, factor: int) -> Iterator[tuple[int, np.ndarray]]:
    """(row, uint8 [h, W, 3]) of what `codec.decode` gave, with h a multiple of `factor` but for the last."""
    from splatbench.render import iter_strips

    rows = factor * -(-_ROWS // factor)
    if isinstance(decoded, np.ndarray):
        for row in range(0, decoded.shape[0], rows):
            yield row, decoded[row : row + rows]
    else:
        for row, strip in iter_strips(decoded, rows=rows):
            values = strip.numpy() if hasattr(strip, "numpy") else np.asarray(strip)
            yield row, np.floor(np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def compare_pictures(
    strips: Iterator[tuple[int, np.ndarray]], original: np.ndarray, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """(picture, error map), both uint8 [ceil(H / factor), ceil(W / factor), 3], averaged down by `factor`.

    The error is min(255, 4 |picture - original|) per pixel and channel, taken before averaging.

    Raises:
        PictureProblem: the picture's size is not the original's.
    """
    pictures, errors, done = [], [], 0
    for row, strip in strips:
        part = original[row : row + strip.shape[0]]
        if row != done or part.shape != strip.shape:
            raise PictureProblem(f"the decoded picture does not have the original's size {original.shape[:2]}")
        done += strip.shape[0]
        difference = np.abs(strip.astype(np.int16) - part.astype(np.int16)) * ERROR_GAIN
        pictures.append(reduce(strip, factor))
        errors.append(reduce(np.minimum(difference, 255).astype(np.uint8), factor))
    if done != original.shape[0]:
        raise PictureProblem(f"the decoded picture has {done} rows, the original {original.shape[0]}")
    return np.concatenate(pictures), np.concatenate(errors)


def reduce(pixels: np.ndarray, factor: int) -> np.ndarray:
    """uint8 [H, W, 3] averaged over factor x factor blocks; blocks at the border hold what is there."""
    if factor == 1:
        return pixels
    sums = np.add.reduceat(pixels.astype(np.uint32), np.arange(0, pixels.shape[0], factor), axis=0)
    sums = np.add.reduceat(sums, np.arange(0, pixels.shape[1], factor), axis=1)
    heights = np.diff(np.append(np.arange(0, pixels.shape[0], factor), pixels.shape[0]))
    widths = np.diff(np.append(np.arange(0, pixels.shape[1], factor), pixels.shape[1]))
    areas = (heights[:, None] * widths[None, :])[:, :, None]
    return ((2 * sums + areas) // (2 * areas)).astype(np.uint8)


def reduce_in_strips(pixels: np.ndarray, factor: int) -> np.ndarray:
    """As `reduce`, with the memory of a strip beside the result."""
    rows = factor * -(-_ROWS // factor)
    return np.concatenate([reduce(pixels[row : row + rows], factor) for row in range(0, pixels.shape[0], rows)])


def lossless_webp(pixels: np.ndarray) -> bytes:
    """A file that holds the pixels, uint8 [H, W, 3], as they are."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "WEBP", lossless=True, quality=40, method=2)
    return buffer.getvalue()


def _write(out: Path, name: str, pixels: np.ndarray) -> str:
    relative = f"pictures/{name}.webp"
    write_atomic(out / relative, lossless_webp(pixels))
    return relative


def _remove_others(out: Path, galleries: Sequence[Gallery]) -> None:
    """Pictures of earlier reports, which no page shows any more."""
    kept = {gallery.original for gallery in galleries}
    kept |= {name for gallery in galleries for shown in gallery.shown for name in (shown.reconstruction, shown.error)}
    for path in (out / "pictures").glob("*.webp"):
        if _OURS.search(path.name) and f"pictures/{path.name}" not in kept:
            path.unlink()


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:40] or "x"


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]

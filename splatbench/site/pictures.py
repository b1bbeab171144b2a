"""Pictures of the site: which results of an image can be shown, decoded from the files that were measured."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from splatbench.record import Record
from splatbench.report.pictures import (
    PictureProblem,
    decoded_strips,
    lossless_webp,
    original_pixels,
    reduce,
    reduce_in_strips,
)
from splatbench.site.compare import Comparison, Source
from splatbench.site.page import Data, Site
from splatbench.site.rows import SiteRow
from splatbench.site.sources import ORIGINAL, first_shown, group_of, in_order, original_source, source_of

if TYPE_CHECKING:
    from splatbench.method import Decoded

#: Larger pictures are averaged down by an integer factor.
MAX_SIDE = 1600
THUMBNAIL_SIDE = 360
#: Larger encoded files are not carried by pages; their Gaussians cannot be drawn there.
MAX_FILE_BYTES = 2_000_000
#: A picture whose PSNR is further than this from the recorded one is not what was measured (dB).
PSNR_TOLERANCE = 0.05

_SHA256 = re.compile(r"[0-9a-f]{64}")

#: One row of the site, and its record of the image in question.
Result = tuple[SiteRow, Record]


@dataclass
class ImagePictures:
    """What can be shown of one image: a comparison, or the reason why there is none; `obtainable` where running the
    experiment gives one."""

    comparison: Comparison | None = None
    thumbnail: str | None = None
    reason: str = ""
    obtainable: bool = False
    files: list[Data] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_file(record: Record, store: Path | None, results: Path | None) -> Path | None:
    """The encoded file of a record: in the published store by its hash, or where its experiment left it."""
    if record.file is None or not _SHA256.fullmatch(record.file_sha256 or ""):
        return None
    if store is not None:
        path = store / f"{record.file_sha256}{PurePosixPath(record.file).suffix}"
        if path.is_file():
            return path
    if results is not None:
        path = results / record.experiment / record.file
        if path.is_file() and path.resolve().is_relative_to(results.resolve()):
            return path
    return None


def make_pictures(site: Site, dataset: str, image: str, results: Sequence[Result], root: str) -> ImagePictures:
    """Decodes every file that is found of an image.

    Args:
        root: from the image's page to the site's folder.
    """
    found = [(row, record, path) for row, record in results if (path := find_file(record, site.store, site.results))]
    if not found:
        return ImagePictures(reason="No encoded file of a result on this image is published.", obtainable=True)
    made = ImagePictures()
    try:
        original = _original(dataset, image, [record for _, record, _ in found])
    except PictureProblem as error:
        return ImagePictures(reason=f"The original cannot be shown: {error}")
    except (OSError, RuntimeError, ValueError) as error:  # these name folders of this machine
        made.reason = "The original is not on the machine that built this site."
        made.problems.append(f"{dataset}, {image}: {error}")
        return made
    folder = f"pictures/{site.datasets[dataset]}/{site.images[dataset][image]}"
    maker = _Maker(made, original, folder, root)
    sources = [source for row, record, path in in_order(found) if (source := maker.source(row, record, path, found))]
    if not sources:
        made.reason = "None of the encoded files of this image could be decoded."
        return made
    made.thumbnail = maker.thumbnail()
    height, width = original.shape[:2]
    made.comparison = Comparison(
        title=f"Pictures of {image}",
        width=width,
        height=height,
        left=ORIGINAL,
        right=first_shown([(row, record) for row, record, _ in found], sources),
        original=ORIGINAL,
        reduced=maker.factor,
        sources=[original_source(maker.original(), height, width), *sources],
    )
    return made


def _original(dataset: str, image: str, records: Sequence[Record]) -> np.ndarray:
    from splatbench.datasets import available_datasets, get_dataset

    if dataset not in available_datasets():
        raise PictureProblem(f"{dataset!r} is not a data set that this installation knows")
    data = get_dataset(dataset)
    if data.withheld:
        raise PictureProblem(data.withheld)
    hashes = {record.pixel_sha256 for record in records if record.pixel_sha256}
    if not hashes:
        raise PictureProblem("no record says which pixels were encoded")
    return original_pixels(data.path(image), hashes)


class _Maker:
    """Makes the files of one image's page, each once."""

    def __init__(self, made: ImagePictures, original: np.ndarray, folder: str, root: str) -> None:
        self.factor = -(-max(original.shape[:2]) // MAX_SIDE)
        self._made, self._pixels, self._folder, self._root = made, original, folder, root
        self._done: dict[str, tuple[str | None, str | None, str | None]] = {}

    def original(self) -> str:
        return self._root + self._add("original.webp", lossless_webp(reduce_in_strips(self._pixels, self.factor)))

    def thumbnail(self) -> str:
        from PIL import Image

        factor = -(-max(self._pixels.shape[:2]) // THUMBNAIL_SIDE)
        buffer = io.BytesIO()
        Image.fromarray(reduce_in_strips(self._pixels, factor)).save(buffer, "WEBP", quality=82, method=4)
        return self._add("thumbnail.webp", buffer.getvalue())

    def source(
        self, row: SiteRow, record: Record, path: Path, found: Sequence[tuple[SiteRow, Record, Path]]
    ) -> Source | None:
        """What the component is told of a result; None, and a problem noted, where its file cannot be shown."""
        key = str(record.file_sha256)
        try:
            if key not in self._done:
                self._done[key] = self._show(record, path)
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            self._made.problems.append(f"{record.image}, {row.label}, {row.row.budget}: {error}")
            return None
        return source_of(row, record, group_of(row, record, [(r, s) for r, s, _ in found]), *self._done[key])

    def _show(self, record: Record, path: Path) -> tuple[str, str | None, str | None]:
        """(address of the picture, key of the encoded file or None, why there is none)."""
        from splatbench.codec import decode

        data = path.read_bytes()
        key = hashlib.sha256(data).hexdigest()
        if key != record.file_sha256:
            raise PictureProblem(f"{path.name} is not the file that was measured")
        decoded = decode(data, path.suffix)
        picture, psnr = decoded_picture(decoded, self._pixels, self.factor)
        measured = record.metrics.get("psnr_u8")
        if measured is not None and abs(measured - psnr) > PSNR_TOLERANCE:
            raise PictureProblem(f"it decodes to a picture of {psnr:.2f} dB, but {measured:.2f} dB were measured")
        image = self._root + self._add(f"{key[:16]}.webp", lossless_webp(picture))
        if isinstance(decoded, np.ndarray):
            return image, None, "it has no Gaussians"
        if len(data) > MAX_FILE_BYTES:
            return image, None, f"its encoded file is larger than {MAX_FILE_BYTES / 1e6:g} MB"
        self._made.files.append(Data(f"files/{key}.js", file_script(key, data)))
        return image, key, None

    def _add(self, name: str, content: bytes) -> str:
        self._made.files.append(Data(f"{self._folder}/{name}", content))
        return f"{self._folder}/{name}"


def decoded_picture(decoded: Decoded, original: np.ndarray, factor: int) -> tuple[np.ndarray, float]:
    """(uint8 [ceil(H / factor), ceil(W / factor), 3] averaged down, PSNR in dB of the 8-bit picture in full).

    Raises:
        PictureProblem: the picture's size is not the original's.
    """
    parts, done, squares = [], 0, 0
    for row, strip in decoded_strips(decoded, factor):
        part = original[row : row + strip.shape[0]]
        if row != done or part.shape != strip.shape:
            raise PictureProblem(f"the decoded picture does not have the original's size {original.shape[:2]}")
        done += strip.shape[0]
        squares += int(np.square(strip.astype(np.int32) - part).sum(dtype=np.int64))
        parts.append(reduce(strip, factor))
    if done != original.shape[0]:
        raise PictureProblem(f"the decoded picture has {done} rows, the original {original.shape[0]}")
    psnr = 100.0 if squares == 0 else min(100.0, 10 * float(np.log10(255**2 * original.size / squares)))
    return np.concatenate(parts), psnr


def file_script(key: str, data: bytes) -> bytes:
    """The script that hands an encoded file to the comparison."""
    import base64

    return f'splatbench.addFile("{key}","{base64.b64encode(data).decode()}");\n'.encode()


def new_files(files: Iterable[Data], written: set[str]) -> list[Data]:
    """Those not written before: images of several data sets may share an encoded file's script."""
    new = [data for data in files if data.path not in written]
    written.update(data.path for data in new)
    return new

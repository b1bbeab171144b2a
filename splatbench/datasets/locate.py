"""Finding a data set's pictures on this machine, and refusing wrong ones."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from splatbench.datasets.facts import cache_folder, file_facts, picture_facts
from splatbench.datasets.images import ImageError, image_size
from splatbench.datasets.manifest import ImageEntry, Manifest

#: Endings under which a lossless copy of a picture may lie; only its pixels decide.
_LOSSLESS = (".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".qoi", ".jp2")
_DEPTH = 2  # folders below a root that are searched
#: In a folder that `fetch` filled: which file came from where, and the hash it had then.
ORIGINS = ".origins.json"


@dataclass(frozen=True)
class Located:
    """A picture that may be used.

    Attributes:
        verified: its bytes or pixels have a hash that the manifest (or a verified archive) gives.
        notes: what a reader of the result should know about this copy.
    """

    path: Path
    verified: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A file of the right name with the wrong content."""

    path: Path
    reason: str


def data_roots() -> list[Path]:
    """Folders that are searched: those named in SPLATBENCH_DATA (separated like PATH), then the cache's `data`."""
    named = [Path(p).expanduser() for p in os.environ.get("SPLATBENCH_DATA", "").split(os.pathsep) if p]
    return [*named, cache_folder() / "data"]


def home(manifest: Manifest) -> Path:
    """Where `fetch` puts a data set, and where a person may put it by hand."""
    return cache_folder() / "data" / manifest.name


def builtin_folder(manifest: Manifest) -> Path | None:
    """The folder inside an installed package that holds the pictures."""
    if manifest.builtin is None:
        return None
    spec = importlib.util.find_spec(manifest.builtin)  # does not import the package
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) / "data" if places else None


class Finder:
    """Looks for the pictures of one data set. Folder listings are read once."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._listings: dict[Path, dict[str, Path]] = {}

    def find(self, entry: ImageEntry) -> tuple[Located | None, list[Refused]]:
        """The best copy of a picture (a verified one if there is any), and the files that were refused on the way."""
        refused: list[Refused] = []
        second_best: Located | None = None
        for path in self.candidates(entry):
            verdict = judge(path, entry, self.manifest)
            if isinstance(verdict, Refused):
                refused.append(verdict)
            elif verdict.verified:
                return verdict, refused
            else:
                second_best = second_best or verdict
        return second_best, refused

    def glance(self, entry: ImageEntry) -> Path | None:
        """A file of the picture's name whose header gives the right size; its content is not read."""
        for path in self.candidates(entry):
            with contextlib.suppress(ImageError):
                if size_fault(*image_size(path), entry, self.manifest) is None:
                    return path
        return None

    def candidates(self, entry: ImageEntry) -> Iterator[Path]:
        """Files that have the picture's name (or, where pixels can tell, its stem), likely places first."""
        names = [entry.name]
        if entry.pixel_sha256:
            stem = Path(entry.name).stem
            names += [stem + suffix for suffix in _LOSSLESS if stem + suffix != entry.name]
        seen: set[Path] = set()
        for stage in ("_likely_folders", "_tree"):  # the second is asked for only if the first did not suffice
            for name in names:
                for folder in getattr(self, stage):
                    path = self._listing(folder).get(name.casefold())
                    if path is not None and path not in seen:
                        seen.add(path)
                        yield path

    @functools.cached_property
    def _tree(self) -> list[Path]:
        tree = [folder for root in data_roots() for folder in _walk(root, _DEPTH)]
        inside = builtin_folder(self.manifest)
        return [inside, *tree] if inside else tree

    @functools.cached_property
    def _likely_folders(self) -> list[Path]:
        likely = [builtin_folder(self.manifest), home(self.manifest)]
        for name in (self.manifest.name, *self.manifest.folders):
            first, _, rest = name.partition("/")
            likely += [folder / rest for folder in self._tree if folder.name.casefold() == first.casefold()]
        return list(dict.fromkeys(folder for folder in likely if folder is not None))

    def _listing(self, folder: Path) -> dict[str, Path]:
        """Files of a folder by their names in lower case; none if it is not there."""
        if folder not in self._listings:
            files: list[Path] = []
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                files = sorted(Path(entry.path) for entry in entries if entry.is_file())
            self._listings[folder] = {path.name.casefold(): path for path in reversed(files)}
        return self._listings[folder]


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """A folder and those below it, breadth first, hidden ones left out; unreadable ones hold nothing."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        deeper: list[Path] = []
        for parent in level:
            with contextlib.suppress(OSError), os.scandir(parent) as entries:
                deeper += sorted(Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir())
        level = deeper


def judge(path: Path, entry: ImageEntry, manifest: Manifest) -> Located | Refused:
    """Whether a file is the picture: by file hash, else by pixel hash, else (where no hash is known) by its size."""
    try:
        facts = file_facts(path)
        if entry.sha256 and facts.sha256 == entry.sha256:
            return Located(path, verified=True)
        origin = _origin(path)
        if origin and origin["sha256"] != facts.sha256:
            return Refused(path, "the file changed after it was fetched; delete it and fetch it again")
        facts = picture_facts(path)
    except OSError as error:
        return Refused(path, f"cannot be read: {error.strerror or error}")
    if facts.error is not None:
        return Refused(path, facts.error.removeprefix(f"{path.resolve()}: "))
    if entry.pixel_sha256:
        if facts.pixel_sha256 != entry.pixel_sha256:
            return Refused(path, "the pixels differ from the published picture")
        note = f"{path.name}: re-encoded copy, accepted because its pixels agree"
        return Located(path, True, () if manifest.generator else (note,))
    if entry.sha256:
        return Refused(path, "the file differs from the published one")
    assert facts.width is not None and facts.height is not None
    fault = size_fault(facts.width, facts.height, entry, manifest)
    if fault:
        return Refused(path, fault)
    if origin and origin["verified"]:
        return Located(path, verified=True)
    return Located(path, False, (f"{path.name}: not verified by hash (none is published); its size agrees",))


def size_fault(width: int, height: int, entry: ImageEntry, manifest: Manifest) -> str | None:
    """What is wrong with a picture's size in pixels, or None."""
    if entry.width and entry.height:
        if (width, height) != (entry.width, entry.height):
            return f"it is {width}x{height} pixels, expected {entry.width}x{entry.height}"
        return None
    if manifest.long_side and max(width, height) != manifest.long_side:
        return f"it is {width}x{height} pixels, expected a long side of {manifest.long_side}"
    if width % manifest.multiple_of or height % manifest.multiple_of:
        return f"it is {width}x{height} pixels, expected multiples of {manifest.multiple_of}"
    return None


def _origin(path: Path) -> dict[str, object] | None:
    """Where `fetch` got this file from, if it did."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((path.parent / ORIGINS).read_text())[path.name]
        return {"sha256": str(record["sha256"]), "verified": bool(record["verified"])}
    return None

"""The schema of a data set's manifest (datasets/<name>.yaml), and how manifests are found."""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from splatbench import plain_yaml

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
# A plain file name: no folder, no leading dot or dash, nothing that a shell or a file system could read otherwise.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


class DatasetError(ValueError):
    """An unknown data set or image, or a manifest that does not fit the schema."""


class ImageEntry(BaseModel):
    """One picture of a data set. What is None is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    width: int | None = Field(default=None, gt=0)  # pixels
    height: int | None = Field(default=None, gt=0)
    bytes: int | None = Field(default=None, gt=0)  # length of the published file
    sha256: Sha256 | None = None  # of the published file
    pixel_sha256: Sha256 | None = None  # of the raw RGB8 bytes, row by row
    urls: tuple[Url, ...] = ()  # beside base_url + name
    seed: int = Field(default=0, ge=0)  # of a picture that is made here
    credit: str = ""
    licence: str = ""


class Archive(BaseModel):
    """A zip file that holds the pictures as <folder><name>."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: tuple[Url, ...] = Field(min_length=1)
    bytes: int = Field(gt=0)
    sha256: Sha256
    folder: str = ""
    # "whole": download, verify, unpack what is asked for. "members": take single members by range requests.
    take: Literal["whole", "members"] = "whole"

    @property
    def file(self) -> str:
        """The archive's own name."""
        return self.urls[0].rsplit("/", 1)[-1]


class Numbered(BaseModel):
    """Pictures named by a running number, first and last included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: str = Field(pattern=r"^[\w.-]*\{:0\dd\}[\w.-]*$")
    first: int = Field(ge=0)
    last: int = Field(ge=0, le=99999)

    def names(self) -> list[str]:
        return [self.pattern.format(n) for n in range(self.first, self.last + 1)]


class Manifest(BaseModel):
    """datasets/<name>.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    licence: str
    homepage: Url | None = None
    citation: str
    notes: tuple[str, ...] = ()  # traps
    withheld: str = ""  # why its pictures must not be published again; empty: they may
    folders: tuple[str, ...] = ()  # names that people give the folder, searched first
    base_url: Url | None = None  # pictures lie at base_url + name
    archives: tuple[Archive, ...] = ()  # tried in order
    manual: str = ""  # how a person gets the pictures
    builtin: Literal["skimage"] | None = None  # inside an installed package
    # Made here: "synthetic" of width, height and seed (splatbench.datasets.synthetic); "central_crop" of the pictures
    # of the same names in the data set `source`.
    generator: Literal["synthetic", "central_crop"] | None = None
    source: str = ""
    numbered: Numbered | None = None  # shorthand for many images; `images` adds what is known of single ones
    images: tuple[ImageEntry, ...] = ()
    # What the size of every picture must obey where width and height are not known one by one.
    long_side: int | None = Field(default=None, gt=0)
    multiple_of: int = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        names = [image.name for image in self.images]
        for name in names:
            if not _PLAIN_NAME.fullmatch(name):
                raise ValueError(f"image name {name!r} is not a plain file name")
        if len(set(names)) < len(names):
            raise ValueError("an image is listed twice")
        if self.numbered and (strangers := set(names) - set(self.numbered.names())):
            raise ValueError(f"images outside of `numbered`: {', '.join(sorted(strangers))}")
        if not self.entries():
            raise ValueError("no images")
        sources = self.base_url, self.archives, self.manual, self.builtin, self.generator
        if not (any(sources) or all(i.urls for i in self.images)):
            raise ValueError(
                "nothing says where the images come from: base_url, archives, urls, manual, builtin or generator"
            )
        if not (self.homepage or self.generator):
            raise ValueError("homepage: needed unless the pictures are made here (`generator`)")
        if self.generator and not all(i.width and i.height and i.name.endswith(".png") for i in self.entries()):
            raise ValueError(f"generator {self.generator}: every image needs width, height and a name ending in .png")
        if bool(self.source) != (self.generator == "central_crop"):
            raise ValueError("source names the data set that generator central_crop cuts from: the two belong together")
        return self

    def entries(self) -> list[ImageEntry]:
        """All pictures in the order of their names."""
        known = {image.name: image for image in self.images}
        for name in self.numbered.names() if self.numbered else ():
            known.setdefault(name, ImageEntry(name=name))
        return [known[name] for name in sorted(known)]

    def urls(self, entry: ImageEntry) -> list[str]:
        """Addresses of one picture as a file of its own; empty if it comes in an archive."""
        own = [self.base_url + entry.name] if self.base_url else []
        return [*own, *entry.urls]


def manifest_folders() -> list[Path]:
    """Folders that hold manifests: `SPLATBENCH_DATASETS` (several, separated like PATH) before the project's own."""
    extra = [Path(p).expanduser() for p in os.environ.get("SPLATBENCH_DATASETS", "").split(os.pathsep) if p]
    return [*extra, Path(__file__).resolve().parents[2] / "datasets"]


def available_datasets() -> dict[str, Path]:
    """Names and manifest files, in alphabetical order; earlier folders win."""
    found: dict[str, Path] = {}
    for folder in manifest_folders():
        for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
            if "weights" not in _content(path, path.stat().st_mtime_ns):  # weights have a manifest of their own kind
                found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def load_manifest(name: str) -> Manifest:
    """Reads and checks one manifest.

    Raises:
        DatasetError: no such data set (names the nearest), or the file does not fit the schema (names each key).
    """
    known = available_datasets()
    if name not in known:
        raise DatasetError(f"unknown data set {name!r}{did_you_mean(name, known)}")
    return read_manifest(known[name])


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        DatasetError: it does not fit the schema.
    """
    try:
        manifest = Manifest.model_validate(_content(path, path.stat().st_mtime_ns))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {e['msg']}" for e in error.errors())
        raise DatasetError(f"{path}: {problems}") from None
    if manifest.name != path.stem:
        raise DatasetError(f"{path}: the name inside is {manifest.name!r}; it must be the file's name")
    return manifest


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the closest choice, and the first choices there are."""
    names = sorted(choices)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (f"; did you mean {close[0]!r}?" if close else "") + f" (known: {', '.join(names[:10])}{more})"


@functools.lru_cache(maxsize=256)
def _content(path: Path, _mtime_ns: int) -> dict[str, Any]:
    try:
        content = plain_yaml.read(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"cannot read the manifest {path}: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: a manifest is a mapping of keys to values")
    return content

"""A data set as the rest of the project sees it: names of pictures, and a verified file for each."""

from __future__ import annotations

import abc
import os
from collections.abc import Sequence
from pathlib import Path

from splatbench.datasets.locate import Finder, Located, Refused, data_roots, home
from splatbench.datasets.manifest import (
    DatasetError,
    ImageEntry,
    Manifest,
    available_datasets,
    did_you_mean,
    load_manifest,
)

_LISTED = 8  # names shown before "and N more"


class DataMissing(RuntimeError):
    """Pictures that are not on this machine; the message lists them and says how to get them and where to put them."""


class Dataset(abc.ABC):
    """Attributes: name, title, licence, citation, homepage, notes, and images in the order of their names; withheld:
    why pictures must not be published again, empty where they may be."""

    name: str
    title: str
    licence: str
    citation: str
    homepage: str
    notes: tuple[str, ...]
    withheld: str
    images: list[ImageEntry]

    def entry(self, image: str) -> ImageEntry:
        """The entry of a picture, by its name or its name without the ending.

        Raises:
            DatasetError: no such picture; names the nearest.
        """
        for entry in self.images:
            if image == entry.name:
                return entry
        stems = [entry for entry in self.images if image == Path(entry.name).stem]
        if len(stems) == 1:
            return stems[0]
        raise DatasetError(f"{self.name} has no image {image!r}{did_you_mean(image, [e.name for e in self.images])}")

    @abc.abstractmethod
    def find(self, image: str) -> tuple[Located | None, list[Refused]]:
        """The best copy on this machine, or None, and the files that were refused."""

    @abc.abstractmethod
    def glance(self, image: str) -> Path | None:
        """A file of the right name and size in pixels, by its header alone: quick, and no proof."""

    @property
    @abc.abstractmethod
    def home(self) -> Path:
        """The folder that pictures are fetched to, and where a person may put them."""

    @abc.abstractmethod
    def explain(self, missing: Sequence[str], refused: Sequence[Refused] = ()) -> str:
        """What is missing, how to get it and where to put it."""

    def locate(self, image: str) -> Located:
        """A verified (or, where no hash is published, plausible) file of a picture, with notes about the copy.

        Raises:
            DatasetError: no such picture in this data set.
            DataMissing: it is not on this machine, or only with wrong content.
        """
        name = self.entry(image).name
        located, refused = self.find(name)
        if located is None:
            raise DataMissing(self.explain([name], refused))
        return located

    def path(self, image: str) -> Path:
        """The file of a picture; raises as `locate`."""
        return self.locate(image).path


class ManifestDataset(Dataset):
    """A data set of datasets/<name>.yaml."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.title = manifest.title
        self.licence = manifest.licence
        self.citation = manifest.citation
        self.homepage = manifest.homepage or ""
        self.notes = manifest.notes
        self.withheld = manifest.withheld
        self.images = manifest.entries()
        self._finder = Finder(manifest)

    def find(self, image: str) -> tuple[Located | None, list[Refused]]:
        return self._finder.find(self.entry(image))

    def glance(self, image: str) -> Path | None:
        return self._finder.glance(self.entry(image))

    @property
    def home(self) -> Path:
        return home(self.manifest)

    def forget(self) -> None:
        """Looks at the folders anew next time (after a fetch)."""
        self._finder = Finder(self.manifest)

    def explain(self, missing: Sequence[str], refused: Sequence[Refused] = ()) -> str:
        lines = [f"{self.name}: {len(missing)} of {len(self.images)} images missing: {_shortened(missing)}"]
        lines += [f"  Not accepted: {r.path}: {r.reason}" for r in refused[:_LISTED]]
        if self.manifest.builtin:
            lines.append("  They come inside the package scikit-image: pip install --force-reinstall scikit-image")
        elif self.manifest.generator:
            lines.append(f"  Make them:       splatbench data fetch {self.name}")
        elif self.manifest.base_url or self.manifest.archives:
            lines.append(f"  Get them:        splatbench data fetch {self.name}")
        if self.manifest.manual:
            lines += ["  By hand:", *(f"    {line}" for line in self.manifest.manual.splitlines())]
        lines.append(f"  Or put them in:  {self.home}")
        named = os.environ.get("SPLATBENCH_DATA")
        lines.append(
            "  Or name the folder that holds them in SPLATBENCH_DATA (several are separated by "
            f"{os.pathsep!r}; searched two levels deep); now it is {named if named else 'not set'}"
        )
        lines += [f"  No such folder:  {root}" for root in data_roots()[:-1] if not root.is_dir()]
        return "\n".join(lines)


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def get_dataset(name_or_folder: str | Path) -> Dataset:
    """A data set by its manifest's name, or a folder of pictures.

    Raises:
        DatasetError: neither; names the nearest known data set.
    """
    from splatbench.datasets.folder import FolderDataset

    text = str(name_or_folder)
    if text in available_datasets():
        return ManifestDataset(load_manifest(text))
    folder = Path(text).expanduser()
    if folder.is_dir():
        return FolderDataset(folder)
    if os.sep in text or isinstance(name_or_folder, Path):
        raise DatasetError(f"{text}: there is no such folder")
    return ManifestDataset(load_manifest(text))

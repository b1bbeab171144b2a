"""A user's own folder of pictures as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from splatbench.datasets.dataset import Dataset
from splatbench.datasets.images import SUFFIXES
from splatbench.datasets.locate import Located, Refused
from splatbench.datasets.manifest import DatasetError, ImageEntry


class FolderDataset(Dataset):
    """The pictures directly in a folder, in the order of their names.

    A file counts as a picture by its ending. One that cannot be read as a picture stays in the list: whoever reads it
    gets an ImageError and can report it. Everything else is listed in `skipped` and in `notes`; hidden files are not.
    """

    def __init__(self, folder: Path) -> None:
        """Raises DatasetError if the folder cannot be read or holds no picture."""
        self.folder = folder.expanduser().resolve()
        try:
            visible = sorted(p for p in self.folder.iterdir() if not p.name.startswith("."))
        except OSError as error:
            raise DatasetError(f"{folder}: cannot be read as a folder: {error.strerror}") from error
        pictures = [p for p in visible if p.is_file() and p.suffix.lower() in SUFFIXES]
        self.skipped = [p.name + ("/" if p.is_dir() else "") for p in visible if p not in set(pictures)]
        if not pictures:
            raise DatasetError(f"{folder}: holds no picture ({', '.join(sorted(SUFFIXES))})")
        self.name = self.folder.name or "root"
        self.title = f"Folder {self.folder}"
        self.licence = "unknown (the user's own files)"
        self.citation = ""
        self.homepage = ""
        self.notes = (f"not pictures, left out: {', '.join(self.skipped)}",) if self.skipped else ()
        self.withheld = ""
        self.images = [ImageEntry(name=p.name) for p in pictures]

    def find(self, image: str) -> tuple[Located | None, list[Refused]]:
        path = self.folder / self.entry(image).name
        return (Located(path, verified=False) if path.is_file() else None), []

    def glance(self, image: str) -> Path | None:
        located, _ = self.find(image)
        return located.path if located else None

    @property
    def home(self) -> Path:
        return self.folder

    def explain(self, missing: Sequence[str], refused: Sequence[Refused] = ()) -> str:
        return f"{self.folder}: no longer there: {', '.join(missing)}"

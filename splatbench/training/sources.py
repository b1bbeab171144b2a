"""Where training pictures come from: a folder, or tar shards; and which photographs are kept for validation."""

from __future__ import annotations

import abc
import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from splatbench.datasets.images import SUFFIXES, ImageError, load_image
from splatbench.datasets.locate import data_roots
from splatbench.training.errors import TrainingError
from splatbench.training.picture_rules import Validation

#: `NAME_c0`, `NAME_c1` ... are cut-outs of the photograph `NAME`.
_CUT_OUT = re.compile(r"_c\d+$")


def photograph_of(name: str) -> str:
    """The photograph that a picture's file shows: its path without ending, and without the mark of a cut-out."""
    path = PurePosixPath(name)
    return str(path.with_name(_CUT_OUT.sub("", path.name.removesuffix(path.suffix))))


class Source(abc.ABC):
    """Pictures by number.

    Attributes:
        names: of the pictures, unlike each other.
        photographs: of each picture, the photograph that it shows.
    """

    place: str
    names: list[str]
    photographs: list[str]

    @abc.abstractmethod
    def read(self, index: int) -> np.ndarray:
        """Picture as uint8 [H, W, 3]. Raises ImageError if it is broken."""

    def fingerprint(self, indices: Sequence[int]) -> str:
        """Changes when the names or the order of these pictures change."""
        return hashlib.sha256("\0".join(self.names[i] for i in indices).encode()).hexdigest()


class FolderSource(Source):
    """The pictures in a folder and in all folders below it, hidden ones left out, in the order of their paths.

    A `manifest.json` in it may say more: `images`, a list of objects with `file` (path below the folder) and
    `photograph`. Pictures of one photograph stay together when validation is split off.
    """

    def __init__(self, folder: Path) -> None:
        """Raises TrainingError if there is no picture."""
        self.place, self.folder = str(folder), folder
        paths = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.names = sorted(str(PurePosixPath(path)) for path in paths if not any(p[0] == "." for p in path.parts))
        if not self.names:
            raise TrainingError(f"{folder}: holds no picture, in no folder below either")
        named = _manifest_photographs(folder / "manifest.json")
        self.photographs = [named.get(name, photograph_of(name)) for name in self.names]

    def read(self, index: int) -> np.ndarray:
        return load_image(self.folder / self.names[index]).pixels


def _manifest_photographs(path: Path) -> dict[str, str]:
    """File -> photograph, for the images for which a manifest tells."""
    if not path.is_file():
        return {}
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        return {image["file"]: image["photograph"] for image in images if "photograph" in image}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path}: expected an object with `images`, a list of objects with `file` ({type(error).__name__}: {error})"
        ) from None


@dataclass(frozen=True)
class _Member:
    shard: Path
    offset: int
    size: int


class ShardSource(Source):
    """Pictures in plain tar files of the WebDataset layout (KEY.jpg, KEY.cls ...); other members are passed over.

    The headers are read once, at the start. Pictures are then read at their places, in any order, so that a batch
    depends on the step alone and a resumed run needs no state of a stream.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        """Raises TrainingError if a shard is damaged or compressed, or there is no picture."""
        self.place = f"{shards[0]}" + (f" and {len(shards) - 1} more" if len(shards) > 1 else "")
        self.names, self._members = [], []
        for shard in shards:
            for name, member in _index(shard):
                self.names.append(f"{shard.name}/{name}")
                self._members.append(member)
        if not self.names:
            raise TrainingError(f"{self.place}: holds no picture ({', '.join(sorted(SUFFIXES))})")
        # Two shards may hold cut-outs of one photograph: its name alone counts.
        self.photographs = [photograph_of(name.partition("/")[2]) for name in self.names]

    def read(self, index: int) -> np.ndarray:
        member, name = self._members[index], self.names[index]
        with open(member.shard, "rb") as file:
            file.seek(member.offset)
            data = file.read(member.size)
        # By way of a file, so that pictures are read by one policy wherever they are.
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(name).suffix) as file:
            file.write(data)
            file.flush()
            try:
                return load_image(file.name).pixels
            except ImageError as error:
                raise ImageError(str(error).replace(file.name, f"{member.shard.parent / name}")) from None


def _index(shard: Path) -> list[tuple[str, _Member]]:
    try:
        with tarfile.open(shard, "r:") as tar:
            return [
                (member.name, _Member(shard, member.offset_data, member.size))
                for member in tar
                if member.isreg() and PurePosixPath(member.name).suffix.lower() in SUFFIXES
            ]
    except (OSError, tarfile.TarError) as error:
        raise TrainingError(f"{shard}: not an uncompressed tar file, or a damaged one ({error})") from None


def places(where: str) -> list[Path]:
    """Where a path may be: as it is, or below the folders of SPLATBENCH_DATA and then below the current one."""
    path = Path(where).expanduser()
    return [path] if path.is_absolute() else [*(root / path for root in data_roots()), Path.cwd() / path]


def open_source(where: str) -> Source:
    """A folder, a tar file, or a glob of tar files (`imagenet/train-*.tar`).

    A relative path is looked for in the folders of SPLATBENCH_DATA, then from the current folder.

    Raises:
        TrainingError: nothing there; names the places.
    """
    for place in (found := places(where)):
        if place.is_dir():
            return FolderSource(place)
        shards = [place] if place.is_file() else sorted(place.parent.glob(place.name))
        if shards:
            return ShardSource(shards)
    raise TrainingError(
        f"no pictures at {where}: looked at {', '.join(map(str, found))}; name a folder or tar files in "
        "`data.train` (--set data.train=FOLDER), or set SPLATBENCH_DATA to the folder that holds it"
    )


def split(source: Source, rule: Validation) -> tuple[list[int], list[int]]:
    """Numbers of the training pictures and of the validation pictures; no photograph is on both sides.

    Which side a photograph is on follows from its name and `split_seed`. With `share` it stays there when pictures
    are added; `count` takes that many photographs.

    Raises:
        TrainingError: nothing is left for one side.
    """
    rank = {name: _hash(rule.split_seed, name) for name in set(source.photographs)}
    if rule.count is not None:
        held = set(sorted(rank, key=rank.__getitem__)[: rule.count])
    else:
        assert rule.share is not None
        held = {name for name, value in rank.items() if value < rule.share}
    sides: tuple[list[int], list[int]] = ([], [])
    for index, photograph in enumerate(source.photographs):
        sides[photograph in held].append(index)
    if not all(sides):
        side = "validation" if sides[0] else "training"
        raise TrainingError(
            f"{source.place}: of {len(rank)} photographs {len(held)} would be for validation, so none is left for "
            f"{side}; change data.validation, or add pictures"
        )
    return sides


def _hash(seed: int, name: str) -> float:
    """In [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6]) / 2**48

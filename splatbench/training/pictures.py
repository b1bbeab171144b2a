"""The pictures of a run, decoded and kept in memory: those to learn from, and those to validate on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splatbench.datasets.images import ImageError
from splatbench.training.errors import TrainingError
from splatbench.training.label_files import LabelFolder
from splatbench.training.picture_rules import Data
from splatbench.training.sources import Source, open_source, split

logger = logging.getLogger(__name__)


class Pictures:
    """Some pictures of a source, decoded, as many of them kept in memory as a limit allows; broken ones passed over.

    Args:
        labels: where the label of each picture is, which then is its fourth channel.

    Attributes:
        broken: names of the files that could not be read so far.
    """

    def __init__(
        self, source: Source, indices: Sequence[int], cache_bytes: int, labels: LabelFolder | None = None
    ) -> None:
        self.source, self.indices, self.labels = source, list(indices), labels
        self.broken: list[str] = []
        self._unreadable: set[int] = set()
        self._kept: dict[int, np.ndarray] = {}
        self._free = cache_bytes

    def __len__(self) -> int:
        return len(self.indices)

    def get(self, position: int) -> tuple[str, np.ndarray]:
        """Name and uint8 [H, W, 3 or 4] of a picture, or of the next one that can be read.

        Raises:
            TrainingError: not one can be read, or a label is missing or does not fit.
        """
        for place in (*range(position, len(self)), *range(position)):
            picture = self._read(place)
            if picture is not None:
                return self._name(place), picture
        raise self._none()

    def readable(self) -> list[np.ndarray]:
        """All that can be read, each once.

        Raises:
            TrainingError: not one can be read.
        """
        found = [picture for position in range(len(self)) if (picture := self._read(position)) is not None]
        if not found:
            raise self._none()
        return found

    def _none(self) -> TrainingError:
        return TrainingError(f"{self.source.place}: not one of {len(self)} pictures can be read: {self.broken[:3]} ...")

    def _name(self, position: int) -> str:
        return self.source.names[self.indices[position]]

    def _read(self, position: int) -> np.ndarray | None:
        if position in self._kept:
            return self._kept[position]
        if position in self._unreadable:
            return None
        try:
            picture = self.source.read(self.indices[position])
        except ImageError as error:
            self._unreadable.add(position)
            self.broken.append(self._name(position))
            logger.warning("left out (%d so far): %s", len(self.broken), error)
            return None
        if self.labels is not None:
            picture = np.dstack([picture, self.labels.read(self._name(position), picture.shape[:2])])
        if picture.nbytes <= self._free:
            self._free -= picture.nbytes
            self._kept[position] = picture
        return picture


@dataclass(frozen=True)
class Material:
    """What a run learns from and is validated on.

    Attributes:
        place: where the pictures are, for people.
        fingerprint: changes when names or number of the training pictures change, or the content of their labels.
    """

    place: str
    fingerprint: str
    training: Pictures
    validation: Pictures


def open_material(data: Data) -> Material:
    """Looks the pictures up and splits them; none is decoded yet.

    Raises:
        TrainingError: no pictures, a damaged shard or manifest, a split that leaves one side empty, or a training
            picture without a label where labels are asked for.
    """
    source = held = open_source(data.train)
    training, validation = list(range(len(source.names))), list[int]()
    rule = data.validation
    if rule is not None and rule.source is not None:
        held = open_source(rule.source)
        validation = list(range(len(held.names)))[: rule.count]
    elif rule is not None:
        training, validation = split(source, rule)
    kept = data.cache_mb * 1_000_000 // max(1, data.workers)  # every worker has its own
    fingerprint, labels = source.fingerprint(training), None
    if data.labels is not None:
        labels = LabelFolder(data.labels)
        fingerprint += "+" + labels.fingerprint([source.names[i] for i in training])
    return Material(source.place, fingerprint, Pictures(source, training, kept, labels), Pictures(held, validation, 0))

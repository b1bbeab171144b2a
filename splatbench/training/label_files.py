"""Labels of training pictures: a folder with one 8-bit grey PNG for each picture, of the same size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from splatbench.training.errors import TrainingError
from splatbench.training.sources import places


def label_of(name: str) -> str:
    """The file of a picture's label below the folder of labels: `a/b.jpg` has `a/b.png`."""
    return str(PurePosixPath(name).with_suffix(".png"))


class LabelFolder:
    """The labels of the pictures of one source.

    Args:
        where: the folder; a relative path is looked for in the folders of SPLATBENCH_DATA, then from the current one.

    Raises:
        TrainingError: there is no such folder; names the places.
    """

    def __init__(self, where: str) -> None:
        found = next((place for place in places(where) if place.is_dir()), None)
        if found is None:
            raise TrainingError(
                f"no labels at {where}: looked at {', '.join(map(str, places(where)))}; {_ADVICE.format(where)}"
            )
        self.folder = found

    def fingerprint(self, names: Sequence[str]) -> str:
        """Changes when the label of one of these pictures changes.

        Raises:
            TrainingError: a label is missing, or two pictures would have the same.
        """
        digest, owner = hashlib.sha256(), dict[str, str]()
        for name in names:
            label = label_of(name)
            if label in owner:
                raise TrainingError(f"{owner[label]} and {name} would have the same label, {label}: rename one of them")
            owner[label] = name
            digest.update(hashlib.sha256(self._content(name)).digest())
        return digest.hexdigest()

    def read(self, name: str, size: tuple[int, ...]) -> np.ndarray:
        """The label of a picture of (H, W) pixels, uint8 [H, W].

        Raises:
            TrainingError: it is missing, damaged, not 8-bit grey, or of another size.
        """
        path = self.folder / label_of(name)
        if not path.is_file():
            raise self._missing(name)
        try:
            with Image.open(path, formats=("PNG",)) as file:
                mode, label = file.mode, np.array(file)
        except (OSError, SyntaxError, ValueError) as error:
            raise TrainingError(f"{path}: the label cannot be read ({error}); delete it and make it again") from None
        if mode != "L" or label.shape != size:
            raise TrainingError(
                f"{path}: the label of {name} is {mode}, {label.shape[1]}x{label.shape[0]} pixels, expected 8-bit grey "
                f"(L), {size[1]}x{size[0]}; delete it and make it again"
            )
        return label

    def _content(self, name: str) -> bytes:
        try:
            return (self.folder / label_of(name)).read_bytes()
        except FileNotFoundError:
            raise self._missing(name) from None

    def _missing(self, name: str) -> TrainingError:
        return TrainingError(
            f"{self.folder / label_of(name)}: the label of {name} is missing; {_ADVICE.format(self.folder)}"
        )


_ADVICE = "make it with: splatbench labels METHOD --data PICTURES --out {}"

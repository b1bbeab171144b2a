"""Published encoded files measured again against the originals that are on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from splatbench.datasets import (
    DatasetError,
    ImageError,
    ManifestDataset,
    available_datasets,
    load_image,
    pixel_sha256,
)
from splatbench.datasets.manifest import load_manifest
from splatbench.runner.scoring import score
from splatbench.trace import Diverged

#: dB that renders of one file may differ by between machines.
_TOLERANCE = 0.01


class Originals:
    """The pictures of the data sets that are on this machine, each read once; only names of manifests are looked up.

    Attributes:
        compared: files that were measured again.
    """

    def __init__(self) -> None:
        self.compared = 0
        self._names = frozenset(available_datasets())
        self._datasets: dict[str, ManifestDataset] = {}
        self._pictures: dict[tuple[str, str], tuple[np.ndarray, str] | None] = {}

    def compare(
        self, data: bytes, suffix: str, dataset: str, image: str, sha256: str | None, psnr: float
    ) -> Iterator[str]:
        """What is wrong with a recorded PSNR; nothing where the original of that pixel hash is not here.

        Args:
            data: an encoded file that decodes to the original's size.
            suffix: its ending, ".s2d" or another.
            sha256: of the original's pixels, by the record.
            psnr: in dB, by the record.
        """
        found = self._picture(dataset, image)
        if found is None or found[1] != sha256:
            return
        self.compared += 1
        try:
            today = score(data, found[0], ["psnr"], suffix).values["psnr"]
        except Diverged as error:
            yield f"cannot be measured: {error}; the record of {image} says psnr {psnr:.3f} dB"
            return
        if abs(today - psnr) > _TOLERANCE:
            yield f"has psnr {today:.3f} dB against {image} of {dataset}; the record says {psnr:.3f} dB: evaluate again"

    def _picture(self, dataset: str, image: str) -> tuple[np.ndarray, str] | None:
        """Pixels and their hash, or None if the picture is not here."""
        if dataset not in self._names:
            return None
        if (dataset, image) not in self._pictures:
            self._pictures[dataset, image] = self._load(dataset, image)
        return self._pictures[dataset, image]

    def _load(self, dataset: str, image: str) -> tuple[np.ndarray, str] | None:
        if dataset not in self._datasets:
            self._datasets[dataset] = ManifestDataset(load_manifest(dataset))
        try:
            located, _ = self._datasets[dataset].find(image)
            pixels = None if located is None else load_image(located.path).pixels
        except (DatasetError, ImageError):
            return None  # a name that the manifest has not is an error of its own
        return None if pixels is None else (pixels, pixel_sha256(pixels))

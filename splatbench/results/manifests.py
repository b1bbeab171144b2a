"""Whether pictures are those that the manifests of their data sets name."""

from __future__ import annotations

from collections.abc import Iterator

from splatbench.datasets import DatasetError, ImageEntry, ManifestDataset, available_datasets
from splatbench.datasets.manifest import load_manifest
from splatbench.record import Record
from splatbench.results.findings import Finding


class Manifests:
    """The manifests that are installed, each read when a record first names it."""

    def __init__(self) -> None:
        self._names = frozenset(available_datasets())
        self._datasets: dict[str, ManifestDataset] = {}
        self._entries: dict[tuple[str, str], ImageEntry] = {}

    def of_record(self, record: Record) -> Iterator[Finding]:
        """What contradicts the manifest of the record's data set; nothing for data sets without one."""
        if record.height is None or record.dataset not in self._names:
            return
        try:
            known = self._entry(record.dataset, record.image)
        except DatasetError as error:
            yield Finding("pixels", str(error))
            return
        where = f"datasets/{record.dataset}.yaml"
        if known.pixel_sha256 is not None and record.pixel_sha256 not in (None, known.pixel_sha256):
            yield Finding("pixels", f"{record.image} has not the pixels that {where} names: another picture, or a copy")
        if known.width is not None and (known.width, known.height) != (record.width, record.height):
            text = f"{record.image} has {known.width}x{known.height} pixels in {where}"
            yield Finding("pixels", f"{text}, not {record.width}x{record.height}")

    def _entry(self, dataset: str, image: str) -> ImageEntry:
        if (dataset, image) not in self._entries:
            if dataset not in self._datasets:
                self._datasets[dataset] = ManifestDataset(load_manifest(dataset))
            self._entries[dataset, image] = self._datasets[dataset].entry(image)
        return self._entries[dataset, image]

"""Data sets: manifests, downloads, verification, image loading.

>>> from splatbench.datasets import get_dataset, load_image
>>> data = get_dataset("sample")
>>> picture = load_image(data.path("coffee.png"))
>>> picture.pixels.shape
(400, 600, 3)
"""

from splatbench.datasets.dataset import DataMissing, Dataset, ManifestDataset, get_dataset
from splatbench.datasets.facts import cache_folder
from splatbench.datasets.folder import FolderDataset
from splatbench.datasets.images import ImageError, LoadedImage, load_image, pixel_sha256
from splatbench.datasets.locate import Located, Refused, data_roots
from splatbench.datasets.manifest import DatasetError, ImageEntry, Manifest, available_datasets
from splatbench.datasets.stack import Picture, load_picture, load_stack

__all__ = [
    "DataMissing",
    "Dataset",
    "DatasetError",
    "FolderDataset",
    "ImageEntry",
    "ImageError",
    "LoadedImage",
    "Located",
    "Manifest",
    "ManifestDataset",
    "Picture",
    "Refused",
    "available_datasets",
    "cache_folder",
    "data_roots",
    "get_dataset",
    "load_image",
    "load_picture",
    "load_stack",
    "pixel_sha256",
]

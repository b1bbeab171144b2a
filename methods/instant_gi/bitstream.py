"""The .s2d content of Instant-GI: float32 attributes of its Gaussians, bit for bit. The method has no quantiser."""

from __future__ import annotations

import torch

from splatbench.codec import Attribute, BitstreamError, gaussians_from_arrays, read, spatial_order, write
from splatbench.gaussians import Gaussians2D

METHOD = "instant_gi"


def write_gaussians(gaussians: Gaussians2D) -> bytes:
    """The file. Neighbours are kept together, which makes it smaller; under the 256-per-tile cap the order of the
    Gaussians is part of the picture and stays.

    Raises:
        ValueError: values that are NaN or infinite.
    """
    gaussians.check_finite()
    gaussians = gaussians.to("cpu")
    tensors = gaussians.tensors()
    if "tile_cap_256" not in gaussians.compat:
        order = torch.from_numpy(spatial_order(gaussians.means.numpy()))
        tensors = {name: value[order] for name, value in tensors.items()}
    attributes = [Attribute(name, value.numpy()) for name, value in tensors.items()]
    return write(METHOD, gaussians.size, gaussians.blend, gaussians.compat, attributes, {})


def read_gaussians(data: bytes) -> Gaussians2D:
    """Gaussians of a file that `write_gaussians` made.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    file = read(data, method=METHOD)
    if "means" not in file.arrays:
        raise BitstreamError("the file holds no Gaussians")
    return gaussians_from_arrays(file, file.arrays)

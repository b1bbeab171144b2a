"""The .s2d content of SmartSplat."""

from __future__ import annotations

import torch

from splatbench.codec import Attribute, BitstreamError, gaussians_from_arrays, read, spatial_order, write
from splatbench.gaussians import Gaussians2D

METHOD = "smartsplat"


def write_plain(gaussians: Gaussians2D) -> bytes:
    """Float32 attributes, bit for bit; in Morton order, unless the 256-per-tile cap makes the order count."""
    order = torch.arange(len(gaussians))
    if "tile_cap_256" not in gaussians.compat:
        order = torch.from_numpy(spatial_order(gaussians.means.numpy()))
    attributes = [Attribute(name, value[order].numpy()) for name, value in gaussians.tensors().items()]
    return write(METHOD, gaussians.size, gaussians.blend, gaussians.compat, attributes, {})


def read_gaussians(data: bytes) -> Gaussians2D:
    """Gaussians of a file of this method.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    file = read(data)
    if file.method != METHOD:
        raise BitstreamError(f"the file was made by method {file.method!r}, not by {METHOD!r}")
    return gaussians_from_arrays(file, file.arrays)

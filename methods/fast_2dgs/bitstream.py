"""The .s2d content of Fast-2DGS: float32 attributes, in Morton order of the means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from splatbench.codec import Attribute, gaussians_from_arrays, read, spatial_order, topk_meta, write
from splatbench.gaussians import Gaussians2D

METHOD = "fast_2dgs"


def ordered(g: Gaussians2D) -> Gaussians2D:
    """The same Gaussians in the order of the file, in which neighbours lie together."""
    order = torch.from_numpy(spatial_order(g.means.numpy()))
    return replace(g, **{name: value[order] for name, value in g.tensors().items()})


def write_gaussians(g: Gaussians2D) -> bytes:
    """The file's content."""
    attributes = [Attribute(name, np.ascontiguousarray(value.numpy())) for name, value in g.tensors().items()]
    return write(METHOD, g.size, g.blend, g.compat, attributes, topk_meta(g))


def read_gaussians(data: bytes) -> Gaussians2D:
    """Gaussians of a file that `write_gaussians` made.

    Raises:
        splatbench.codec.BitstreamError: the bytes are not such a file.
    """
    file = read(data, method=METHOD)
    return gaussians_from_arrays(file, file.arrays)

"""The .s2d content of Gaussians that others made: their float32 numbers, bit for bit and in their order."""

from __future__ import annotations

from splatbench.codec import Attribute, gaussians_from_arrays, read, topk_meta, write
from splatbench.gaussians import Gaussians2D

METHOD = "external"


def to_bytes(gaussians: Gaussians2D) -> bytes:
    """The file of any Gaussians: every blend, both forms of covariance, any number of channels.

    Raises:
        ValueError: values that are NaN or infinite.
    """
    gaussians.check_finite()
    attributes = [Attribute(name, value.cpu().numpy()) for name, value in gaussians.detach().tensors().items()]
    meta: dict[str, int | float | str] = dict(topk_meta(gaussians))
    if gaussians.gamma != 1:
        meta["gamma"] = float(gaussians.gamma)
    if gaussians.background:
        meta["background"] = float(gaussians.background)
    return write(METHOD, gaussians.size, gaussians.blend, gaussians.compat, attributes, meta)


def from_bytes(data: bytes) -> Gaussians2D:
    """Gaussians of a file that `to_bytes` made.

    Raises:
        splatbench.codec.BitstreamError: the bytes are not such a file.
    """
    file = read(data, method=METHOD)
    return gaussians_from_arrays(file, file.arrays)

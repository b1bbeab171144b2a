"""The .s2d content of SmartSplat: float32 attributes (variant "float32"), or codes of `quantise` (variant "codes").

Arrays of variant "codes", unsigned: `bits` [4] of position, scale, angle and colour; `means` [N, 2] codes of positions;
`scales` [N, 2]: the larger scale's code, and how much the smaller one's is below it; `angles` [N]; `colors` [N, C].
"""

from __future__ import annotations

import numpy as np
import torch

from splatbench.codec import Attribute, BitstreamError, S2DFile, gaussians_from_arrays, read, spatial_order, write
from splatbench.gaussians import Gaussians2D

from .config import Config
from .model import Activation
from .quantise import Codes, Grids
from .refine import QuantisedGaussians

METHOD = "smartsplat"


def file_order(positions: np.ndarray, compat: frozenset[str]) -> torch.Tensor:
    """Order of the Gaussians in the file, [N]: neighbours together, which is smaller and as good, unless the
    256-per-tile cap makes the order part of the picture.

    Args:
        positions: [N, 2] exactly as they are stored.
    """
    if "tile_cap_256" in compat:
        return torch.arange(len(positions))
    return torch.from_numpy(spatial_order(positions))


def write_plain(gaussians: Gaussians2D) -> bytes:
    """Float32 attributes, bit for bit."""
    order = file_order(gaussians.means.numpy(), gaussians.compat)
    attributes = [Attribute(name, value[order].numpy()) for name, value in gaussians.tensors().items()]
    return write(METHOD, gaussians.size, gaussians.blend, gaussians.compat, attributes, {"variant": "float32"})


def write_codes(quantised: QuantisedGaussians) -> bytes:
    """Codes, in their order."""
    codes, activation = quantised.codes, quantised.activation
    larger, smaller = codes.scales.unbind(1)
    arrays = {
        "means": codes.positions,
        "scales": torch.stack([larger, larger - smaller], 1),
        "angles": codes.angles,
        "colors": codes.colours,
    }
    attributes = [Attribute("bits", np.array(quantised.grids.bits, np.uint8))]
    attributes += [Attribute(name, value.numpy().astype(np.uint16)) for name, value in arrays.items()]
    return write(METHOD, activation.size, "sum", activation.config.compat, attributes, {"variant": "codes"})


def read_gaussians(data: bytes) -> Gaussians2D:
    """Gaussians of a file that `write_plain` or `write_codes` made.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    file = read(data, method=METHOD)
    variant = file.meta.get("variant")
    if variant == "float32":
        return gaussians_from_arrays(file, file.arrays)
    if variant == "codes":
        return _dequantise(file)
    raise BitstreamError(f"unknown variant {variant!r} of {METHOD}")


def _dequantise(file: S2DFile) -> Gaussians2D:
    _check(file.arrays)
    grids = Grids(max(file.size), *file.arrays["bits"].tolist())
    arrays = {name: torch.from_numpy(values.astype(np.int32)) for name, values in file.arrays.items()}
    larger, below = arrays["scales"].unbind(1)
    codes = Codes(arrays["means"], torch.stack([larger, larger - below], 1), arrays["angles"], arrays["colors"])
    gaussians = Activation(Config(), file.size).gaussians(grids.values(codes))
    return gaussians_from_arrays(file, {name: value.numpy() for name, value in gaussians.tensors().items()})


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Types, shapes and ranges that fit together, or a BitstreamError."""
    kinds = {"bits": "uint8", "means": "uint16", "scales": "uint16", "angles": "uint16", "colors": "uint16"}
    for name, kind in kinds.items():
        if name not in arrays or arrays[name].dtype != kind:
            raise BitstreamError(f"attribute {name!r} is missing or not {kind}")
    bits, scales, colors = arrays["bits"], arrays["scales"], arrays["colors"]
    if bits.shape != (4,) or not ((bits >= 1) & (bits <= 16)).all():
        raise BitstreamError(f"expected four numbers of bits from 1 to 16, got {bits.tolist()}")
    n = len(arrays["angles"]) if arrays["angles"].ndim == 1 else -1
    channels = max(1, colors.shape[1]) if colors.ndim == 2 else 3
    shapes = {"means": (n, 2), "scales": (n, 2), "angles": (n,), "colors": (n, channels)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise BitstreamError(f"attribute {name!r}: expected shape {shape}, got {arrays[name].shape}")
    for name, width in zip(("means", "scales", "angles", "colors"), bits.tolist(), strict=True):
        if arrays[name].size and int(arrays[name].max()) >> width:
            raise BitstreamError(f"attribute {name!r} holds codes of more than {width} bits")
    if (scales[:, 1] > scales[:, 0]).any():
        raise BitstreamError("the smaller scale of a Gaussian is below the grid")

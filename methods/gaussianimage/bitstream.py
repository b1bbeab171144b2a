"""The .s2d content of GaussianImage: float32 attributes, or the codes and tables of the quantised form."""

from __future__ import annotations

import numpy as np
import torch

from splatbench.codec import (
    Attribute,
    BitstreamError,
    S2DFile,
    gaussians_from_arrays,
    read,
    spatial_order,
    uniform_values,
    vector_values,
    write,
)
from splatbench.gaussians import Gaussians2D

from .config import Config
from .model import Activation
from .qat import QuantisedGaussians

METHOD = "gaussianimage"


def _order(positions: torch.Tensor, config: Config) -> torch.Tensor:
    """Order of the Gaussians in the file; under the 256-per-tile cap it is part of the picture and kept."""
    if config.order == "fitted" or "tile_cap_256" in config.compat:
        return torch.arange(len(positions))
    return torch.from_numpy(spatial_order(positions.numpy()))


def write_plain(gaussians: Gaussians2D, config: Config) -> bytes:
    """Float32 attributes, bit for bit."""
    gaussians = gaussians.to("cpu")
    order = _order(gaussians.means, config)
    attributes = [Attribute(name, value[order].numpy()) for name, value in gaussians.tensors().items()]
    return write(METHOD, gaussians.size, gaussians.blend, gaussians.compat, attributes, {"variant": config.variant})


def write_quantised(quantised: QuantisedGaussians) -> bytes:
    """Codes and tables of the quantisation-aware fit."""
    activation = quantised.activation
    config = activation.config
    order = _order(quantised.xyz, config)
    attributes = [
        Attribute("xyz", quantised.xyz[order].numpy()),
        Attribute("covariance", quantised.covariance[order].numpy().astype(np.uint16)),
        Attribute("colors", quantised.colors[order].numpy().astype(np.uint8)),
        Attribute("step", quantised.step.numpy()),
        Attribute("beta", quantised.beta.numpy()),
        Attribute("codebooks", quantised.codebooks.numpy()),
    ]
    meta = {"variant": f"{config.variant}-q"}
    return write(METHOD, activation.size, "sum", config.compat, attributes, meta)


def read_gaussians(data: bytes) -> Gaussians2D:
    """Gaussians of a file that `write_plain` or `write_quantised` made.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    file = read(data, method=METHOD)
    variant = file.meta.get("variant")
    if variant in ("cholesky", "rs"):
        return gaussians_from_arrays(file, file.arrays)
    if variant in ("cholesky-q", "rs-q"):
        return _dequantise(file, str(variant).removesuffix("-q"))
    raise BitstreamError(f"unknown variant {variant!r} of {METHOD}")


def _dequantise(file: S2DFile, variant: str) -> Gaussians2D:
    arrays = file.arrays
    _check(arrays)
    config = Config(variant="rs" if variant == "rs" else "cholesky")
    activation = Activation(config, file.size)
    values = torch.from_numpy(uniform_values(arrays["covariance"], arrays["step"], arrays["beta"]))
    colors = torch.from_numpy(vector_values(arrays["colors"], arrays["codebooks"]))
    if variant == "cholesky":
        shape = {"factor": activation.factor(values)}
    else:
        shape = {"scales": activation.scales(values[:, :2]), "theta": values[:, 2]}
    gaussians = activation.gaussians(
        activation.means(torch.from_numpy(arrays["xyz"].astype(np.float32))), shape, colors
    )
    plain = {name: value.numpy() for name, value in gaussians.tensors().items()}
    return gaussians_from_arrays(file, plain)


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Types and shapes that fit together, or a BitstreamError."""
    kinds = {"xyz": "float16", "covariance": "uint16", "colors": "uint8", "step": "float32", "beta": "float32",
             "codebooks": "float32"}  # fmt: skip
    for name, kind in kinds.items():
        if name not in arrays or arrays[name].dtype != kind:
            raise BitstreamError(f"attribute {name!r} is missing or not {kind}")
    n = arrays["xyz"].shape[0] if arrays["xyz"].ndim == 2 else -1
    stages = arrays["codebooks"].shape[0] if arrays["codebooks"].ndim == 3 else -1
    shapes = {"xyz": (n, 2), "covariance": (n, 3), "colors": (n, stages), "step": (3,), "beta": (3,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise BitstreamError(f"attribute {name!r}: expected shape {shape}, got {arrays[name].shape}")
    if arrays["codebooks"].shape[2] != 3:
        raise BitstreamError(f"codebooks must hold RGB entries, got shape {arrays['codebooks'].shape}")

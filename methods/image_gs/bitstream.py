"""The .s2d content of Image-GS: float32 attributes of Gaussians2D, or the codes of the quantised ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from splatbench.codec import (
    Attribute,
    BitstreamError,
    Grid,
    S2DFile,
    gaussians_from_arrays,
    read,
    spatial_order,
    topk_meta,
    uniform_values,
    write,
)
from splatbench.gaussians import Gaussians2D

from .config import UNQUANTISED
from .model import STORED, Model, Parameters, activate, as_fields

METHOD = "image_gs"


@dataclass(frozen=True)
class Encoding:
    """Fitted Gaussians and what their file holds.

    Attributes:
        gaussians: what a decoder gives, bit for bit, in the order of the file.
        codes: unsigned integers [N, columns] by name of `STORED`; empty if nothing is quantised. Quantities without
            bits are float32 there.
        step, offset: float32 [4] in the order of `STORED`: value = code * step + offset; 1 and 0 where there are no
            codes.
        inverse: whether the stored scales are inverse ones.
        bits: of each quantity in `STORED`.
    """

    gaussians: Gaussians2D
    codes: dict[str, np.ndarray]
    step: np.ndarray
    offset: np.ndarray
    inverse: bool
    bits: dict[str, int]

    def __len__(self) -> int:
        return len(self.gaussians)

    def nominal_bits(self) -> int:
        """(2 position + 2 scale + angle + C colour) N bits, as the released code counts: no ranges, no header."""
        columns = {"means": 2, "scales": 2, "angles": 1, "colors": self.gaussians.colors.shape[1]}
        return sum(columns[name] * bits for name, bits in self.bits.items()) * len(self.gaussians)


@torch.no_grad()
def encoding(model: Model, parameters: Parameters) -> Encoding:
    """Gaussians in Morton order of their stored positions, quantised if the settings say so."""
    step, offset = np.ones(len(STORED), np.float32), np.zeros(len(STORED), np.float32)
    stored = {name: value.cpu().numpy() for name, value in model.values(parameters, quantise=False).items()}
    for k, name in enumerate(STORED):
        if (bits := model.bits[name]) < UNQUANTISED:
            grid = Grid.of(stored[name], bits)
            stored[name], step[k], offset[k] = grid.codes(stored[name]), grid.step[0], grid.offset[0]
    if stored["means"].dtype == np.uint8:
        stored["means"] = stored["means"].astype(np.uint16)  # which the Morton coder takes
    order = spatial_order(stored["means"])
    stored = {name: np.ascontiguousarray(value[order]) for name, value in stored.items()}
    gaussians = model.drawn(dequantise(stored, step, offset))
    return Encoding(gaussians, stored if model.quantises else {}, step, offset, model.inverse, model.bits)


def dequantise(stored: dict[str, np.ndarray], step: np.ndarray, offset: np.ndarray) -> Parameters:
    """Stored values of codes; float32 quantities are what they are."""
    values = {}
    for k, name in enumerate(STORED):
        array = stored[name]
        if array.dtype != np.float32:
            array = uniform_values(array, step[k], offset[k])
        values[name] = torch.from_numpy(array)
    return values


def write_encoding(e: Encoding) -> bytes:
    """The file's content."""
    g = e.gaussians
    meta: dict[str, int | float | str] = dict(topk_meta(g))
    if g.gamma != 1:
        meta["gamma"] = g.gamma
    if e.codes:
        attributes = [Attribute(name, e.codes[name]) for name in STORED]
        attributes += [Attribute("step", e.step), Attribute("beta", e.offset)]
        meta["variant"] = "inverse" if e.inverse else "scale"
    else:
        attributes = [Attribute(name, value.numpy()) for name, value in g.tensors().items()]
    return write(METHOD, g.size, g.blend, g.compat, attributes, meta)


def read_gaussians(data: bytes) -> Gaussians2D:
    """Gaussians of a file that `write_encoding` made.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    file = read(data, method=METHOD)
    variant = file.meta.get("variant")
    if variant is None:
        return gaussians_from_arrays(file, file.arrays)
    if variant not in ("scale", "inverse"):
        raise BitstreamError(f"unknown variant {variant!r} of {METHOD}")
    _check(file)
    arrays = file.arrays
    values = dequantise(arrays, arrays["step"], arrays["beta"])
    fields = as_fields(*activate(values, file.size, variant == "inverse"))
    return gaussians_from_arrays(file, {name: value.numpy() for name, value in fields.items()})


def _check(file: S2DFile) -> None:
    """Types and shapes that fit together, or a BitstreamError."""
    arrays = file.arrays
    if set(arrays) != {*STORED, "step", "beta"}:
        raise BitstreamError(f"expected attributes {', '.join(STORED)}, step and beta, got {', '.join(sorted(arrays))}")
    n, columns = len(arrays["means"]) if arrays["means"].ndim else 0, {"means": 2, "scales": 2, "angles": 1}
    for name in STORED:
        array = arrays[name]
        wanted = (n, columns.get(name, array.shape[-1] if array.ndim else 0))
        if array.shape != wanted or array.dtype not in (np.uint8, np.uint16, np.float32):
            raise BitstreamError(
                f"attribute {name!r}: expected codes or float32 {wanted}, got {array.dtype} {array.shape}"
            )
    for name in ("step", "beta"):
        array = arrays[name]
        if array.shape != (len(STORED),) or array.dtype != np.float32 or not np.isfinite(array).all():
            raise BitstreamError(f"attribute {name!r}: expected {len(STORED)} finite float32 values")

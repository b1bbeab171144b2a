"""The .s2d content of LIG: attributes of all levels, as float32 or as uniform codes with their grids; ranges."""

from __future__ import annotations

import numpy as np
import torch

from splatbench.codec import Attribute, BitstreamError, Grid, S2DFile, read, spatial_order, write
from splatbench.codec.dispatch import MAX_MAGNITUDE

from .config import Config
from .levels import Level, level_size
from .picture import LevelPicture, Range

METHOD = "lig"
_COLUMNS = {"means": 2, "shape": 3, "colors": 3}


def write_levels(picture: LevelPicture, config: Config) -> bytes:
    """The file; of a picture that lacks its last levels (a snapshot) the levels that are there."""
    attributes = [Attribute("ranges", np.array([[r.low, r.high] for r in picture.ranges], np.float32).reshape(-1, 2))]
    for k, level in enumerate(picture.levels):
        values = {name: value.numpy() for name, value in level.tensors().items()}
        if config.quantise:
            bits = {"means": config.mean_bits, "shape": config.covariance_bits, "colors": config.color_bits}
            grids = {name: Grid.of(value, bits[name], per_channel=True) for name, value in values.items()}
            values = {name: grids[name].codes(value) for name, value in values.items()}
            for name, grid in grids.items():
                attributes.append(Attribute(f"{name}_grid{k}", np.stack([grid.step, grid.offset])))
        order = spatial_order(values["means"])  # a sum does not care
        attributes += [Attribute(f"{name}{k}", value[order]) for name, value in values.items()]
    meta: dict[str, int | float | str] = {"levels": config.levels, "form": config.form}
    return write(METHOD, picture.size, "sum", frozenset(), attributes, meta)


def read_levels(data: bytes) -> LevelPicture:
    """The picture of a file that `write_levels` made.

    Raises:
        BitstreamError: the bytes are not such a file.
    """
    file = read(data, method=METHOD)
    total = file.meta.get("levels")
    if not isinstance(total, int) or not 1 <= total <= 8 or min(level_size(file.size, 0, total)) < 1:
        raise BitstreamError(f"a picture of {file.size[1]}x{file.size[0]} pixels cannot have {total!r} levels")
    present = sum(f"means{k}" in file.arrays for k in range(total))
    if not present:
        raise BitstreamError("the file holds no level")
    ranges = _finite(file.arrays.get("ranges"), "ranges", (present - 1, 2))
    levels = tuple(_level(file, k, total) for k in range(present))
    return LevelPicture(levels, tuple(Range(float(low), float(high)) for low, high in ranges), size=file.size)


def _level(file: S2DFile, k: int, total: int) -> Level:
    form = file.meta.get("form")
    if form not in ("direct", "cholesky"):
        raise BitstreamError(f"unknown form {form!r} of covariances")
    means = file.arrays.get(f"means{k}")
    count = 0 if means is None or means.ndim != 2 else len(means)
    tensors = {
        name: torch.from_numpy(_finite(_values(file, f"{name}{k}", f"{name}_grid{k}"), f"{name}{k}", (count, columns)))
        for name, columns in _COLUMNS.items()
    }
    return Level(**tensors, size=level_size(file.size, k, total), form=form)  # type: ignore[arg-type]


def _values(file: S2DFile, name: str, grid_name: str) -> np.ndarray | None:
    """An attribute, dequantised where it has a grid."""
    values, grid = file.arrays.get(name), file.arrays.get(grid_name)
    if values is None or grid is None:
        return values
    if values.dtype.kind != "u" or grid.shape != (2, values.shape[-1]) or grid.dtype != np.float32:
        raise BitstreamError(f"attribute {grid_name!r} does not fit the codes of {name!r}")
    with np.errstate(over="ignore", invalid="ignore"):
        return Grid(grid[0], grid[1], 16).values(values)


def _finite(values: np.ndarray | None, name: str, shape: tuple[int, int]) -> np.ndarray:
    """float32 of this shape and of finite values up to 2^30, or a BitstreamError."""
    if values is None or values.dtype != np.float32 or values.shape != shape:
        found = "missing" if values is None else f"{values.dtype} {values.shape}"
        raise BitstreamError(f"attribute {name!r}: expected float32 {shape}, it is {found}")
    if values.size and not float(np.abs(values).max()) <= MAX_MAGNITUDE:
        raise BitstreamError(f"attribute {name!r} holds values that are NaN, infinite or beyond 2^30")
    return np.ascontiguousarray(values)

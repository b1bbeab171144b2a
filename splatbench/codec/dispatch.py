"""From a file's arrays to Gaussians, and from any file to the method that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from splatbench.codec.container import S2DFile, peek_method
from splatbench.codec.errors import BitstreamError

if TYPE_CHECKING:
    from splatbench.gaussians import Gaussians2D, TopkSettings
    from splatbench.method import Decoded

#: Largest magnitude of any value of a decoded Gaussian. No picture needs more, sums of 2^26 such values stay finite.
MAX_MAGNITUDE = float(1 << 30)
_FIELDS = ("means", "colors", "scales", "angles", "cholesky", "opacities")


def topk_meta(gaussians: Gaussians2D) -> dict[str, int | float]:
    """Meta values of a file by which `gaussians_from_arrays` gives blend `topk` its numbers: those that are not the
    defaults."""
    from splatbench.gaussians import TopkSettings

    if gaussians.blend != "topk":
        return {}
    usual = asdict(TopkSettings())
    return {name: value for name, value in asdict(gaussians.topk).items() if value != usual[name]}


def _topk(file: S2DFile) -> TopkSettings:
    from splatbench.gaussians import TopkSettings

    given: dict[str, Any] = {name: file.meta[name] for name in asdict(TopkSettings()) if name in file.meta}
    if any(isinstance(value, str) for value in given.values()) or not isinstance(given.get("k", 1), int):
        raise ValueError(f"the numbers of blend topk are {given}")
    return TopkSettings(**given)


def gaussians_from_arrays(file: S2DFile, arrays: Mapping[str, np.ndarray]) -> Gaussians2D:
    """Gaussians2D of a file's header (size, blend, compat flags, `topk_meta`, `gamma`, `background`) and of float32
    arrays by field name.

    Raises:
        BitstreamError: a field that is missing, unknown, of the wrong shape or type, or holds values that are NaN,
            infinite or larger than 2^30, or opacities outside [0, 1].
    """
    import torch

    from splatbench.gaussians import Gaussians2D

    if unknown := sorted(set(arrays) - set(_FIELDS)):
        raise BitstreamError(f"unknown attributes {unknown}; Gaussians have {', '.join(_FIELDS)}")
    for required in ("means", "colors"):
        if required not in arrays:
            raise BitstreamError(f"attribute {required!r} is missing")
    for name, values in arrays.items():
        # NaN fails every comparison, so it is caught here too.
        if values.dtype.kind == "f" and values.size and not float(np.abs(values).max()) <= MAX_MAGNITUDE:
            raise BitstreamError(f"attribute {name!r} holds values that are NaN, infinite or beyond 2^30")
    if "opacities" in arrays and not ((arrays["opacities"] >= 0) & (arrays["opacities"] <= 1)).all():
        raise BitstreamError("opacities must be in [0, 1]")
    tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
    try:
        numbers: dict[str, Any] = {
            name: float(file.meta[name]) for name in ("gamma", "background") if name in file.meta
        }
        shown: dict[str, Any] = {"topk": _topk(file), **numbers}
        return Gaussians2D(size=file.size, blend=file.blend, compat=file.compat, **shown, **tensors)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise BitstreamError(f"the attributes do not make Gaussians: {error}") from error


def decode(data: bytes, suffix: str = ".s2d") -> Decoded:
    """Decodes a file with the method that made it: named in the header of a .s2d file, else found by the suffix.

    Args:
        data: the file's content.
        suffix: of the file's name, with its dot. Image formats (.png, .jpg ...) are read by a control.

    Returns:
        Gaussians2D, or the picture uint8 [H, W, 3].

    Raises:
        BitstreamError: not a valid file, or made by a method that is not installed.
    """
    from splatbench.method import MethodError, available, get_method

    methods = available()
    if suffix == ".s2d":
        name = peek_method(data)
        if name not in methods:
            known = ", ".join(methods)
            raise BitstreamError(f"the file was made by method {name!r}, which is not installed (known: {known})")
        return get_method(name).from_bytes(data)
    broken: list[str] = []
    for name in methods:
        try:
            method = get_method(name)
        except (MethodError, ImportError) as error:  # a broken folder must not hide the others
            broken.append(f"{name}: {error}")
            continue
        if method.control and suffix in method.suffixes:
            return method.from_bytes(data)
    failed = f"; methods that failed to load: {'; '.join(broken)}" if broken else ""
    raise BitstreamError(f"no method reads files that end in {suffix!r}{failed}")

"""Fast-2DGS-small: our weights of both networks, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from torch import nn

from splatbench.method import build_dataclass
from splatbench.model_files import load_model, save_model

from .gather import Convention
from .unet import AttributeNet, HeatNet, Shape

#: What the header of our own weights says they are.
FORMAT = "splatbench fast-2dgs-small 1"


class SmallModel(nn.Module):
    """Both networks.

    Attributes:
        heat: where Gaussians sit.
        attributes: what they look like; None before its phase of the training.
        convention: what positions and angles mean.
    """

    def __init__(self, heat: HeatNet, attributes: AttributeNet | None = None, convention: Convention = "exact") -> None:
        super().__init__()
        self.heat, self.attributes, self.convention = heat, attributes, convention


def save_small(path: Path, model: SmallModel, notes: dict[str, str] | None = None, half: bool = False) -> None:
    """Writes the weights (safetensors); the shapes of the networks are in its header.

    Args:
        notes: more lines for the header: data, recipe, seed.
        half: see `save_model`.
    """
    header = {"heat": json.dumps(asdict(model.heat.shape)), "convention": model.convention}
    if model.attributes is not None:
        shape = asdict(model.attributes.shape) | {"offset": model.attributes.outputs == 8}
        header["attributes"] = json.dumps(shape)
    save_model(path, FORMAT, model, {**header, **(notes or {})}, half)


def load_small(path: Path) -> SmallModel:
    """Reads what `save_small` wrote, strictly.

    Raises:
        MethodError: not such a file, damaged, or names and shapes do not fit what its header says.
    """
    return load_model(path, FORMAT, _build)


def _build(header: Mapping[str, str]) -> SmallModel:
    convention: Any = header["convention"]
    if convention not in get_args(Convention):
        raise ValueError(f"convention {convention!r} is none of {', '.join(get_args(Convention))}")
    attributes = None
    if "attributes" in header:
        described = json.loads(header["attributes"])
        offset = described.pop("offset")
        attributes = AttributeNet(_shape(described, "attributes"), bool(offset))
    return SmallModel(HeatNet(_shape(json.loads(header["heat"]), "heat")), attributes, convention)


def _shape(described: Mapping[str, Any], where: str) -> Shape:
    shape: Shape = build_dataclass(Shape, described, where=where)
    return shape

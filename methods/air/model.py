"""A network with its quantiser, and the file that keeps both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from splatbench.method import build_dataclass
from splatbench.model_files import load_model, save_model

from .network.small import SmallNetwork, SmallSettings
from .quantiser import Base, Codec, RangeKind

#: What the header of our own weights says they are.
FORMAT = "splatbench air-small 1"


class SmallModel(nn.Module):
    """AIR-small: its network, and the quantiser with learned ranges once it has been trained.

    Attributes:
        network: a `StageNetwork`.
        codec: None before the quantisation-aware phase.
    """

    def __init__(
        self, settings: SmallSettings | None = None, base: Base | None = None, kind: RangeKind = "adaptive"
    ) -> None:
        super().__init__()
        self.network = SmallNetwork(settings)
        self.codec = None if base is None else Codec(self.network.summary_size, base, kind)


def save_small(path: Path, model: SmallModel, notes: dict[str, str] | None = None) -> None:
    """Writes the weights (safetensors); shape of the network and ranges of the quantiser are in its header.

    Args:
        notes: more lines for the header: data, recipe, seed.
    """
    header = {"network": json.dumps(model.network.describe()), **(notes or {})}
    if model.codec is not None:
        header |= {"base": json.dumps(model.codec.base.as_dict()), "ranges": model.codec.kind}
    save_model(path, FORMAT, model, header)


def load_small(path: Path) -> SmallModel:
    """Reads what `save_small` wrote, strictly.

    Raises:
        MethodError: not such a file, damaged, or names and shapes do not fit what its header says.
    """

    def build(header: Mapping[str, str]) -> SmallModel:
        settings: Any = build_dataclass(SmallSettings, json.loads(header["network"]), where="network")
        base = Base.from_dict(json.loads(header["base"])) if "base" in header else None
        return SmallModel(settings, base, header.get("ranges", "adaptive"))  # type: ignore[arg-type]

    return load_model(path, FORMAT, build)

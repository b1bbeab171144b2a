"""The file of Instant-GI-small's weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splatbench.method import build_dataclass
from splatbench.model_files import load_model, save_model

from .network.small import SmallNet, SmallSettings

#: What the header of our own weights says they are.
FORMAT = "splatbench instant-gi-small 1"


def save_small(path: Path, net: SmallNet, notes: dict[str, str] | None = None) -> None:
    """Writes the weights (safetensors); the shape of the network is in its header.

    Args:
        notes: more lines for the header: data, recipe, seed.
    """
    save_model(path, FORMAT, net, {"network": json.dumps(net.describe()), **(notes or {})})


def load_small(path: Path) -> SmallNet:
    """Reads what `save_small` wrote, strictly.

    Raises:
        MethodError: not such a file, damaged, or names and shapes do not fit what its header says.
    """

    def build(header: Mapping[str, str]) -> SmallNet:
        settings: Any = build_dataclass(SmallSettings, json.loads(header["network"]), where="network")
        return SmallNet(settings)

    return load_model(path, FORMAT, build)

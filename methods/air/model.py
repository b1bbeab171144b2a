"""A network with its quantiser, and the file that keeps both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from splatbench.method import MethodError, build_dataclass

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
    header = {"format": FORMAT, "network": json.dumps(model.network.describe()), **(notes or {})}
    if model.codec is not None:
        header |= {"base": json.dumps(model.codec.base.as_dict()), "ranges": model.codec.kind}
    tensors: dict[str, Tensor] = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, metadata=header)


def load_small(path: Path) -> SmallModel:
    """Reads what `save_small` wrote, strictly.

    Raises:
        MethodError: not such a file, damaged, or names and shapes do not fit what its header says.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise MethodError(f"{path}: not a file of AIR-small weights, or damaged: {error}") from None
    if header.get("format") != FORMAT:
        raise MethodError(f"{path}: its header says {header.get('format')!r}, AIR-small's weights say {FORMAT!r}")
    try:
        settings: Any = build_dataclass(SmallSettings, json.loads(header["network"]), where=f"{path}: network")
        base = Base.from_dict(json.loads(header["base"])) if "base" in header else None
        model = SmallModel(settings, base, header.get("ranges", "adaptive"))  # type: ignore[arg-type]
    except (KeyError, ValueError) as error:
        raise MethodError(f"{path}: the header does not describe a network: {error}") from None
    if wrong := _differences(model.state_dict(), tensors):
        raise MethodError(f"{path}: the weights do not fit the network in the header: {'; '.join(wrong)}")
    model.load_state_dict(tensors)
    return model.eval()


def _differences(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    missing = [f"{name} is missing" for name in expected if name not in found]
    extra = [f"{name} is not known" for name in found if name not in expected]
    shapes = [
        f"{name} is {list(found[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    broken = [f"{name} holds NaN or infinity" for name, value in found.items() if not bool(value.isfinite().all())]
    return (missing + extra + shapes + broken)[:5]

"""Which file of weights a run uses, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splatbench.method import MethodError, WeightsMissing
from splatbench.weight_files import find_weights, fingerprint

from .config import Config
from .model import load_small
from .network.checkpoint import load_official
from .quantiser import Codec
from .stages import Prediction, StageNetwork

#: Weights that come with the method.
SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "air-small.safetensors"


@dataclass(frozen=True)
class Loaded:
    """What a run works with.

    Attributes:
        network: in evaluation mode, on the device.
        codec: the quantiser, on the CPU; it has the ranges that the settings ask for.
        note: which weights, for the record.
    """

    network: StageNetwork
    codec: Codec
    note: str


class _Autocast:
    """A network that computes in bfloat16."""

    def __init__(self, network: StageNetwork, context: Callable[[], AbstractContextManager[None]]) -> None:
        self.network, self.context = network, context
        self.patch, self.stages, self.least_side = network.patch, network.stages, network.least_side

    def predict(self, stage: int, residual: Tensor, target: Tensor, carry: Any) -> Prediction:
        with self.context():
            return self.network.predict(stage, residual, target, carry)


def load(config: Config, device: str) -> Loaded:
    """Reads the weights that the settings name.

    Raises:
        WeightsMissing: there is no such file; says where it was looked for.
        MethodError: the file is damaged or holds another network.
    """
    path = find(config)
    note = f"weights {path.name}, fingerprint {fingerprint(path)}"
    network: StageNetwork
    learned: Codec | None
    if config.preset == "official":
        net = load_official(path).to(device).eval()
        network, learned = net, net.codec
    else:
        model = load_small(path).to(device).eval()
        network, learned = model.network, model.codec
    codec = _codec(config, learned, path)
    if config.precision == "bfloat16":
        network = _Autocast(network, lambda: torch.autocast(torch.device(device).type, torch.bfloat16))
    return Loaded(network, codec, note)


def _codec(config: Config, learned: Codec | None, path: Path) -> Codec:
    """The quantiser with the ranges that the settings ask for; only those of each picture need no weights."""
    if config.ranges == "per_image" or not config.quantise:
        return Codec(1, kind="per_image")
    if learned is None or learned.kind != config.ranges:
        has = f"a quantiser with {learned.kind} ranges" if learned is not None else "no quantiser"
        raise MethodError(f"{path}: these weights have {has}; set `ranges: per_image`, or take weights that have one")
    return learned.cpu()


def find(config: Config) -> Path:
    """The file: as named, or in the folders of SPLATBENCH_WEIGHTS, or among those that come with the method.

    Raises:
        WeightsMissing: in none of them.
    """
    if not config.weights and config.preset == "official":
        raise WeightsMissing(
            "preset official needs the authors' weights: set `weights` to the file (ps_7.pt, ps_5.pt ..., "
            "in the folder that github.com/whoiszzj/AIR links to), or put it into a folder of SPLATBENCH_WEIGHTS"
        )
    return find_weights(config.weights or DEFAULT, SHIPPED)

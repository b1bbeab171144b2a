"""Which file of weights a run uses, and the network that comes out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from splatbench.weight_files import find_weights

from .config import Config
from .decode import Heads, Network

if TYPE_CHECKING:
    from .network.official import OfficialNet
    from .network.small import SmallNet

#: Weights that come with the method.
SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "instant-gi-small.safetensors"


def find(config: Config) -> Path:
    """The file of weights that the settings name.

    Raises:
        WeightsMissing: it is not there; says where it was looked for.
    """
    if config.preset == "small":
        return find_weights(config.weights or DEFAULT, SHIPPED)
    name = config.weights or f"epoch_best_ks_{config.block}.pth"
    return find_weights(
        name, SHIPPED, "preset official needs the authors' weights, in the folder that github.com/whoiszzj/Instant-GI "
        "links to: put them into a folder of SPLATBENCH_WEIGHTS, or set `weights` to the file",
    )  # fmt: skip


class _Bfloat16:
    """A network whose feature map is computed in bfloat16; what reads it stays float32."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.block, self.least_side = network.block, network.least_side
        self.density, self.sample = network.density, network.sample

    @property
    def heads(self) -> Heads:
        return self._network.heads

    def features(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16):
            return self._network.features(image).float()


def load(config: Config, device: str) -> Network:
    """The network of the settings, on the device, in evaluation mode.

    Raises:
        WeightsMissing: no such file.
        MethodError: the file is damaged or holds another network.
    """
    network = _read(config).to(device).eval()
    return _Bfloat16(network) if config.precision == "bfloat16" else network


def _read(config: Config) -> SmallNet | OfficialNet:
    path = find(config)
    if config.preset == "small":
        from .model import load_small

        return load_small(path)
    from .network.checkpoint import load_official

    return load_official(path, block=config.block, batch_statistics=config.normalises_by_picture)

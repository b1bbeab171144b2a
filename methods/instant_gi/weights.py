"""Which file of weights a run uses, and the network that comes out of it."""

from __future__ import annotations

from pathlib import Path

from splatbench.weight_files import find_weights

from .config import Config
from .decode import Network

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


def load(config: Config, device: str) -> Network:
    """The network of the settings, on the device, in evaluation mode.

    Raises:
        WeightsMissing: no such file.
        MethodError: the file is damaged or holds another network.
    """
    path = find(config)
    if config.preset == "small":
        from .model import load_small

        return load_small(path).to(device).eval()
    from .network.checkpoint import load_official

    network = load_official(path, block=config.block, batch_statistics=config.normalises_by_picture)
    return network.to(device).eval()

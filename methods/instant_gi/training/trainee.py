"""The networks that can be trained, with what differs between them: where the position probability lives, and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional

from ..decode import Network
from ..model import load_small, save_small
from ..network.checkpoint import load_official, save_official
from ..network.official import OfficialNet
from ..network.small import SmallNet
from .losses import pixel_weights
from .settings import Settings


class Trainee(Protocol):
    """A network in training.

    Attributes:
        module: every parameter.
        net: what decodes.
        weights_file: name of the file that it is saved in.
    """

    module: nn.Module
    net: Network
    weights_file: str

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups with names, for the optimiser."""

    def probability(self, features: Tensor) -> Tensor:
        """Position probabilities of B pictures where the network has them: of blocks, or of pixels."""

    def target(self, labels: Tensor) -> Tensor:
        """Labels [B, H, W] at the same places."""

    def pooled(self, label: Tensor) -> Tensor:
        """A label [H, W] as the dithering takes it."""

    def weights_of(self, probability: Tensor, size: tuple[int, int]) -> Tensor:
        """Weights of pixels [H, W] from the position probabilities of one picture."""

    def load(self, path: Path) -> None: ...

    def save(self, path: Path) -> None: ...


class SmallTrainee:
    """Instant-GI-small: one probability per block."""

    weights_file = "instant-gi-small.safetensors"

    def __init__(self, settings: Settings) -> None:
        self.module = self.net = SmallNet(settings.small())

    def groups(self) -> list[dict[str, Any]]:
        matrices = self.net.matrices()
        known = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in self.net.parameters() if id(parameter) not in known]
        return [{"name": "matrices", "params": matrices, "matrices": True}, {"name": "base", "params": others}]

    def probability(self, features: Tensor) -> Tensor:
        return self.net.densities(features)

    def target(self, labels: Tensor) -> Tensor:
        return blocks_of(labels, self.net.block)

    def pooled(self, label: Tensor) -> Tensor:
        return blocks_of(label, self.net.block)

    def weights_of(self, probability: Tensor, size: tuple[int, int]) -> Tensor:
        k = self.net.block
        spread = probability.repeat_interleave(k, 0).repeat_interleave(k, 1)
        return pixel_weights(spread[: size[0], : size[1]])

    def load(self, path: Path) -> None:
        found = load_small(path)
        wanted, given = self.net.describe(), found.describe()
        if other := [f"{name} {given[name]}, not {wanted[name]}" for name in wanted if given[name] != wanted[name]]:
            raise ValueError(f"{path} holds a network with {', '.join(other)}; put that into the settings")
        self.net.load_state_dict(found.state_dict())

    def save(self, path: Path) -> None:
        save_small(path, self.net)


class OfficialTrainee:
    """The published network: one probability per pixel."""

    weights_file = "instant-gi.pth"

    def __init__(self, settings: Settings) -> None:
        self.module = self.net = OfficialNet(
            settings.widths, settings.blocks, settings.block, batch_statistics=False, gamma=settings.gamma
        )

    def groups(self) -> list[dict[str, Any]]:
        return [{"name": "base", "params": list(self.net.parameters())}]

    def probability(self, features: Tensor) -> Tensor:
        return self.net.probability(features)

    def target(self, labels: Tensor) -> Tensor:
        return labels

    def pooled(self, label: Tensor) -> Tensor:
        return blocks_of(label, self.net.block)

    def weights_of(self, probability: Tensor, size: tuple[int, int]) -> Tensor:
        return pixel_weights(probability)

    def load(self, path: Path) -> None:
        found = load_official(path, self.net.block)
        self.net.load_state_dict(found.state_dict())

    def save(self, path: Path) -> None:
        save_official(path, self.net)


def make_trainee(settings: Settings) -> Trainee:
    """The network that the settings name."""
    return (SmallTrainee if settings.network == "small" else OfficialTrainee)(settings)


def blocks_of(label: Tensor, block: int) -> Tensor:
    """Largest value in each block of k x k of [..., H, W]; the picture is continued by its edge to whole blocks."""
    height, width = label.shape[-2:]
    flat = label.reshape(-1, 1, height, width)
    padded = functional.pad(flat, (0, -width % block, 0, -height % block), mode="replicate")
    pooled = functional.max_pool2d(padded, block)
    return pooled.reshape(*label.shape[:-2], *pooled.shape[-2:])

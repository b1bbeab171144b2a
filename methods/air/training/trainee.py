"""What is trained: AIR-small or the published network, with the same few things that a phase needs of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from ..model import SmallModel, load_small, save_small
from ..network.airnet import QUANTISER, AirNet
from ..network.checkpoint import load_dinov3, read_checkpoint, save, transfer
from ..network.small import SmallNetwork
from ..patches import Values
from ..quantiser import PUBLISHED, Base, Codec
from ..stages import StageNetwork
from .settings import Settings


class Trainee(Protocol):
    """A network in training.

    Attributes:
        module: every parameter.
        network: the chain of stages.
        codec: its quantiser, None in phases without one.
        weights_file: name of the file that it is saved in.
        has_ranges: whether the quantiser's ranges were found in the weights that were loaded.
    """

    module: nn.Module
    network: StageNetwork
    codec: Codec | None
    weights_file: str
    has_ranges: bool

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups with names, for the optimiser."""
        ...

    def activate(self, stage: int) -> list[nn.Parameter]:
        """Starts a stage as a copy of the one before; the parameters that were replaced."""
        ...

    def load(self, path: Path) -> list[str]:
        """Takes over weights of an earlier phase; what stays new is named in the notes."""
        ...

    def save(self, path: Path, notes: dict[str, str]) -> None: ...


class SmallTrainee:
    """AIR-small."""

    weights_file = "air-small.safetensors"
    has_ranges = False

    def __init__(self, settings: Settings, quantised: bool) -> None:
        start = replace(PUBLISHED, bits=settings.bits) if quantised else None
        self.module = SmallModel(settings.small(), start, settings.ranges)
        self.network, self.codec = self.module.network, self.module.codec
        if self.codec is not None and settings.ranges == "adaptive":
            for group in self.codec.groups:  # no shift at first: random ones are wider than the range of a chroma
                nn.init.zeros_(group.offset_net.weight)
                nn.init.zeros_(group.offset_net.bias)

    def groups(self) -> list[dict[str, Any]]:
        matrices = self.network.matrices()
        known = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in self.network.parameters() if id(parameter) not in known]
        groups = [{"name": "matrices", "params": matrices, "matrices": True}, {"name": "base", "params": others}]
        ranges = list(self.codec.parameters()) if self.codec is not None else []
        return [*groups, {"name": "quantiser", "params": ranges}] if ranges else groups

    def activate(self, stage: int) -> list[nn.Parameter]:
        return self.network.activate_stage(stage)

    def load(self, path: Path) -> list[str]:
        found = load_small(path)
        notes = self._load_network(found.network, path)
        if self.codec is None:
            return notes
        if found.codec is None or (found.codec.kind, found.codec.base.bits) != (self.codec.kind, self.codec.base.bits):
            return [*notes, "the quantiser starts anew"]
        self.codec.rebase(found.codec.base)
        self.codec.load_state_dict(found.codec.state_dict())
        self.has_ranges = True
        return notes

    def _load_network(self, found: SmallNetwork, path: Path) -> list[str]:
        """With another patch size the layers that see its pixels start anew."""
        wanted, given = self.network.describe(), found.describe()
        other = [f"{name} {given[name]}, not {wanted[name]}" for name in wanted if given[name] != wanted[name]]
        if [name for name in wanted if given[name] != wanted[name] and name != "patch"]:
            raise ValueError(f"{path} holds a network with {', '.join(other)}; put that into the settings")
        own, source = self.network.state_dict(), found.state_dict()
        anew = [name for name, value in own.items() if source[name].shape != value.shape]
        self.network.load_state_dict({**source, **{name: own[name] for name in anew}})
        return [f"{name} starts anew" for name in anew]

    def save(self, path: Path, notes: dict[str, str]) -> None:
        save_small(path, self.module, notes)


class OfficialTrainee:
    """The published network."""

    weights_file = "air.pt"
    has_ranges = False

    def __init__(self, settings: Settings, quantised: bool) -> None:
        self.module = AirNet(settings.patch, settings.stages, quantised, checkpointing=settings.checkpointing)
        if settings.dinov3:
            load_dinov3(_weights(settings.dinov3), self.module)
        self.network, self.codec = self.module, self.module.codec

    def groups(self) -> list[dict[str, Any]]:
        # The rates are the training file's.
        groups = self.module.parameter_groups(0.0, 0.0, 0.0, 0.0)
        return [{name: value for name, value in group.items() if name != "lr"} for group in groups]

    def activate(self, stage: int) -> list[nn.Parameter]:
        return self.module.activate_stage(stage)

    def load(self, path: Path) -> list[str]:
        source = read_checkpoint(path).state
        taken = transfer(source, self.module)
        # The released constants are the same in all of its phases.
        self.has_ranges = any(name.startswith(QUANTISER) for name in source)
        return [f"{name} starts anew" for name in taken.reinitialised]

    def save(self, path: Path, notes: dict[str, str]) -> None:
        save(self.module, path)


def make_trainee(settings: Settings, quantised: bool) -> Trainee:
    """The network that the settings name."""
    return (SmallTrainee if settings.network == "small" else OfficialTrainee)(settings, quantised)


def first_ranges(settings: Settings, values: Values) -> Base:
    """Ranges to start quantising from: constants for AIR; for AIR-small as the settings say, or percentiles of its
    predictions."""
    if settings.network == "official":
        return PUBLISHED
    if settings.spans is None:
        return Base.estimate(values, bits=settings.bits)
    return Base.spanning(*zip(*settings.spans, strict=True), settings.bits)


def _weights(name: str) -> Path:
    from ..config import Config
    from ..weights import find

    return find(Config(weights=name))

"""AIR-small: our network for the same chain of stages, small enough to train on two CPU cores.

One Gaussian per patch is a local decision, so the network works at the resolution of the patches: their pixels become
channels (space to depth), and 3x3 convolutions see the neighbours. It is not the network of the AIR paper and shares
nothing with it but the stages around it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from splatbench.layers import Convolution, ResidualBlock

from ..patches import RAW, PatchGrid
from ..stages import Prediction

#: Residuals shrink from stage to stage; their channels are scaled to about the same size. Further stages take the last.
_GAINS = (1.0, 4.0, 6.0, 8.0)


@dataclass(frozen=True)
class SmallSettings:
    """The shape of the network. All values are ours.

    Attributes:
        patch: p, pixels.
        stages: how many.
        width: channels.
        blocks: residual blocks per stage, of two 3x3 convolutions each.
        shared: one head for all stages, told apart by an embedding, instead of one head per stage.
        sees_target: the head gets the image beside the residual.
        sees_features: the head gets the features of the stage before.

    Raises:
        ValueError: a number below 1.
    """

    patch: int = 7
    stages: int = 4
    width: int = 96
    blocks: int = 3
    shared: bool = False
    sees_target: bool = False
    sees_features: bool = False

    def __post_init__(self) -> None:
        for name in ("patch", "stages", "width", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"AIR-small: {name} must be at least 1, got {getattr(self, name)}")


class _Head(nn.Module):
    """From the pixels of the patches to raw vectors and features, [B, 8, rows, columns] and [B, width, rows, columns].

    `output` starts near zero: a Gaussian in the middle of its patch, with no colour.
    """

    def __init__(self, settings: SmallSettings, stage: int) -> None:
        super().__init__()
        pixels = 3 * settings.patch**2
        carried = settings.width if settings.sees_features and (stage or settings.shared) else 0
        self.input = Convolution(pixels * (1 + settings.sees_target) + carried, settings.width, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(settings.width) for _ in range(settings.blocks)))
        self.output = nn.Conv2d(settings.width, RAW, 1)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.input(x)
        if embedding is not None:
            features = features + embedding[:, None, None]
        features = functional.relu(self.blocks(features))
        with torch.autocast(x.device.type, enabled=False):  # positions need more than the 8 bits of bfloat16
            return self.output(features.float()), features


class SmallNetwork(nn.Module):
    """A `StageNetwork`."""

    least_side = 1

    def __init__(self, settings: SmallSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or SmallSettings()
        self.patch, self.stages, self.summary_size = settings.patch, settings.stages, settings.width
        heads = 1 if settings.shared else settings.stages
        self.heads = nn.ModuleList(_Head(settings, stage) for stage in range(heads))
        self.embedding = nn.Parameter(torch.zeros(settings.stages, settings.width)) if settings.shared else None

    def predict(self, stage: int, residual: Tensor, target: Tensor, carry: Tensor | None) -> Prediction:
        """See `StageNetwork.predict`; `summary` is the mean of the features over the picture, [B, width]."""
        grid = PatchGrid(int(target.shape[2]), int(target.shape[3]), self.patch)
        gain = _GAINS[min(stage, len(_GAINS) - 1)]
        seen = [(residual - 0.5 if stage == 0 else residual) * gain]
        if self.settings.sees_target:
            seen.append(target - 0.5)
        inputs = [functional.pixel_unshuffle(grid.pad(picture), self.patch) for picture in seen]
        if self.settings.sees_features and (stage or self.settings.shared):
            inputs.append(residual.new_zeros(len(target), self.settings.width, grid.rows, grid.columns)
                          if carry is None else carry.to(residual.dtype))  # fmt: skip
        x = torch.cat(inputs, 1).contiguous(memory_format=torch.channels_last)
        shared = self.embedding is not None
        raw, features = self.heads[0 if shared else stage](x, self.embedding[stage] if shared else None)
        raw = raw.permute(0, 2, 3, 1).reshape(len(target), len(grid), RAW)
        return Prediction(raw, features.float().mean((2, 3)), features if self.settings.sees_features else None)

    def matrices(self) -> list[nn.Parameter]:
        """The weights of all convolutions but the last of each head."""
        return [module.weight for module in self.modules() if isinstance(module, Convolution)]

    def describe(self) -> dict[str, Any]:
        """Its settings as plain values, for the file of its weights."""
        return asdict(self.settings)

    @torch.no_grad()
    def activate_stage(self, stage: int) -> list[nn.Parameter]:
        """Starts a stage as a copy of the one before (as POD does), where heads are separate and of the same shape.

        Returns:
            The parameters that were replaced.
        """
        if self.settings.shared:
            return []
        source, copy = self.heads[stage - 1].state_dict(), self.heads[stage].state_dict()
        same = {name: value for name, value in source.items() if copy[name].shape == value.shape}
        self.heads[stage].load_state_dict({**copy, **same})
        return [value for name, value in self.heads[stage].named_parameters() if name in same]

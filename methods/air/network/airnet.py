"""AIR's network: the heads of all stages, and the quantiser that reads the last one's CLS token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..quantiser import Codec
from ..stages import Prediction
from .head import Head, HeadOutput, HeadShape
from .vit import PATCH

#: Marks of parameters in their names: of the transformers, of the last patch embeddings, of the quantiser.
_BACKBONE, _PATCH_EMBEDDING, QUANTISER = ".backbone.", ".patch_embedding.", "feed_forward_gaussian_codec."


class AirNet(nn.Module):
    """A `StageNetwork`: S heads of one architecture that share nothing (Z. Zeng et al., AIR, 2026, Sec. 3).

    Names and shapes of parameters are those of the released weights.

    Args:
        patch: side p of a patch in pixels: 7, also 5, 6 and 14 [P].
        heads: stages.
        quantise: whether there is a quantiser with learned ranges.
        shape: sizes of a head; the published ones by default (98 million parameters each).
        checkpointing: while training, keep fewer activations and compute them again for the gradient.

    Raises:
        ValueError: no head, or a patch of no pixels.
    """

    def __init__(
        self,
        patch: int = 7,
        heads: int = 4,
        quantise: bool = True,
        shape: HeadShape | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"AirNet: needs at least one head, got {heads}")
        self.patch, self.shape = patch, shape or HeadShape()
        self.gaussian_heads = nn.ModuleList(Head(patch, self.shape, checkpointing) for _ in range(heads))
        if quantise:
            self.feed_forward_gaussian_codec = Codec(self.shape.encoder.width)

    @classmethod
    def seeded(cls, seed: int, **settings: Any) -> AirNet:
        """With random weights that depend on the seed alone, made on the CPU; `settings` as for the class."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(**settings)

    @property
    def stages(self) -> int:
        """How many."""
        return len(self.gaussian_heads)

    @property
    def least_side(self) -> int:
        """Of pictures, in pixels: one patch of the encoder."""
        return PATCH

    @property
    def codec(self) -> Codec | None:
        """The quantiser, or None where there is none."""
        return getattr(self, "feed_forward_gaussian_codec", None)

    def forward(self, residual: Tensor, stage: int) -> HeadOutput:
        """What the head of `stage` (from 0) proposes for a residual; see `Head.forward`."""
        return self.gaussian_heads[stage](residual)

    def predict(self, stage: int, residual: Tensor, target: Tensor, carry: None = None) -> Prediction:
        """See `StageNetwork.predict`: the head looks at the residual alone; `summary` is its CLS token."""
        return Prediction(*self(residual, stage))

    @torch.no_grad()
    def activate_stage(self, stage: int) -> list[nn.Parameter]:
        """Starts training a stage (from 1): its head becomes a copy of the one before (POD, Sec. 3.4).

        Returns:
            The parameters that were overwritten.

        Raises:
            ValueError: there is no such stage, or none before it.
        """
        if not 1 <= stage < self.stages:
            raise ValueError(f"AirNet.activate_stage: stage must be in 1..{self.stages - 1}, got {stage}")
        head = self.gaussian_heads[stage]
        head.load_state_dict(self.gaussian_heads[stage - 1].state_dict())
        return list(head.parameters())

    def parameter_groups(
        self,
        lr: float,
        backbone_lr: float,
        quantiser_lr: float | None = None,
        patch_embedding_lr: float | None = None,
    ) -> list[dict[str, Any]]:
        """Groups for an optimiser, each with its name, parameters and learning rate; every parameter is in one.

        Args:
            lr: of the group "base": everything that is in no other group.
            backbone_lr: of the transformers.
            quantiser_lr, patch_embedding_lr: of these; None leaves them in the base group.
        """
        rates = {"base": lr, "backbone": backbone_lr}
        if quantiser_lr is not None:
            rates["quantiser"] = quantiser_lr
        if patch_embedding_lr is not None:
            rates["patch_embedding"] = patch_embedding_lr
        members: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
        for name, parameter in self.named_parameters():
            group = _group(name)
            members[group if group in members else "base"].append(parameter)
        return [{"name": name, "params": members[name], "lr": rate} for name, rate in rates.items() if members[name]]


def _group(name: str) -> str:
    if _BACKBONE in name:
        return "backbone"
    if _PATCH_EMBEDDING in name:
        return "patch_embedding"
    return "quantiser" if name.startswith(QUANTISER) else "base"

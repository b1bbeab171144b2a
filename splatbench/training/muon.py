"""Muon for the matrices of a network and AdamW for everything else, as one optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonAdamW(Optimizer):
    """Groups with `matrices: True` take steps of Muon (K. Jordan et al., 2024: momentum made orthogonal), the others of
    AdamW. Muon's steps are scaled to the root mean square of AdamW's, so one learning rate serves both.

    Both are PyTorch's; this class keeps their groups and their state in one place.

    Args:
        groups: with `params`, `lr`, and where they are matrices `matrices`.
        momentum: of Muon.
        betas, eps: of AdamW.
        weight_decay: of both.

    Raises:
        ValueError: no group of one of the two kinds, or a parameter that is no matrix where one is promised.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        fused: bool = True,
    ) -> None:
        matrices = [group for group in groups if group.get("matrices")]
        others = [group for group in groups if not group.get("matrices")]
        if not matrices or not others:
            raise ValueError("muon needs a network with matrices and with other parameters, in groups of their own")
        self._muon = Muon(matrices, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._adamw = AdamW(others, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        # The same objects in all three: a schedule or a checkpoint changes what the inner ones work with.
        self._muon.param_groups = self.param_groups[: len(matrices)]
        self._adamw.param_groups = self.param_groups[len(matrices) :]
        self._muon.state = self._adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of both.

        Raises:
            ValueError: a closure; neither of the two loss functions is evaluated again.
        """
        if closure is not None:
            raise ValueError("MuonAdamW takes no closure")
        self._muon.step()
        self._adamw.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` of such an optimiser gave."""
        super().load_state_dict(state_dict)
        count = len(self._muon.param_groups)
        self._muon.param_groups, self._adamw.param_groups = self.param_groups[:count], self.param_groups[count:]
        self._muon.state = self._adamw.state = self.state

"""`PictureLoss`: the loss of a set of Gaussians against one image, on whatever device they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatbench.losses import Objective
from splatbench.render import TopkRule, rasterize_sum, rasterize_topk, render_loss


class PictureLoss:
    """Loss and gradients of Gaussians against an image: strip by strip on the CPU, so that no picture is ever held
    whole; as a whole picture on other devices.

    Args:
        target: [H, W, C] uint8, or float32 in [0, 1], on the device of the Gaussians.
        objective: the loss.
        topk: the rule of blend `topk`; None for blend `sum`.
        compat: flags of blend `sum` (those of `topk` are in its rule).
        rows: height of a strip; see `render_loss`.
    """

    def __init__(
        self,
        target: Tensor,
        objective: Objective,
        topk: TopkRule | None = None,
        compat: frozenset[str] = frozenset(),
        rows: int | None = None,
    ) -> None:
        self._loss = objective.against(target)
        self._objective, self._target = objective, target
        self._topk, self._compat, self._rows = topk, compat, rows
        self._sums = np.full(3, np.nan)
        self._picture: Tensor | None = None

    def __call__(self, means: Tensor, covariance: Tensor, colors: Tensor) -> Tensor:
        """The loss, a scalar with gradients; arguments as for `rasterize_sum`."""
        if means.device.type == "cpu":
            blend: dict[str, Any] = {"topk": self._topk, "compat": self._compat}
            return render_loss(means, covariance, colors, self._loss, rows=self._rows, sums=self._sums, **blend)
        size = (int(self._target.shape[0]), int(self._target.shape[1]))
        if self._topk is not None:
            picture = rasterize_topk(means, covariance, colors, size, **asdict(self._topk))
        else:
            picture = rasterize_sum(means, covariance, colors, size, compat=self._compat)
        self._picture = picture.detach()
        return self._loss(picture)

    def mse(self) -> float:
        """Mean squared error of the last picture, clamped if the objective clamps. Waits for the device."""
        if self._picture is None:
            return float(self._sums[1]) / self._target.numel()
        picture = self._picture.clamp(0, 1) if self._objective.clamp else self._picture
        reference = self._target.to(picture.dtype) / (255 if self._target.dtype == torch.uint8 else 1)
        return float((picture - reference).square().mean())

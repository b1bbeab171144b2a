"""The training of Instant-GI's network as a task of the trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splatbench.fitting import psnr, published_gradient
from splatbench.render import covariance_from_scales, rasterize_sum
from splatbench.training.errors import TrainingError
from splatbench.training.losses import log_mse
from splatbench.training.task import Task

from ..decode import Predicted, decode
from ..dither import dither, points_of
from ..triangulation import triangulate
from .losses import focal, short_scales, ssim_map
from .settings import Settings
from .trainee import make_trainee


class NetworkTask(Task):
    """Position probabilities against labels, pictures against images (released code).

    A batch is pictures with a label as their fourth channel: the target of the position probability, [B, 4, H, W].
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.trainee = make_trainee(settings)
        self.model: nn.Module = self.trainee.module
        self.net = self.trainee.net

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self.trainee.groups()

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        if batch.shape[1] != 4:
            raise TrainingError("Instant-GI learns from pictures with labels: set `data.labels` (docs/instant_gi.md)")
        images, labels = batch[:, :3], batch[:, 3]
        size, s = (int(images.shape[2]), int(images.shape[3])), self.settings
        features = self.net.features(images)
        probability = self.trainee.probability(features)
        total = s.position * focal(probability, self.trainee.target(labels))
        log = {"position": total.detach()}
        low, high = (math.log(factor) for factor in s.density)
        count = 0
        for b in range(len(batch)):
            image, own = images[b : b + 1], features[b : b + 1]
            density = self.trainee.pooled(labels[b]) if step < s.teacher else self.net.density(own, size).detach()
            factor = math.exp(torch.empty(()).uniform_(low, high).item())
            predicted = self._decoded(own, image, density * factor)
            count += len(predicted.means)
            part = self._of(predicted, image, self.trainee.weights_of(probability[b], size))
            total = total + sum(part.values()) / len(batch)
            for name, value in part.items():
                log[name] = log.get(name, torch.zeros(())) + value.detach() / len(batch)
        log["per_block"] = torch.tensor(count / (labels.numel() / self.net.block**2))
        return total, log

    def _of(self, predicted: Predicted, image: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """The weighted losses of one picture."""
        s, picture = self.settings, self.draw(predicted, (int(image.shape[2]), int(image.shape[3])))
        if not s.sparse_weight:
            weights = torch.ones_like(weights)
        parts = {"scale": s.scale * short_scales(predicted.scales, s.least_scale)}
        if s.mse:
            parts["mse"] = s.mse * (weights * (picture - image).square()).mean()
        if s.ssim:
            parts["ssim"] = s.ssim * (weights * (1 - ssim_map(picture, image))).mean()
        if s.log_mse:
            parts["log_mse"] = s.log_mse * log_mse(picture, image)
        return parts

    def _decoded(self, features: Tensor, image: Tensor, density: Tensor) -> Predicted:
        size = (int(image.shape[2]), int(image.shape[3]))
        cells = dither(density.clamp(max=1).float().cpu().numpy())
        return decode(self.net, features, image, triangulate(points_of(cells, self.net.block, size), size))

    def draw(self, predicted: Predicted, size: tuple[int, int]) -> Tensor:
        """[1, 3, H, W] float32, not clamped."""
        covariance = covariance_from_scales(predicted.scales.float(), predicted.angles.float())
        if self.settings.gradient == "published":
            covariance = published_gradient(covariance, offdiagonal=1.0)
        means, colors = predicted.pixels(size).float(), predicted.colors.float().contiguous()
        return rasterize_sum(means, covariance, colors, size, compat=self.settings.compat).permute(2, 0, 1)[None]

    @torch.no_grad()
    def validate(self, images: Sequence[np.ndarray]) -> dict[str, float]:
        """Mean PSNR in dB of the network's own pictures, clamped, and the mean number of Gaussians per block."""
        sums = {"psnr": 0.0, "per_block": 0.0}
        device = next(self.model.parameters()).device
        for image in images:
            target = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255
            size = (int(target.shape[2]), int(target.shape[3]))
            features = self.net.features(target)
            predicted = self._decoded(features, target, self.net.density(features, size))
            error = float((self.draw(predicted, size).clamp(0, 1) - target).square().mean())
            sums["psnr"] += psnr(error) / len(images)
            sums["per_block"] += len(predicted.means) * self.net.block**2 / (size[0] * size[1]) / len(images)
        return sums

    def initialise(self, path: Path) -> list[str]:
        source = path / self.trainee.weights_file if path.is_dir() else path
        try:
            self.trainee.load(source)
        except ValueError as error:
            raise TrainingError(f"init: {error}") from None
        return []

    def export(self, folder: Path) -> None:
        self.trainee.save(folder / self.trainee.weights_file)

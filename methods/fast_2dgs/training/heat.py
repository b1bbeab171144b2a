"""Phase 1: where Gaussians go when they are fitted is where the network should put them (released code)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from splatbench.fitting import PictureLoss, gradient_weights
from splatbench.losses import Objective
from splatbench.training.errors import TrainingError
from splatbench.training.task import Task

from ..gather import Convention, Parameters, pixel_positions
from ..model import SmallModel, save_small
from ..unet import HeatNet
from .drawing import count_on, counts_of, drawn_pixels, random_count, random_way
from .settings import Settings
from .weights import WEIGHTS_FILE, read

#: Pixels that the blur of a label reaches to each side [C]: 51 x 51 in all.
_REACH = 25
_PRIOR_SIGMA = 1.5  # px


class HeatTask(Task):
    """Labels are made on the fly, from the network's own proposal."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = HeatNet(settings.shape())

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"name": "base", "params": list(self.model.parameters())}]

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        size, equivalent = (int(batch.shape[2]), int(batch.shape[3])), random_count(self.settings)
        counts = counts_of(equivalent, batch)
        with torch.no_grad():
            proposal = self.model(batch, counts)[:, 0]
        labels = torch.stack([
            self.label(image, heat, count_on(equivalent, size), step)
            for image, heat in zip(batch, proposal, strict=True)
        ])  # fmt: skip
        heat = self.model(batch, counts)[:, 0]
        error = functional.mse_loss(heat, labels)
        # Of a network that knows no more than the mean of each label.
        flat = (labels - labels.mean((1, 2), keepdim=True)).square().mean()
        return error, {"mse": error.detach(), "of_constant": error.detach() / flat}

    def label(self, image: Tensor, heat: Tensor, count: int, step: int) -> Tensor:
        """[H, W] float32 in [0, 1] for a picture [3, H, W] and the network's heat [H, W]."""
        pixels = self._proposed(image, heat, count, step)
        positions = fitted_positions(image, pixels, self.settings)
        return blurred_impulses(positions, (int(image.shape[1]), int(image.shape[2])), self.settings)

    def _proposed(self, image: Tensor, heat: Tensor, count: int, step: int) -> Tensor:
        """Flat indices of the pixels that a label's fit begins at."""
        s = self.settings
        share = s.prior * max(0.0, 1 - step / s.prior_steps)
        return drawn_pixels(prior(image) if torch.rand(()).item() < share else heat, count, random_way(s))

    @torch.no_grad()
    def validate(self, images: Sequence[np.ndarray]) -> dict[str, float]:
        """How near heat comes to the labels: mean squared error, and its share of that of each label's mean."""
        sums, device = {"mse": 0.0, "of_constant": 0.0}, next(self.model.parameters()).device
        equivalent = float(sum(self.settings.counts) / 2)
        for number, image in enumerate(images):
            torch.manual_seed(number)  # the same draws every time
            picture = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1).float() / 255
            size = (int(picture.shape[1]), int(picture.shape[2]))
            heat = self.model(picture[None], counts_of(equivalent, picture[None]))[0, 0]
            label = self.label(picture, heat, count_on(equivalent, size), 1 << 60)
            error = functional.mse_loss(heat, label)
            sums["mse"] += float(error) / len(images)
            sums["of_constant"] += float(error / (label - label.mean()).square().mean()) / len(images)
        return sums

    def initialise(self, path: Path) -> list[str]:
        found = read(path)
        if found.heat.shape != self.model.shape:
            raise TrainingError(f"init: {path} holds a network of {found.heat.shape}; put that into the settings")
        self.model.load_state_dict(found.heat.state_dict())
        return []

    def export(self, folder: Path) -> None:
        save_small(folder / WEIGHTS_FILE, SmallModel(self.model, None, self.settings.convention), {"phase": "heat"})


def prior(image: Tensor) -> Tensor:
    """A first guess [H, W] for a picture [3, H, W]: square roots of its gradient's magnitude, smoothed (ours)."""
    pixels = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    smooth = ndimage.gaussian_filter(gradient_weights(pixels, 0.5), _PRIOR_SIGMA)
    return torch.from_numpy(smooth).to(image.device)


def fitted_positions(image: Tensor, pixels: Tensor, settings: Settings) -> Tensor:
    """Where Gaussians that begin at these pixels, with all else uniform in [0, 1), are after a short fit.

    Args:
        image: [3, H, W] float32 in [0, 1].
        pixels: int64 [K], flat indices.

    Returns:
        [K, 2] as in `gather.Parameters`.
    """
    size, n = (int(image.shape[1]), int(image.shape[2])), len(pixels)
    start = Parameters(
        pixel_positions(pixels, size, settings.convention),
        *(torch.rand(n, columns, device=image.device) for columns in (2, 3)),
        torch.rand(n, device=image.device),
    )
    blending = settings.blending()
    loss = PictureLoss(
        image.permute(1, 2, 0).contiguous(), Objective(l1=settings.l1, l2=settings.l2), topk=blending.rule
    )
    with torch.enable_grad(), torch.autocast(image.device.type, enabled=False):
        p = Parameters(*(value.requires_grad_(True) for value in start))
        rate = settings.fit_rate if settings.position_rate is None else settings.position_rate
        groups = [{"params": [p.positions], "lr": rate}, {"params": list(p[1:]), "lr": settings.fit_rate}]
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        for _ in range(settings.fit_steps):
            optimiser.zero_grad(set_to_none=True)
            loss(*blending.activate(p, size)).backward()
            optimiser.step()
    return p.positions.detach()


def pixels_at(positions: Tensor, size: tuple[int, int], convention: Convention) -> Tensor:
    """int64 [K] flat indices of the pixels that positions [K, 2] stand for; those outside count for the border.

    Under "published" that is the truncated x (W - 1) of the released code.
    """
    sides = positions.new_tensor([size[1], size[0]])
    if convention == "published":
        at = (positions - 0.5 / sides).clamp(0, 1) * (sides - 1)
    else:
        at = positions * sides
    at = torch.minimum(at.long().clamp_min(0), sides.long() - 1)
    return at[:, 1] * size[1] + at[:, 0]


def blurred_impulses(positions: Tensor, size: tuple[int, int], settings: Settings) -> Tensor:
    """1 at the pixels of positions [K, 2], 0 elsewhere, blurred by a Gaussian, divided by the largest value; [H, W]."""
    impulses = torch.zeros(size[0] * size[1], device=positions.device)
    impulses[pixels_at(positions, size, settings.convention)] = 1.0
    at = torch.arange(-_REACH, _REACH + 1, device=positions.device)
    window = torch.exp(-at.square() / (2 * settings.blur**2))
    window = (window / window.sum()).reshape(1, 1, 1, -1)
    with torch.autocast(positions.device.type, enabled=False):
        rows = functional.conv2d(impulses.reshape(1, 1, *size), window, padding=(0, _REACH))
        label = functional.conv2d(rows, window.transpose(2, 3), padding=(_REACH, 0))[0, 0]
    return label / (label.max() + 1e-6)

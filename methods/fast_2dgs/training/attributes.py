"""Phase 2: what Gaussians at drawn pixels should look like, by the picture that they give (released code)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splatbench.fitting import psnr
from splatbench.losses import Objective
from splatbench.render import rasterize_topk
from splatbench.training.errors import TrainingError
from splatbench.training.losses import log_mse
from splatbench.training.task import Task

from ..gather import Convention, gather
from ..model import SmallModel, save_small
from ..sampling import Sampling
from ..unet import AttributeNet, HeatNet, Maps
from .drawing import count_on, counts_of, drawn_pixels, random_count, random_way
from .settings import Settings
from .weights import WEIGHTS_FILE, read


class Pair(SmallModel):
    """Both networks; that of the heat map stays as it is.

    Args:
        heat: its weights are not trained.
    """

    attributes: AttributeNet

    def __init__(self, heat: HeatNet, attributes: AttributeNet, convention: Convention) -> None:
        super().__init__(heat, attributes, convention)
        self.heat.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Pair:
        super().train(mode)
        self.heat.eval()
        return self


class AttributeTask(Task):
    """Only drawn pixels get a gradient."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if not settings.heat:
            raise TrainingError("Fast-2DGS, phase attributes: `settings.heat` names what the phase heat exported")
        attributes = AttributeNet(settings.shape(), settings.offset)
        found = read(Path(settings.heat))
        if found.convention != settings.convention:
            raise TrainingError(
                f"Fast-2DGS: {settings.heat} was trained for convention {found.convention!r}, the settings say "
                f"{settings.convention!r}; both networks need the same"
            )
        self.model = Pair(found.heat, attributes, settings.convention)
        self.blending = settings.blending()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"name": "base", "params": list(self.model.attributes.parameters())}]

    def begin(self, step: int) -> Sequence[nn.Parameter]:
        """Frozen norms: their statistics are means over the first steps (`settle`), and do not change after that."""
        if self.settings.norms == "frozen":
            for norm in self.norms():
                norm.momentum = None  # PyTorch: the mean of all batches since the reset
                norm.train(step < self.settings.settle)
                if step == 0:
                    norm.reset_running_stats()
        return ()

    def norms(self) -> list[nn.BatchNorm2d]:
        """Those of the network that learns."""
        return [module for module in self.model.attributes.modules() if isinstance(module, nn.BatchNorm2d)]

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        equivalent, how = random_count(self.settings), random_way(self.settings)
        heat, maps = self._maps(batch, equivalent)
        total, mse = batch.new_zeros(()), 0.0
        for b, image in enumerate(batch):
            picture = self._drawn(heat[b], maps, b, equivalent, how)
            total = total + self._error(picture, image) / len(batch)
            mse += float((picture.detach() - image).square().mean()) / len(batch)
        return total, {"psnr": psnr(mse)}

    def _maps(self, batch: Tensor, equivalent: float) -> tuple[Tensor, Maps]:
        counts = counts_of(equivalent, batch)
        with torch.no_grad():
            heat = self.model.heat(batch, counts)[:, 0]
        return heat, self.model.attributes(batch, counts)

    def _drawn(self, heat: Tensor, maps: Maps, b: int, equivalent: float, how: Sampling) -> Tensor:
        """[3, H, W] float32, not clamped."""
        size = (int(heat.shape[0]), int(heat.shape[1]))
        pixels = drawn_pixels(heat, count_on(equivalent, size), how)
        means, covariance, colors = self.blending.activate(gather(maps, pixels, self.settings.convention, b), size)
        rule = self.blending.rule
        picture = rasterize_topk(
            means.float(), covariance, colors.float().contiguous(), size,
            k=rule.k, epsilon=rule.epsilon, min_response=rule.min_response, compat=rule.compat,
        )  # fmt: skip
        return picture.permute(2, 0, 1)

    def _error(self, picture: Tensor, image: Tensor) -> Tensor:
        s = self.settings
        total = picture.new_zeros(())
        if s.log_mse:
            total = total + s.log_mse * log_mse(picture[None], image[None])
        if s.l1 or s.l2:
            drawn, wanted = (x.permute(1, 2, 0).contiguous() for x in (picture, image))
            total = total + Objective(l1=s.l1, l2=s.l2)(drawn, wanted)
        return total

    @torch.no_grad()
    def validate(self, images: Sequence[np.ndarray]) -> dict[str, float]:
        """Mean PSNR in dB of the networks' pictures, clamped, at 0.11 and 0.2 Gaussians per pixel (28 000 and 52 000 on
        768 x 512), for each way of sampling."""
        sums: dict[str, float] = {}
        device = next(self.model.parameters()).device
        for number, image in enumerate(images):
            target = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255
            for equivalent in (18_667.0, 34_667.0):
                heat, maps = self._maps(target, equivalent)
                for how in self.settings.sampling:
                    torch.manual_seed(number)
                    picture = self._drawn(heat[0], maps, 0, equivalent, how).clamp(0, 1)
                    name = f"psnr_{how}_{round(equivalent / 1000)}k"
                    error = float((picture - target[0]).square().mean())
                    sums[name] = sums.get(name, 0.0) + psnr(error) / len(images)
        return sums

    def initialise(self, path: Path) -> list[str]:
        found = read(path)
        shape = self.model.attributes.shape
        if found.attributes is None or found.attributes.shape != shape:
            held = found.attributes.shape if found.attributes is not None else "none"
            raise TrainingError(f"init: {path} holds attributes of {held}, the settings ask for {shape}")
        self.model.attributes.load_state_dict(found.attributes.state_dict())
        return []

    def export(self, folder: Path) -> None:
        save_small(folder / WEIGHTS_FILE, self.model, {"phase": "attributes"})

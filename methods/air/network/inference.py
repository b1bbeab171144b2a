"""The forward pass made for speed: weights as they are multiplied, shapes that do not depend on the picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from splatbench.render import covariance_from_scales, rasterize_sum

from ..control import StageControl
from ..patches import PatchGrid, Values, activate, means
from ..stages import Drawing
from .airnet import AirNet
from .head import HeadOutput


def accelerate(net: AirNet, precision: torch.dtype = torch.float32, compiled: bool = False) -> AirNet:
    """Prepares `net`, in place, for inference under autocast to `precision`; not for training any more.

    What autocast would convert in every pass is converted once: the result is the same. Channels lie together in
    memory, as the convolutions of tensor cores and of oneDNN want them.

    Args:
        net: what to prepare.
        precision: of convolutions and matrix products; norms, sums and raw vectors stay float32.
        compiled: heads are compiled by torch.compile at their first call, for each size of pictures anew.
    """
    for head in net.gaussian_heads:
        for module in head.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and module is not head.gaussian_linear:
                module.to(precision)
        head.to(memory_format=torch.channels_last)
        if compiled:
            head.compile(fullgraph=True, dynamic=False)
    return net.eval().requires_grad_(False)


class Result(NamedTuple):
    """What `StaticChain` makes of a picture.

    Attributes:
        raw: [S, L, 8] float32, of all patches.
        chosen: bool [S, L], the patches that got a Gaussian.
        cls: [width] float32, the CLS token of the last stage.
        picture: [3, H, W] float32, not clamped.
    """

    raw: Tensor
    chosen: Tensor
    cls: Tensor
    picture: Tensor


class StaticChain:
    """All stages for pictures of one size, one at a time: `run_stages` in shapes that do not depend on the picture.

    Patches that are not active stay in all tensors and are not drawn; no stage is left out. Nothing is read back from
    the device, so that on a GPU one CUDA graph can hold a whole call.

    Args:
        net: as `accelerate` left it, or any other in evaluation mode; on the device of the pictures.
        size: (H, W) of the pictures.
        control: which patches get a Gaussian.
        drawing: how they are drawn. Under the cap of 256 per tile the Gaussians of all stages so far are drawn again.
        precision: float32, or what autocast computes in.
    """

    def __init__(
        self,
        net: AirNet,
        size: tuple[int, int],
        control: StageControl,
        drawing: Drawing,
        precision: torch.dtype = torch.float32,
    ) -> None:
        if control.most is not None:
            raise ValueError("StaticChain: a limit on the count needs counts, which stay on the device; use run_stages")
        self.net, self.size, self.control, self.drawing, self.precision = net, size, control, drawing, precision
        self.device = next(net.parameters()).device
        self.grid = PatchGrid(*size, net.patch)
        self.centres = self.grid.centres(self.device)

    @torch.no_grad()
    def __call__(self, target: Tensor) -> Result:
        """target: [1, 3, H, W] float32 in [0, 1]."""
        picture, parts = torch.zeros_like(target), []
        for stage in range(self.net.stages):
            chosen = self.control.active(picture, target, self.grid)[0]
            output = self.head(stage, target - picture)
            parts.append((output.raw[0], chosen))
            if "tile_cap_256" in self.drawing.compat:
                picture = self.draw(*(torch.cat(part) for part in zip(*parts, strict=True)))
            else:
                picture = picture + self.draw(*parts[-1])
        raw, masks = (torch.stack(part) for part in zip(*parts, strict=True))
        return Result(raw, masks, output.cls[0], picture[0])

    @torch.no_grad()
    def head(self, stage: int, residual: Tensor) -> HeadOutput:
        """What the head of a stage (from 0) proposes."""
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            output: HeadOutput = self.net(residual, stage)
            return output

    @torch.no_grad()
    def draw(self, raw: Tensor, chosen: Tensor) -> Tensor:
        """The picture [1, 3, H, W] of the chosen ones among k stages, [k L, 8] and bool [k L]."""
        values: Values = activate(raw, self.net.patch)
        centres = self.centres.repeat(len(raw) // len(self.centres), 1)
        at = means(values.offsets, centres, self.size, self.drawing.stretch)
        at = at.masked_fill(~chosen[:, None], torch.nan)  # which is not drawn
        covariance = covariance_from_scales(values.scales, values.angles)
        picture = rasterize_sum(at, covariance, values.colors.contiguous(), self.size, compat=self.drawing.compat)
        return picture.permute(2, 0, 1)[None]

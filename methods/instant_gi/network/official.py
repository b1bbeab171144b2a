"""The published network (Z. Zeng et al., ICCV 2025; released code): a `decode.Network` of 100 million parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from splatbench.method import MethodError

from ..decode import FEATURES, Heads, normalised, sample_bilinear
from .unet import FeatureNet

#: Channels and blocks of the encoder's stages [released code].
WIDTHS, DEPTHS = (128, 256, 512, 1024), (3, 3, 27, 3)
_GAMMA = 1e-6  # of the encoder's blocks where no pretrained ones are loaded [released code]
#: Pixels whose probability is computed at a time where no gradient is wanted.
_PIXELS = 1 << 18


class OfficialNet(Heads):
    """Names, shapes and order of weights are the released ones; the heads are its own modules.

    Args:
        widths, depths: of the encoder's stages; other values than the published ones are reduced variants (ours).
        block: k, pixels: 3 or 4 as published; it is not among the weights.
        batch_statistics: in evaluation mode, batch norm uses the statistics of the picture, as the published inference
            does, and not the running ones, as the published validation does.
        gamma: at first; 1e-6 is far too slow for short trainings.

    Raises:
        MethodError: a block below 1, or widths and depths that make no network.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = DEPTHS,
        block: int = 3,
        batch_statistics: bool = True,
        gamma: float = _GAMMA,
    ) -> None:
        if block < 1:
            raise MethodError(f"Instant-GI: block must be at least 1 pixel, got {block}")
        if not widths or len(widths) != len(depths) or min(*widths, *depths) < 1 or widths[0] % 2:
            raise MethodError(
                f"Instant-GI: needs as many widths as depths, all positive, the first width even; "
                f"got {list(widths)} and {list(depths)}"
            )
        super().__init__(feature_net=FeatureNet(widths, depths, FEATURES, batch_statistics, gamma))
        self.block, self.least_side = block, 2 ** len(widths)

    @classmethod
    def seeded(cls, seed: int, **settings: Any) -> OfficialNet:
        """With random weights that depend on the seed alone, made on the CPU; `settings` as for the class."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(**settings)

    @property
    def heads(self) -> Heads:
        """Itself."""
        return self

    def features(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] float32 in [0, 1] -> [B, 64, H, W] float32, any size.

        Raises:
            MethodError: not such a picture, or a side shorter than `least_side`.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise MethodError(f"Instant-GI: the network takes [B, 3, H, W], got {list(image.shape)}")
        height, width = int(image.shape[2]), int(image.shape[3])
        if min(height, width) < self.least_side:
            raise MethodError(
                f"Instant-GI: this network halves the resolution {self.least_side.bit_length() - 1} times and takes no "
                f"side under {self.least_side} pixels; the picture has {width}x{height}"
            )
        return self.feature_net(image.contiguous(memory_format=torch.channels_last)).float()

    def probability(self, features: Tensor) -> Tensor:
        """Position probability [B, H, W] in (0, 1) of every pixel."""
        pixels = features.permute(0, 2, 3, 1)
        if torch.is_grad_enabled():
            return self.position_field(pixels).squeeze(-1)
        bands = pixels.split(max(1, _PIXELS // pixels.shape[2]), 1)
        return torch.cat([self.position_field(band).squeeze(-1) for band in bands], 1)

    def density(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """See `Network.density`; blocks at the right and lower border have the pixels that there are."""
        return functional.max_pool2d(self.probability(features), self.block, ceil_mode=True)[0]

    def sample(self, features: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
        """See `Network.sample`: bilinear; outside the picture there is 0."""
        return sample_bilinear(features, normalised(points, size))

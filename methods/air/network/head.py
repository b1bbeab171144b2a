"""The head of one stage: from a residual to eight raw numbers for every patch of the picture."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..patches import RAW, PatchGrid
from .pyramid import WIDTHS, PyramidStack, uv_map
from .vit import PATCH, Taps, VisionTransformer, ViTShape

_IMAGE_MEAN = (0.485, 0.456, 0.406)
_IMAGE_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class HeadShape:
    """Sizes of a head apart from its patches; the defaults are the published ones [C].

    Attributes:
        encoder: the transformer.
        widths: channels of neck and decoder at 1/16, 1/8, 1/4, 1/2 and 1/1 of the resolution; the first one is what
            the taps of the encoder are projected to.
        neck_blocks, decoder_blocks: residual blocks at each of these.
        token: channels of a patch.
    """

    encoder: ViTShape = field(default_factory=ViTShape)
    widths: tuple[int, int, int, int, int] = WIDTHS
    neck_blocks: tuple[int, int, int, int, int] = (0, 2, 2, 2, 0)
    decoder_blocks: tuple[int, int, int, int, int] = (0, 1, 1, 1, 0)
    token: int = 64


class HeadOutput(NamedTuple):
    """What a head proposes.

    Attributes:
        raw: [B, L, 8] float32 before activation, one row per patch, row-major; L = ceil(H / p) ceil(W / p).
        cls: [B, width] float32, the encoder's CLS token, for the ranges of the quantiser.
    """

    raw: Tensor
    cls: Tensor


class Head(nn.Module):
    """One stage of AIR (Z. Zeng et al., AIR, 2026, Sec. 3; parameter names are those of the released weights).

    Args:
        patch: side p of a patch in pixels.
        shape: everything else.
        checkpointing: while training, keep fewer activations and compute them again for the gradient.

    Raises:
        ValueError: `patch` is below 1.
    """

    def __init__(self, patch: int = 7, shape: HeadShape | None = None, checkpointing: bool = False) -> None:
        super().__init__()
        if patch < 1:
            raise ValueError(f"Head: the side of a patch must be at least 1 pixel, got {patch}")
        shape = shape or HeadShape()
        widths = shape.widths
        self.encoder = Encoder(shape.encoder, widths[0], checkpointing)
        coordinates = (2,) * (len(widths) - 1)
        self.neck = PyramidStack((widths[0] + 2, *coordinates), widths, shape.neck_blocks, checkpointing=checkpointing)
        self.gaussian_feat_decoder = PyramidStack(
            widths, widths, shape.decoder_blocks, projection=True, checkpointing=checkpointing
        )
        self.patch_embedding = PatchEmbedding(widths[-1], shape.token, patch)
        self.feat_layer_norm = nn.LayerNorm(shape.token)
        self.gaussian_linear = nn.Linear(shape.token, RAW)

    def forward(self, residual: Tensor) -> HeadOutput:
        """Proposals for a residual.

        Args:
            residual: [B, 3, H, W] float32, "target minus what is drawn so far", roughly in [-1, 1].

        Raises:
            ValueError: another shape or type, or H or W below 16.
        """
        _check(residual)
        fused, cls = self.encoder(residual)
        features = self._features(fused, residual.shape[-2:])
        with torch.autocast(residual.device.type, enabled=False):
            return HeadOutput(self.gaussian_linear(features), cls.float())

    def features(self, residual: Tensor) -> Tensor:
        """[B, L, token] float32: what the last linear layer sees, for a residual as `forward` takes it."""
        _check(residual)
        return self._features(self.encoder(residual)[0], residual.shape[-2:])

    def _features(self, fused: Tensor, size: torch.Size) -> Tensor:
        tokens = self.patch_embedding(self._pixels(fused), size)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.feat_layer_norm(tokens.float())

    def _pixels(self, fused: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, widths[-1], 16 h, 16 w]; neck and decoder go up together, level by level."""
        batch, _, height, width = fused.shape
        uv = uv_map(height, width, fused.device)
        neck = self.neck.level(0, torch.cat([fused, uv.to(fused.dtype).expand(batch, -1, -1, -1)], 1))
        x = self.gaussian_feat_decoder.level(0, neck)
        for level in range(1, len(self.neck.input_blocks)):
            uv = uv_map(height << level, width << level, fused.device)
            neck = self.neck.level(level, uv, neck)
            x = self.gaussian_feat_decoder.level(level, neck, x)
        return x


class Encoder(nn.Module):
    """A residual to features at 1/16 of its resolution: the transformer's taps, projected and added.

    Args:
        shape: of the transformer.
        width: channels of the features.
        checkpointing: of the transformer.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, shape: ViTShape, width: int, checkpointing: bool = False) -> None:
        super().__init__()
        # The residual is normalised like an image, though it is none [C].
        self.register_buffer("image_mean", torch.tensor(_IMAGE_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(_IMAGE_STD).reshape(1, 3, 1, 1))
        self.backbone = VisionTransformer(shape, checkpointing)
        self.output_projections = nn.ModuleList(nn.Conv2d(shape.width, width, 1) for _ in shape.taps)

    def forward(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] -> features [B, width, floor(H / 16), floor(W / 16)] and the CLS token [B, tokens' width].

        A size that is not a multiple of 16 is scaled down to one, with an antialiasing filter; nothing is cut off.
        """
        size = [n // PATCH * PATCH for n in residual.shape[-2:]]
        if size != list(residual.shape[-2:]):
            residual = functional.interpolate(residual, size, mode="bilinear", antialias=True)
        taps: Taps = self.backbone((residual - self.image_mean) / self.image_std)
        maps = [project(x) for project, x in zip(self.output_projections, taps.maps, strict=True)]
        return functools.reduce(torch.add, maps), taps.cls


class PatchEmbedding(nn.Module):
    """Features of pixels to one token per patch of the picture.

    Args:
        inputs: channels of a pixel.
        token: channels of a token.
        patch: side p of a patch in pixels.
    """

    def __init__(self, inputs: int, token: int, patch: int) -> None:
        super().__init__()
        self.patchify = _Patchify(inputs, token, patch)

    def forward(self, pixels: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
        """pixels [B, C, 16 h, 16 w] of a picture of `size` (H, W) -> [B, L, token], row-major."""
        if tuple(pixels.shape[-2:]) != tuple(size):
            pixels = functional.interpolate(pixels, tuple(size), mode="bilinear")
        return self.patchify(pixels).flatten(2).transpose(1, 2)


class _Patchify(nn.Module):
    def __init__(self, inputs: int, outputs: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.conv = nn.Conv2d(inputs, outputs, patch, patch, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The last row and column of patches reach over the edge, where the last pixels are repeated."""
        return self.conv(PatchGrid(*x.shape[-2:], self.patch).pad(x))


def _check(residual: Tensor) -> None:
    if residual.ndim != 4 or residual.shape[1] != 3 or residual.dtype != torch.float32:
        raise ValueError(f"AIR takes [B, 3, H, W] float32, got {residual.dtype} {list(residual.shape)}")
    height, width = residual.shape[-2:]
    if min(height, width) < PATCH:
        raise ValueError(
            f"AIR's encoder needs pictures of at least {PATCH}x{PATCH} pixels, got {width}x{height}: enlarge the "
            "picture, or pad it"
        )

"""A vision transformer as DINOv3 has it: CLS and register tokens, axial rotary positions, LayerScale, no key bias.

Facts from O. Simeoni et al., DINOv3 (2025) and the weights released with it; parameter names are those of the weights,
so that a file of the published ViT-B/16 loads as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

PATCH = 16  # pixels along a side of a token [C]
_REGISTERS = 4
_MLP_RATIO = 4
_EPSILON = 1e-5  # of every LayerNorm
_ROPE_BASE = 100.0
_JITTER = 2.0  # coordinates are scaled by a factor in [1 / 2, 2] while training


@dataclass(frozen=True)
class ViTShape:
    """Sizes of the transformer; the defaults are ViT-B/16.

    Attributes:
        width: of a token; divisible by `heads`, and the width of a head by 4.
        depth: blocks.
        heads: of each attention.
        taps: blocks whose output is asked for, counted from 0, ascending; the last one is block `depth - 1`.

    Raises:
        ValueError: sizes that do not fit together.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    taps: tuple[int, ...] = (5, 11)

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % (4 * self.heads):
            raise ValueError(f"ViTShape: width {self.width} must be {self.heads} heads times a multiple of 4")
        if not self.taps or list(self.taps) != sorted(set(self.taps)) or self.taps[0] < 0:
            raise ValueError(f"ViTShape: taps must ascend from 0 or above, got {self.taps}")
        if self.taps[-1] != self.depth - 1:
            raise ValueError(f"ViTShape: the last tap must be the last block, {self.depth - 1}, got {self.taps[-1]}")


class Taps(NamedTuple):
    """What the transformer returns.

    Attributes:
        maps: for every tap the patch tokens after the final norm, [B, width, h, w].
        cls: the CLS token of the last tap after the final norm, [B, width].
    """

    maps: tuple[Tensor, ...]
    cls: Tensor


class VisionTransformer(nn.Module):
    """Pictures to token maps.

    In training mode the token coordinates of every block are scaled by a random factor of its own, drawn from torch's
    generator of the device (DINOv3's "RoPE jitter").

    Args:
        shape: its sizes; ViT-B/16 by default.
        checkpointing: while training, keep no activations within blocks and compute them again for the gradient.
    """

    def __init__(self, shape: ViTShape | None = None, checkpointing: bool = False) -> None:
        super().__init__()
        self.shape = shape = shape or ViTShape()
        self.checkpointing = checkpointing
        width = shape.width
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.storage_tokens = nn.Parameter(torch.empty(1, _REGISTERS, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.patch_embed = _PatchEmbedding(width)
        self.rope_embed = AxialRope(width // shape.heads)
        self.blocks = nn.ModuleList(_Block(width, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self._initialise()

    def _initialise(self) -> None:
        """Small random values, for training from nothing and for tests; published ones replace them."""
        for name, value in self.named_parameters():
            if name.endswith(("_token", "_tokens")) or (name.endswith(".weight") and value.ndim == 2):
                nn.init.normal_(value, std=0.02)
            elif name.startswith("blocks") and name.endswith(".bias"):
                nn.init.zeros_(value)
        nn.init.zeros_(self.mask_token)

    def forward(self, image: Tensor) -> Taps:
        """image: [B, 3, 16 h, 16 w] float, normalised as its weights want it."""
        x = self.patch_embed.proj(image)
        grid = x.shape[-2:]
        # The mask token takes part with factor 0, so that it has a gradient and every parameter is used.
        cls = self.cls_token + 0 * self.mask_token
        tokens = torch.cat([t.expand(len(x), -1, -1) for t in (cls, self.storage_tokens)], 1)
        x = torch.cat([tokens, x.flatten(2).transpose(1, 2).to(tokens.dtype)], 1)
        angles = self.rope_embed.angles(*grid)
        rotation = self.rope_embed.rotation(angles, 1 + _REGISTERS)
        maps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            if self.training:  # drawn here and not in the block, which checkpointing runs twice
                rotation = self.rope_embed.rotation(angles * _jitter(angles.device), 1 + _REGISTERS)
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, *rotation, use_reentrant=False)
            else:
                x = block(x, *rotation)
            if index in self.shape.taps:
                normed = self.norm(x)
                maps.append(normed[:, 1 + _REGISTERS :].transpose(1, 2).unflatten(2, grid))
        return Taps(tuple(maps), normed[:, 0])


class AxialRope(nn.Module):
    """Rotary positions of a grid of tokens: the first half of a head's angles from the row, the second from the column.

    Args:
        head_width: elements of a query; a quarter of them are periods, 100^(i / (head_width / 4)).
    """

    periods: Tensor

    def __init__(self, head_width: int) -> None:
        super().__init__()
        count = head_width // 4
        self.register_buffer("periods", _ROPE_BASE ** (torch.arange(count, dtype=torch.float32) / count))

    def angles(self, height: int, width: int) -> Tensor:
        """[height * width, head_width / 2] float32 radians, row-major; coordinates run from -1 to 1 on each axis."""
        rows, columns = (
            (torch.arange(n, device=self.periods.device, dtype=torch.float32) + 0.5) * (2 / n) - 1
            for n in (height, width)
        )
        down, across = (2 * math.pi * x[:, None] / self.periods.float() for x in (rows, columns))
        grid = down[:, None].expand(-1, width, -1), across[None].expand(height, -1, -1)
        return torch.cat(grid, -1).flatten(0, 1)

    def rotation(self, angles: Tensor, fixed: int) -> tuple[Tensor, Tensor]:
        """Factors of an element and of its partner, half a head away, both [fixed + tokens, head_width] float32.

        The first `fixed` tokens are not turned.
        """
        cos, sin = torch.cos(angles), torch.sin(angles)
        cos = functional.pad(torch.cat([cos, cos], -1), (0, 0, fixed, 0), value=1.0)
        return cos, functional.pad(torch.cat([-sin, sin], -1), (0, 0, fixed, 0))


def _jitter(device: torch.device) -> Tensor:
    """One factor, log-uniform in [1 / 2, 2]."""
    return torch.empty(1, device=device).uniform_(-math.log(_JITTER), math.log(_JITTER)).exp_()


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = _Attention(width, heads)
        self.ls1 = _LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = _MLP(width)
        self.ls2 = _LayerScale(width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), cos, sin))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class _MaskedLinear(nn.Linear):
    """Queries, keys and values in one product; the bias of the keys is masked out, so that it never takes part."""

    bias_mask: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, 3 * width)
        mask = torch.ones(3 * width)
        mask[width : 2 * width] = 0
        self.register_buffer("bias_mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias * self.bias_mask)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = _MaskedLinear(width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: [B, tokens, width]; the rotation's factors: [tokens, width / heads]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (turn(t, cos, sin).to(v.dtype) for t in (q, k))
        x = functional.scaled_dot_product_attention(q, k, v)  # scale 1 / sqrt(width of a head)
        return self.proj(x.transpose(1, 2).flatten(2))


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the pairs (k, k + half) of the last dimension; in float32 where x has fewer bits."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin

"""AIR's quantiser: eight uniform channels whose ranges are fixed, learned, or shifted by the network for each image.

Training computes in float32 with the operations of `dequantise`, in their order: what it sees is what is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .channels import Ranges, from_channels, to_channels
from .patches import RAW, Values

#: Where the ranges come from (AIR paper, Table VII). "per_image": smallest and largest value of the image's set.
#: "global": learned, one for all images. "adaptive": a base that the network's summary of the image shifts.
RangeKind = Literal["adaptive", "global", "per_image"]

#: Name of each group in the weights, and its channels; as released.
GROUPS = {
    "xy_quantizer": slice(0, 2),
    "scaling_quantizer": slice(2, 4),
    "rotation_quantizer": slice(4, 5),
    "color_quantizer": slice(5, 8),
}
#: Smallest step; added to the softplus, and the step of a constant channel where the range is its own. As released.
_SMALLEST_STEP = 1e-8
#: The network moves shift and raw scale by less than this. As released.
_LARGEST_OFFSET = 0.5


@dataclass(frozen=True)
class Base:
    """Ranges of the eight channels before the network shifts them.

    Attributes:
        raw_scale: a0; the step is softplus(a0) + 1e-8.
        shift: b0; the value of code 0.
        bits: codes are 0 to 2^bits - 1; 1 to 8.

    Raises:
        ValueError: not eight finite numbers each, or bits out of range.
    """

    raw_scale: tuple[float, ...]
    shift: tuple[float, ...]
    bits: tuple[int, ...] = (8, 8, 7, 7, 7, 8, 4, 4)

    def __post_init__(self) -> None:
        for name, values in asdict(self).items():
            if len(values) != RAW or not all(math.isfinite(value) for value in values):
                raise ValueError(f"quantiser: {name} must be {RAW} finite numbers, got {values}")
        if not all(isinstance(bits, int) and 1 <= bits <= 8 for bits in self.bits):
            raise ValueError(f"quantiser: bits must be whole numbers from 1 to 8, got {self.bits}")

    @classmethod
    def estimate(
        cls,
        values: Values,
        percentiles: tuple[float, float] = (0.5, 99.5),
        bits: Sequence[int] = (8, 8, 7, 7, 7, 8, 4, 4),
    ) -> Base:
        """Ranges that reach from one percentile of each channel to another (ours; the published ones are constants
        whose origin is not given).

        Args:
            values: predictions on training images, [N >= 1, ...], finite.
            percentiles: lower and upper, in percent.

        Raises:
            ValueError: no values, or values that are not finite.
        """
        channels = to_channels(values).detach().cpu().double().numpy()
        if not len(channels) or not np.isfinite(channels).all():
            raise ValueError("quantiser: ranges are estimated from finite values of at least one Gaussian")
        low, high = np.percentile(channels, percentiles, axis=0)
        least = _SMALLEST_STEP * (2.0 ** np.array(bits) - 1)  # of a constant channel
        return cls.spanning(low, np.maximum(high, low + least), bits)

    @classmethod
    def spanning(cls, low: Sequence[float], high: Sequence[float], bits: Sequence[int]) -> Base:
        """Ranges from `low` to `high` of each channel.

        Raises:
            ValueError: a range that is empty or not finite, or bits out of range.
        """
        step = (np.array(high, float) - np.array(low, float)) / (2.0 ** np.array(bits) - 1)
        if not (np.isfinite(step).all() and (step > 0).all()):
            raise ValueError(f"quantiser: ranges must rise and be finite, got {list(low)} to {list(high)}")
        return cls(tuple(np.log(np.expm1(step)).tolist()), tuple(float(x) for x in low), tuple(bits))

    def as_dict(self) -> dict[str, list[float]]:
        """As plain numbers."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> Base:
        """Inverse of `as_dict`.

        Raises:
            ValueError: not such numbers.
        """
        try:
            return cls(**{name: tuple(values) for name, values in numbers.items()})
        except TypeError as error:
            raise ValueError(f"quantiser: raw_scale, shift and bits must be lists of numbers: {error}") from None


#: Constants of the released code; estimated by its authors, the same for all patch sizes.
PUBLISHED = Base(
    raw_scale=(-3.0427, -3.0022, -2.9553, -3.2385, -3.3192, -5.3675, -4.0653, -4.4090),
    shift=(-6.7962, -6.0476, 0.4933, 0.5032, 1.0155, -0.2550, -0.0688, -0.1273),
)


class ChannelQuantiser(nn.Module):
    """The ranges of one group of C channels.

    Args:
        features: length F of the network's summary of an image.
        raw_scale, shift: of the base, C each; constants that no file of weights holds, but for kind "global", whose
            training starts there.
        bits: C of them.
        kind: where ranges come from.
    """

    bits_per_channel: Tensor
    qmin_per_channel: Tensor
    qmax_per_channel: Tensor

    def __init__(
        self, features: int, raw_scale: Sequence[float], shift: Sequence[float], bits: Sequence[int], kind: RangeKind
    ) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("bits_per_channel", torch.tensor(bits, dtype=torch.int32))
        self.register_buffer("qmin_per_channel", torch.zeros(len(bits)))
        self.register_buffer("qmax_per_channel", torch.tensor([2.0**b - 1 for b in bits]))
        if kind == "global":
            self.raw_scale, self.shift = nn.Parameter(torch.tensor(raw_scale)), nn.Parameter(torch.tensor(shift))
        elif kind == "adaptive":
            self.register_buffer("raw_scale", torch.tensor(raw_scale), persistent=False)
            self.register_buffer("shift", torch.tensor(shift), persistent=False)
            self.offset_net = nn.Linear(features, 2 * len(bits))

    def ranges(self, x: Tensor, summary: Tensor) -> Ranges:
        """Step and low [..., C] for channels x [..., N, C] and summaries [..., F] of their images.

        "per_image" looks at x alone, without a gradient; "adaptive" at the summary; "global" at neither.
        """
        if self.kind == "per_image":
            x = x.detach()
            if not x.shape[-2]:
                zero = x.new_zeros((*x.shape[:-2], x.shape[-1]))
                return Ranges(zero + _SMALLEST_STEP, zero)
            low, high = x.amin(-2), x.amax(-2)
            return Ranges(
                ((high - low) / (self.qmax_per_channel - self.qmin_per_channel)).clamp_min(_SMALLEST_STEP), low
            )
        if self.kind == "global":
            step = functional.softplus(self.raw_scale) + _SMALLEST_STEP
            return Ranges(step.expand(*x.shape[:-2], -1), self.shift.expand(*x.shape[:-2], -1))
        moved = _LARGEST_OFFSET * torch.tanh(self.offset_net(summary).float())
        scale, shift = moved.unflatten(-1, (-1, 2)).unbind(-1)
        return Ranges(functional.softplus(self.raw_scale + scale) + _SMALLEST_STEP, self.shift + shift)


class Codec(nn.Module):
    """The quantiser of all channels (AIR paper, Sec. 3.6; names of the weights as released).

    Args:
        features: length F of the network's summary of an image.
        base: ranges to start from.
        kind: where ranges come from.
    """

    def __init__(self, features: int = 768, base: Base = PUBLISHED, kind: RangeKind = "adaptive") -> None:
        super().__init__()
        if kind not in get_args(RangeKind):
            raise ValueError(f"quantiser: ranges must be one of {get_args(RangeKind)}, got {kind!r}")
        self.base, self.kind = base, kind
        for name, part in GROUPS.items():
            group = ChannelQuantiser(features, base.raw_scale[part], base.shift[part], base.bits[part], kind)
            self.add_module(name, group)

    @property
    def groups(self) -> list[ChannelQuantiser]:
        """The quantisers in the order of the channels."""
        return [self.get_submodule(name) for name in GROUPS]  # type: ignore[misc]

    @torch.no_grad()
    def rebase(self, base: Base) -> None:
        """Takes other ranges to start from, in place.

        Raises:
            ValueError: other bit depths than those that the codes have.
        """
        if base.bits != self.base.bits:
            raise ValueError(f"quantiser: made for {self.base.bits} bits, not for {base.bits}")
        self.base = base
        if self.kind == "per_image":
            return
        for group, part in zip(self.groups, GROUPS.values(), strict=True):
            group.raw_scale.copy_(torch.tensor(base.raw_scale[part]))
            group.shift.copy_(torch.tensor(base.shift[part]))

    def ranges(self, values: Values, summary: Tensor) -> Ranges:
        """The ranges of an image.

        Args:
            values: [..., N, ...], the image's whole set; only kind "per_image" looks at them.
            summary: [..., F] of the last stage that ran; only kind "adaptive" looks at it.
        """
        x = to_channels(values)
        parts = [group.ranges(x[..., part], summary) for group, part in zip(self.groups, GROUPS.values(), strict=True)]
        return Ranges(*(torch.cat(part, -1) for part in zip(*parts, strict=True)))

    @torch.no_grad()
    def quantise(self, values: Values, ranges: Ranges) -> np.ndarray:
        """Codes, uint8 [N, 8]: rounded half to even, values outside the range at its ends.

        Args:
            values: [N, ...] of one image.

        Raises:
            ValueError: values or ranges that are not finite.
        """
        x = to_channels(values)
        if not all(bool(part.isfinite().all()) for part in (x, *ranges)):
            raise ValueError("quantiser: values or ranges are NaN or infinite: what the network says is not usable")
        codes = torch.round(self._position(x, ranges))
        if not bool(((codes >= 0) & (codes <= 255)).all()):
            raise ValueError("quantiser: its weights ask for codes outside 0 to 255")
        return codes.to(torch.uint8).cpu().numpy()

    def straight_through(self, values: Values, ranges: Ranges, penalty: float = 0.01) -> tuple[Values, Tensor]:
        """The values that a decoder will have, with gradients, and the penalty for what they lost.

        The gradient passes rounding unchanged, so that steps receive the rounding error, and ends at the range.

        Args:
            values: [N, ...] of one image.
            penalty: factor gamma of the mean |decoded - value| of each group, colours as Y, Cr, Cb; summed over the
                groups (AIR paper, L_err; the factor is the released code's).
        """
        x = to_channels(values)
        position = self._position(x, ranges)
        decoded = (position + (torch.round(position) - position).detach()) * ranges.step + ranges.low
        lost = (decoded - x).abs()
        error = sum((lost[:, part].sum() / max(lost[:, part].numel(), 1) for part in GROUPS.values()), x.new_zeros(()))
        return from_channels(decoded), penalty * error

    def _position(self, x: Tensor, ranges: Ranges) -> Tensor:
        """Codes before rounding, [N, 8]."""
        lowest = torch.cat([group.qmin_per_channel for group in self.groups])
        highest = torch.cat([group.qmax_per_channel for group in self.groups])
        return ((x - ranges.low) / ranges.step).clamp(lowest, highest)

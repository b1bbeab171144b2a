"""Quantisers with straight-through gradients (paper Sec. 3.3; released code): float16 positions, learned uniform
quantisation of the covariance parameters (LSQ+ form), residual vector quantisation of the colours."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def round_float16(value: Tensor) -> Tensor:
    """Value rounded to float16 and back; the gradient passes unchanged."""
    return value + (value.half().float() - value).detach()


class UniformQuantiser(nn.Module):
    """Per-channel learned uniform quantisation: code = round(clamp((x - beta) / gamma, 0, 2^bits - 1)).

    The rounding is straight-through and the clamp is differentiated, so inside the range dx^/dx = 1,
    dx^/dgamma = code - (x - beta) / gamma and dx^/dbeta = 0; outside 0, the clamped code, and 1.

    Args:
        x: [N, C] values that set the ranges: beta = minimum, gamma = (max - min) / (2^bits - 1).
    """

    def __init__(self, x: Tensor, bits: int) -> None:
        super().__init__()
        self.levels = 2**bits - 1
        low, high = x.detach().amin(0), x.detach().amax(0)
        # A constant channel has no range; any positive step then codes it exactly as beta.
        span = torch.where(high > low, high - low, torch.ones_like(low))
        self.scale = nn.Parameter(span / self.levels)
        self.beta = nn.Parameter(low.clone())

    def step(self) -> Tensor:
        """Step sizes [C], kept positive: nothing else stops them from crossing zero."""
        return self.scale.clamp_min(1e-8)

    def forward(self, x: Tensor) -> Tensor:
        """x^ [N, C], differentiable in x, scale and beta."""
        position = ((x - self.beta) / self.step()).clamp(0, self.levels)
        code = position + (torch.round(position) - position).detach()
        return code * self.step() + self.beta

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Integer codes [N, C], int32 in [0, 2^bits - 1]; rounding is half to even."""
        return torch.round(((x - self.beta) / self.step()).clamp(0, self.levels)).int()

    @torch.no_grad()
    def table(self) -> tuple[Tensor, Tensor]:
        """(step, beta), [C] float32 each: x^ = code * step + beta."""
        return self.step().detach().clone(), self.beta.detach().clone()


class Codebook(nn.Module):
    """One stage of residual vector quantisation with an exponential-moving-average codebook.

    No gradient reaches the entries: they follow the mean of the vectors assigned to them (decay per training pass,
    Laplace smoothing 1e-5). Initialised by k-means on the first batch.
    """

    entries: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, x: Tensor, size: int, decay: float, iterations: int, generator: torch.Generator) -> None:
        super().__init__()
        self.decay, self.smoothing = decay, 1e-5
        entries, counts = kmeans(x.detach(), size, iterations, generator)
        self.register_buffer("entries", entries)
        self.register_buffer("counts", counts)
        self.register_buffer("sums", entries * counts[:, None])

    def look_up(self, x: Tensor) -> Tensor:
        """Index [N] of the nearest entry; the lowest index wins a tie."""
        return nearest_entry(x.detach(), self.entries)

    @torch.no_grad()
    def update(self, x: Tensor, index: Tensor) -> None:
        """Moves the entries towards the vectors x [N, D] that were assigned to them."""
        counts, sums = _assigned(x, index, len(self.entries))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + self.smoothing) / (total + len(self.entries) * self.smoothing) * total
        self.entries.copy_(self.sums / smoothed[:, None])


class ResidualVectorQuantiser(nn.Module):
    """Stages of codebooks, each on what the stages before left over."""

    def __init__(
        self, x: Tensor, stages: int, size: int, decay: float, iterations: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        residual = x.detach()
        for _ in range(stages):
            stage = Codebook(residual, size, decay, iterations, generator)
            self.stages.append(stage)
            residual = residual - stage.entries[stage.look_up(residual)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(quantised x [N, D], sum of the commitment losses).

        Each stage passes the gradient of its output straight to x, so x receives it once per stage, as published.
        In training mode the codebooks follow their vectors after the look-up.
        """
        residual, output, commitment = x, torch.zeros_like(x), x.new_zeros(())
        for stage in self.stages:
            assert isinstance(stage, Codebook)
            index = stage.look_up(residual)
            entry = stage.entries[index]
            commitment = commitment + (entry - residual).square().mean()
            output = output + residual + (entry - residual).detach()
            if self.training:
                stage.update(residual.detach(), index)
            residual = residual - entry
        return output, commitment

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Indices [N, stages], int32."""
        residual, indices = x, []
        for stage in self.stages:
            assert isinstance(stage, Codebook)
            indices.append(stage.look_up(residual))
            residual = residual - stage.entries[indices[-1]]
        return torch.stack(indices, 1).int()

    @torch.no_grad()
    def table(self) -> Tensor:
        """Codebooks [stages, entries, D]."""
        return torch.stack([stage.entries for stage in self.stages]).clone()  # type: ignore[misc]


def nearest_entry(x: Tensor, entries: Tensor) -> Tensor:
    """Index [N] of the entry [K, D] with the smallest Euclidean distance to each x [N, D]."""
    # |x|^2 is the same for all entries; one small matrix product is several times faster than torch.cdist here.
    return torch.argmin(entries.square().sum(1) - 2 * x @ entries.T, 1)


def kmeans(x: Tensor, size: int, iterations: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from random distinct samples (with repetition if there are too few).

    Returns:
        (centres [size, D], number of vectors assigned to each in the last iteration [size] float32); an empty cluster
        keeps its centre.
    """
    n = len(x)
    if n >= size:
        start = torch.randperm(n, generator=generator)[:size]
    else:
        start = torch.randint(n, (size,), generator=generator)
    centres, counts = x[start].clone(), x.new_zeros(size)
    for _ in range(iterations):
        counts, sums = _assigned(x, nearest_entry(x, centres), size)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
    return centres, counts


def _assigned(x: Tensor, index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Counts [size] and sums [size, D] of the vectors assigned to each entry."""
    member = torch.nn.functional.one_hot(index.long(), size).to(x.dtype)
    return member.sum(0), member.T @ x

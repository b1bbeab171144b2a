"""Pixels drawn from a heat map: where Gaussians sit (paper Sec. 3; released code), and ways of ours to draw them."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from torch import Tensor

from splatbench.fitting.sampling import draw_weighted
from splatbench.method import MethodError
from splatbench.render.jit import kernel
from splatbench.trace import Diverged

#: "replacement": K independent draws, as published: some pixels come out several times. "distinct": K draws without
#: putting back (ours). "topk": the K largest values (an option of the released code). "dither": error diffusion, which
#: spreads K pixels as evenly as the heat map allows (ours).
Sampling = Literal["replacement", "distinct", "topk", "dither"]

#: Dithering: rows before the first one, and how often the density is corrected until the count is right.
_LEAD, _ROUNDS = 32, 4

#: Heat below this counts as this [C].
LEAST_HEAT = 1e-8


def probabilities(heat: np.ndarray) -> np.ndarray:
    """Heat, any real numbers [H, W], as float64 [H, W] with sum 1: clamped below at 1e-8 and divided by the sum [C].

    Raises:
        Diverged: NaN or infinity.
    """
    p = np.maximum(heat.astype(np.float64), LEAST_HEAT)
    total = float(p.sum())
    if not np.isfinite(total):
        raise Diverged("the heat map holds NaN or infinity: the weights of the network are damaged")
    return p / total


def sample(heat: np.ndarray | Tensor, count: int, how: Sampling, rng: np.random.Generator) -> np.ndarray:
    """Flat indices (row W + column) of `count` pixels, int64 [count].

    Args:
        heat: [H, W], any real numbers.
        count: at least 1; without "replacement" at most H W.

    Raises:
        MethodError: more distinct pixels than there are.
        Diverged: NaN or infinity among the heat.
    """
    values = heat.detach().float().cpu().numpy() if isinstance(heat, Tensor) else heat
    if how not in get_args(Sampling):
        raise ValueError(f"sampling {how!r} is none of {', '.join(get_args(Sampling))}")
    p = probabilities(values)
    if how == "replacement":
        return _with_replacement(p, count, rng)
    if count > p.size:
        raise MethodError(f"{count} Gaussians cannot sit on different pixels of {p.shape[1]}x{p.shape[0]}; ask for "
                          "fewer, or set `sampling: replacement`")  # fmt: skip
    if how == "distinct":
        return draw_weighted(p, count, rng)
    if how == "topk":
        return _largest(values.reshape(-1), count)
    return _dithered(p, count, rng)


def distinct_share(indices: np.ndarray) -> float:
    """Share of the draws that are left if pixels drawn several times count once."""
    return len(np.unique(indices)) / len(indices)


def _with_replacement(p: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """By the inverse of the cumulated sum, in float64: any number of pixels (torch's draws end at 2^24)."""
    cumulated = np.cumsum(p.reshape(-1))
    drawn = np.searchsorted(cumulated, rng.random(count) * cumulated[-1], side="right")
    return np.minimum(drawn, p.size - 1)


def _dithered(p: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    start, wanted = rng.random(p.shape[1]) - 0.5, count
    for _ in range(_ROUNDS):  # what is left over below the last row is made up for by a little more density
        value, chosen = _diffused(capped_density(p, wanted), start)
        short = count - int(chosen.sum())
        wanted = min(max(wanted + short, 1), p.size)
        if not short:
            break
    value, chosen = value.reshape(-1), chosen.reshape(-1)
    candidates = np.flatnonzero(chosen != (short > 0))
    nearest = _largest(value[candidates] if short > 0 else -value[candidates], abs(short))
    chosen[candidates[nearest]] = short > 0
    return np.flatnonzero(chosen)


def _diffused(density: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `diffuse`, which begins on a mirror image of the first rows: rows that get no errors from above stay empty
    until enough of them have come together."""
    lead = density[:_LEAD][::-1]
    value, chosen = diffuse(np.concatenate([lead, density]), start)
    return value[len(lead) :], chosen[len(lead) :]


def capped_density(p: np.ndarray, count: int) -> np.ndarray:
    """min(1, c p) with the c that makes the sum `count`; float64 like `p`, whose values are above 0.

    Args:
        count: at most the number of pixels.
    """
    full = np.zeros(p.shape, bool)
    while not full.all():
        c = (count - int(full.sum())) / float(p[~full].sum())
        grown = full | (c * p >= 1)  # what is at 1 leaves the others more
        if np.array_equal(grown, full):
            return np.where(full, 1.0, c * p)
        full = grown
    return np.ones(p.shape)


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest of values [N], ascending; of equal ones the first."""
    if count == 0:
        return np.zeros(0, np.int64)
    least = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > least)
    return np.sort(np.concatenate([above, np.flatnonzero(values == least)[: count - len(above)]]))


@kernel
def diffuse(density, start):
    """Error diffusion (Floyd and Steinberg 1976) row by row, to and fro; what would leave the picture at its sides is
    shared among the neighbours inside.

    Args:
        density: [H, W] float64 in [0, 1].
        start: [W] float64, the errors that come into the first row.

    Returns:
        What every pixel had with the errors of its neighbours, float64 [H, W], and which were chosen: those with at
        least 1/2, bool [H, W].
    """
    height, width = density.shape
    value = density.copy()
    value[0] += start
    chosen = np.zeros((height, width), np.bool_)
    for i in range(height):
        turn = 1 if i % 2 == 0 else -1
        for k in range(width):
            j = k if turn == 1 else width - 1 - k
            chosen[i, j] = value[i, j] >= 0.5
            error = value[i, j] - (1.0 if chosen[i, j] else 0.0)
            ahead, behind = k + 1 < width, k > 0
            unit = error / (5.0 + (8.0 if ahead else 0.0) + (3.0 if behind else 0.0))
            if ahead:
                value[i, j + turn] += 7.0 * unit
            if i + 1 < height:
                value[i + 1, j] += 5.0 * unit
                if behind:
                    value[i + 1, j - turn] += 3.0 * unit
                if ahead:
                    value[i + 1, j + turn] += 1.0 * unit
    return value, chosen

"""Fitting one level (paper Sec. 3.3; released code): mean squared error of the clamped render, Adam, one rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splatbench.fitting import on_curve, psnr
from splatbench.losses import Objective
from splatbench.optim import Adam
from splatbench.trace import Trace

from .levels import Level, in_pixels

OBJECTIVE = Objective(l2=1.0, clamp=True)


@dataclass(frozen=True)
class Part:
    """Which steps of a whole encoding a level's fit is, and when it must stop.

    Attributes:
        before, steps, total: steps of earlier levels, of this one, and of all.
        gain: what an error of this level's picture is multiplied by in the picture of the file's size; None where it is
            not of that size.
        late: whether this level's share of the time is over.
    """

    before: int
    steps: int
    total: int
    gain: float | None
    late: Callable[[], bool]


def fit_level(
    start: Level,
    unit: float,
    target: Tensor,
    learning_rate: float,
    part: Part,
    trace: Trace,
    snapshot: Callable[[Level], object],
) -> Level:
    """The fitted level, in pixels.

    Args:
        start: lengths in `unit` pixels.
        target: [H, W, 3] float32 in [0, 1].
        snapshot: makes an encoding of the level as it is, for the steps that the trace wants.

    Raises:
        splatbench.trace.Diverged: the loss became NaN or infinite.
    """
    raw = replace(start, **{name: value.clone().requires_grad_() for name, value in start.tensors().items()})
    optimiser = Adam(list(raw.tensors().values()), lr=learning_rate, betas=(0.9, 0.999), eps=1e-8)
    loss_of = OBJECTIVE.against(target)
    picture = torch.empty_like(target)
    for i in range(1, part.steps + 1):
        loss = loss_of(in_pixels(raw, unit).draw(out=picture.detach()))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        error, step = loss.item(), part.before + i
        quality = {} if part.gain is None else {"psnr": psnr(error * part.gain**2)}
        trace.step(step, part.total, loss=error, **quality)
        if on_curve(i, part.steps):
            trace.log(step, loss=error, **quality)
        if trace.wants(step) and step < part.total:
            trace.snapshot(step, snapshot(_detached(raw, unit)))
        if part.late():
            break
    return _detached(raw, unit)


def _detached(raw: Level, unit: float) -> Level:
    level = in_pixels(raw, unit)
    return replace(level, **{name: value.detach().clone() for name, value in level.tensors().items()})

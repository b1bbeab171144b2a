"""`Method.encode` for a budget in bytes, through the same method at counts."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from splatbench.budget import Budget
from splatbench.method import Method
from splatbench.rate.search import Profile, fit_to_rate
from splatbench.trace import Trace


def encode_at_rate(
    method: Method,
    image: np.ndarray,
    budget: Budget,
    trace: Trace,
    seed: int,
    *,
    steps: int,
    profiles: Sequence[Profile] = (),
    shortened: Sequence[str] = (),
) -> Any:
    """What `method.encode` gives at the count, and with the profile, whose file meets the budget's rate: the same bytes
    as if both had been asked for.

    Args:
        image, budget, trace, seed: of `encode`; the budget has `bpp`.
        steps: of a whole fit with this budget; those of a pilot are asked for as `Budget.iterations`.
        profiles: settings to try beside the method's own; all of them name the same ones.
        shortened: settings that count more steps, which a pilot takes the same share of.

    Raises:
        MethodError: see `fit_to_rate`.
    """
    config = method.config

    def fit(n: int, profile: Profile, share: float, trace: Trace) -> Any:
        fewer = {name: max(1, round(share * getattr(config, name))) for name in shortened}
        iterations = budget.iterations if share == 1 else max(1, round(share * steps))
        own = copy.copy(method)  # with all that `prepare` has made
        own.config = dataclasses.replace(config, **fewer, **profile)
        return own.encode(image, Budget(gaussians=n, iterations=iterations), trace, seed)

    configured = {name: getattr(config, name) for name in profiles[0]} if profiles else {}
    choice = [configured, *(profile for profile in profiles if profile != configured)]
    return fit_to_rate(method, image, budget, choice, steps, fit, trace)
